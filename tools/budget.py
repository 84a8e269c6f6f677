"""Measure the size of the project, and check it against `budget.json`, whose limits only fall.

    python -m tools.budget                      the figures, each beside its limit
    python -m tools.budget --check              the same; exit 1 where a figure is above its limit
    python -m tools.budget --list NAME          the places that a figure counts
    python -m tools.budget --record             set all limits to the present values
    python -m tools.budget --suite FILE ...     the same for the processor time of the tests alone, by the
                                                record that `.ci/tests` wrote at CI_RECORD

A change that lowers a figure lowers its limit in the same commit, by `--record`. One that has to raise a
figure raises the limit in the same commit, by `--record --reason "why"`: the check compares the file with its
version before, and fails where a limit is higher and has no reason, or that of an earlier raise.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NotRequired, TypedDict

from tools.metrics import Figure, measure

BUDGET = "budget.json"
SUITE = "processor seconds of the README's tests"
TOLERANCE = 0.8
"""Share by which the processor time may differ from its limit in both directions. Machines differ, and so
does one machine that others use, too."""
IMPORTS, IMPORTS_TOLERANCE = "modules imported: ", 0.01
"""Tolerance for imported modules: some depend on the way of installation."""

USER_PAGES = ("README.md", "docs/*.md", "examples/**/*.md")
DEVELOPER_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "hashlists/*.md")
"""The pages written by hand. Those in `docs/reference` are generated, and the CHANGELOG only grows."""

COUNT = """
import sys
before = set(sys.modules)
from hashscan.__main__ import main
file, *sys.argv[1:] = sys.argv[1:]
try:
    main()
finally:
    with open(file, "w") as stream:
        stream.write(str(len(set(sys.modules) - before)))
"""
"""Runs a command, and counts the modules that its process has imported when it ends."""
DEADLINE = 120
"""Seconds until a command has ended, or a hub answers."""


class Limit(TypedDict):
    """The largest value allowed of a figure."""

    limit: int
    reason: NotRequired[str]
    """The reason of the last rise."""


Budget = Mapping[str, Limit]


def words(root: Path, patterns: Iterable[str]) -> int:
    """Return the number of words on pages, without blocks of code."""
    texts = [path.read_text(encoding="utf-8") for pattern in patterns for path in root.glob(pattern)]
    prose = [re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE) for text in texts]
    return sum(any(map(str.isalnum, word)) for text in prose for word in text.split())


def requirements(root: Path) -> Iterator[Figure]:
    """Yield the number of requirements of the core and of each extra that users install."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    core, extras = project.get("dependencies", []), project.get("optional-dependencies", {})
    yield Figure("requirements: core", len(core), core)
    for name, needed in sorted(extras.items()):
        yield Figure(f"requirements: {name}", len(needed), needed)


def started(root: Path, folder: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a command that writes the number of its modules to the file `count` of a folder."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HASHSCAN"))
    }
    variables |= {"HASHSCAN_STATE": str(folder / "state"), "HASHSCAN_BACKGROUND": "no", "HASHSCAN_CONFIG": ""}
    command = [sys.executable, "-c", COUNT, folder / "count", *arguments]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            command, cwd=root, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def wait_for_answer(address: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when a server on a Unix socket answers, or its process has ended."""
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if client.recv(1):
                return
        time.sleep(0.05)


def imported_modules(root: Path) -> Iterator[Figure]:
    """Yield the number of modules that the processes of three commands import.

    What the interpreter has imported before them doesn't count.

    Raises:
        RuntimeError: a command has failed.
    """
    with tempfile.TemporaryDirectory(prefix="budget-") as temporary:
        folder = Path(temporary)
        (folder / "file").write_bytes(b"a file\n")
        report, hub = folder / "report.jsonl", folder / "hub.socket"
        steps: list[tuple[str, Sequence[str | Path]]] = [
            ("--help", ["--help"]),
            ("scan of a file", ["scan", "--list", "demo", "--report", report, folder / "file"]),
            ("", ["hub", "init"]),
            ("hub serve", ["hub", "serve", "--list", "demo", "--listen", f"unix:{hub}"]),
        ]
        for name, arguments in steps:
            process = started(root, folder, *arguments)
            if name == "hub serve":
                wait_for_answer(hub, process)
                process.send_signal(signal.SIGTERM)
            if process.wait(DEADLINE) != 0 or not (folder / "count").exists():
                said = (folder / "output").read_text(errors="replace")
                raise RuntimeError(f"hashscan {arguments[0]} failed with {process.returncode}: {said}")
            if name:
                yield Figure(f"{IMPORTS}{name}", int((folder / "count").read_text()))
            (folder / "count").unlink()


def suite_seconds(record: Path) -> Figure:
    """Return the processor time of the first tests in a record of `.ci/tests`, which are the README's."""
    first = json.loads(record.read_text(encoding="utf-8").splitlines()[0])
    return Figure(SUITE, round(first["processor_seconds"]))


def all_figures(root: Path) -> list[Figure]:
    """Return all figures but the time of the tests."""
    pages = {"user pages": USER_PAGES, "developer pages": DEVELOPER_PAGES}
    return [
        *measure(root),
        *(Figure(f"words: {name}", words(root, patterns)) for name, patterns in pages.items()),
        *requirements(root),
        *imported_modules(root),
    ]


def tolerated(figure: Figure) -> float:
    """Return the share by which a figure may differ from its limit."""
    if figure.name == SUITE:
        return TOLERANCE
    return IMPORTS_TOLERANCE if figure.name.startswith(IMPORTS) else 0


def above(figures: Iterable[Figure], budget: Budget) -> list[Figure]:
    """Return the figures above their limits; the limit of a figure that has none is 0."""
    return [figure for figure in figures if figure.value > limit_of(figure, budget) * (1 + tolerated(figure))]


def below(figures: Iterable[Figure], budget: Budget) -> list[Figure]:
    """Return the figures whose limits can be lowered."""
    return [figure for figure in figures if figure.value < limit_of(figure, budget) * (1 - tolerated(figure))]


def limit_of(figure: Figure, budget: Budget) -> int:
    return budget[figure.name]["limit"] if figure.name in budget else 0


def raised_without_reason(budget: Budget, before: Budget) -> list[str]:
    """Return the names of limits that are higher than before without a reason of their own."""
    none: Limit = {"limit": 0}
    return [
        name
        for name, row in budget.items()
        if row["limit"] > before.get(name, none)["limit"]
        and row.get("reason", "") in {"", before.get(name, none).get("reason", "")}
    ]


def version_before(root: Path) -> Budget | None:
    """Return the budget before its last change, committed or not; None where history has none."""
    git = ["git", "-C", str(root)]
    log = [*git, "log", "--max-count=2", "--format=%H", "--", BUDGET]
    commits = subprocess.run(log, capture_output=True, text=True, check=False).stdout.split()
    for commit in commits:
        show = subprocess.run([*git, "show", f"{commit}:./{BUDGET}"], capture_output=True, check=False)
        if show.returncode == 0 and show.stdout != (root / BUDGET).read_bytes():
            found: Budget = json.loads(show.stdout)
            return found
    return None


def read(root: Path) -> dict[str, Limit]:
    """Return the limits of a tree; none where it has no budget."""
    path = root / BUDGET
    found: dict[str, Limit] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def record(root: Path, figures: Iterable[Figure], kept: Budget, reason: str) -> None:
    """Set the limits of figures to their values; a row is a line, so that changes of two rows don't conflict.

    Args:
        root: the folder of the budget.
        figures: the present values; those of 0 need no limit.
        kept: limits that stay.
        reason: why figures above their limits may be.
    """
    budget = read(root)
    rows: dict[str, Limit] = dict(kept)
    for figure in figures:
        limit = limit_of(figure, budget)
        if figure.value > limit and reason:
            rows[figure.name] = {"limit": figure.value, "reason": reason}
        elif figure.value == limit and figure.name in budget:
            rows[figure.name] = budget[figure.name]
        elif figure.value:
            rows[figure.name] = {"limit": figure.value}
    lines = (f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(rows.items()))
    (root / BUDGET).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def table(figures: Iterable[Figure], budget: Budget) -> Iterator[str]:
    """Yield the lines of a table of figures."""
    yield f"{'figure':<54}{'value':>8}{'limit':>8}{'share':>8}\n"
    for figure in figures:
        share = f"{figure.value / figure.base:.1%}" if figure.base else ""
        yield f"{figure.name:<54}{figure.value:>8}{limit_of(figure, budget):>8}{share:>8}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, or the places that one counts; check or record them.

    Returns:
        The exit code: 1 where a figure is above its limit, a limit is raised without a reason or is one of no
        figure; 2 for a figure that does not exist.
    """
    parser = argparse.ArgumentParser(description="Print figures of the project beside their limits.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="the tree to measure")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure is above its limit")
    parser.add_argument("--list", metavar="NAME", help="print the places that this figure counts")
    parser.add_argument("--record", action="store_true", help="set the limits to the present values")
    parser.add_argument("--reason", default="", help="why --record may raise limits")
    parser.add_argument(
        "--suite", type=Path, metavar="FILE", help="measure the tests, by this record of .ci/tests"
    )
    options = parser.parse_args(arguments)
    root = options.root
    figures = [suite_seconds(options.suite)] if options.suite else all_figures(root)
    if options.list is not None:
        named = [figure for figure in figures if figure.name == options.list]
        sys.stdout.writelines(f"{place}\n" for figure in named for place in figure.places)
        return 0 if named else 2
    budget = read(root)
    measured = {name: row for name, row in budget.items() if (name == SUITE) == bool(options.suite)}
    sys.stdout.writelines(table(figures, budget))
    too_much = above(figures, budget)
    trouble = [f"{each.name}: {each.value}, at most {limit_of(each, budget)} allowed" for each in too_much]
    if options.record:
        if budget and trouble and not options.reason:
            trouble.append('nothing was recorded; raise limits by --record --reason "why"')
        else:
            kept = {name: row for name, row in budget.items() if name not in measured}
            record(root, figures, kept, options.reason if budget else "")
            return 0
    elif options.check:
        before = version_before(root)
        names = raised_without_reason(budget, before) if before is not None else []
        trouble += [f"{name}: the limit is raised without a new reason" for name in names]
        # Such a limit would be forgotten when the figure comes back.
        gone = sorted(measured.keys() - {figure.name for figure in figures})
        trouble += [f"{name}: a limit of a figure that there is not" for name in gone]
        for each in below(figures, budget):
            sys.stderr.write(f"budget: {each.name}: {each.value}; lower its limit by --record\n")
    else:
        return 0
    for line in trouble:
        sys.stderr.write(f"budget: {line}\n")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
