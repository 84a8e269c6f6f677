"""Real scans of the shards of one tree, and their reports joined."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.selftest import make_test_picture
from hashscan.sources.shards import shard_of
from tests.cli.conftest import COMMAND, Run, environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK, Prefork
from tests.scan.made_reports import clean, listed, many_findings
from tests.shortcomings import codes, messages, shortcoming

SHARDS = 6
FOUND = (
    *(b"f%d/%s" % (number, name) for number in range(6) for name in (b"found.pgm", b"again.pgm")),
    *(b"\xff\n", b"\x1b[31m", b" "),
)
"""The test pictures in the tree, each a finding."""

Records = list[dict[str, Any]]


def read(path: Path) -> Records:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


WITHOUT_RIGHTS = Prefork(
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
"""Nothing is closed to root, unless it starts a program that may not pass over modes."""


def scan(folder: Path, report: str, *options: str) -> int:
    arguments = ["scan", "--list", "demo", "--no-state", "--workers", "1", "--report", report, *options]
    done = WITHOUT_RIGHTS.run(
        [*arguments, str(folder / "tree"), str(folder / "empty")],
        env=environment(Path("/nonexistent")),
        cwd=folder / "reports",
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def fill(tree: Path) -> None:
    for number in range(60):
        folder = tree / f"f{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_bytes(b"%d" % number)
    picture = encoded(scene(3), quality=80)
    for number in range(6):
        (tree / f"f{number}" / "found.pgm").write_bytes(make_test_picture(str(number)))
        (tree / f"f{number}" / "picture.jpg").write_bytes(picture)
        (tree / f"f{number}" / "broken.jpg").write_bytes(picture[: 1500 + number])
        (tree / f"f{number}" / "large").write_bytes(bytes(3 << 20))
        os.link(tree / "f0" / "found.pgm", tree / f"f{number}" / "again.pgm")
    for name in FOUND[-3:]:
        (tree / os.fsdecode(name)).write_bytes(make_test_picture())
    os.symlink("f0", tree / "link")
    os.mkfifo(tree / "fifo")
    for number in range(4):
        (tree / f"closed{number}").mkdir(mode=0)
        (tree / f"secret{number}").write_bytes(b"x")
        (tree / f"secret{number}").chmod(0)


def findings_of_shards(folder: Path) -> list[int]:
    """Return how many findings each shard has of the tree in a folder; the paths decide."""
    counts = Counter(shard_of(os.fsencode(folder / "tree") + b"/" + name, SHARDS) for name in FOUND)
    return [counts[index] for index in range(1, SHARDS + 1)]


def differ_enough(findings: list[int]) -> bool:
    """Return whether a shard has no finding, and others differ."""
    return 0 in findings and len(set(findings)) > 2


@pytest.fixture(scope="module")
def scanned() -> Iterator[Path]:
    """A folder with `reports`: of one scan, and of all shards of another."""
    base = Path(tempfile.mkdtemp(prefix="hashscan-shards-")).resolve()
    # Where paths hash to is chance; of so many folders, about every third will do.
    folder = next(
        base / str(number)
        for number in itertools.count()
        if differ_enough(findings_of_shards(base / str(number)))
    )
    try:
        for name in ("tree", "reports", "empty"):
            (folder / name).mkdir(parents=True)
        fill(folder / "tree")
        options = ("--max-file-size", "2M")
        assert scan(folder, "one", *options) == 4
        with ThreadPoolExecutor(2) as threads:
            codes = list(
                threads.map(
                    lambda index: scan(folder, f"s{index}", "--shard", f"{index}/{SHARDS}", *options),
                    range(1, SHARDS + 1),
                )
            )
        # The empty target alone makes each incomplete.
        assert codes == [4 if findings else 3 for findings in findings_of_shards(folder)]
        assert set(codes) == {3, 4}
        yield folder
    finally:
        for path in (folder / "tree").glob("closed*"):
            path.chmod(0o700)
        shutil.rmtree(base)


@pytest.fixture
def reports(scanned: Path, tmp_path: Path) -> list[Path]:
    """Copies of the shards' reports."""
    copies = []
    for index in range(1, SHARDS + 1):
        copies.append(tmp_path / f"s{index}.jsonl")
        shutil.copyfile(scanned / "reports" / f"s{index}", copies[-1])
    return copies


def facts(records: Records) -> Counter[str]:
    """Return the facts about each path, without order."""
    return Counter(json.dumps(record, sort_keys=True) for record in records[1:-1])


@pytest.mark.slow
def test_together_they_equal_one_scan(scanned: Path, reports: list[Path], tmp_path: Path, run: Run) -> None:
    whole = read(scanned / "reports" / "one")
    # In any order, and by names that sort otherwise than numbers.
    ran = run("report", "merge", *sorted(reports), "--output", tmp_path / "all.jsonl")
    assert ran.code == 4
    joined = read(tmp_path / "all.jsonl")
    assert (tmp_path / "all.jsonl").stat().st_mode & 0o777 == 0o600
    assert facts(joined) == facts(whole)
    same = (
        "files", "verdicts", "reasons", "folders_not_entered", "passed", "empty_targets", "incomplete",
        "exit_code", "test_findings", "low_quality_pictures", "only_test_entries", "sandbox",
    )  # fmt: skip
    assert {key: joined[-1][key] for key in same} == {key: whole[-1][key] for key in same}
    assert messages(whole[-1]) == ["4 unreadable files", "4 folders not entered", "1 empty targets"]
    assert whole[-1]["verdicts"]["match"] == 6 + 6 + 3
    # A file with names in several shards is read in each.
    assert joined[-1]["bytes"] >= whole[-1]["bytes"]
    same = ("targets", "lists", "thresholds", "variants", "algorithms", "excepted", "sandbox", "schema")
    assert {key: joined[0][key] for key in same} == {key: whole[0][key] for key in same}
    assert "shard" not in joined[0]
    assert [part["shard"] for part in joined[0]["merged"]["from"]] == list(range(1, SHARDS + 1))


@pytest.mark.slow
def test_shards_had_a_part_each(reports: list[Path]) -> None:
    """Or the test above would say little. Where names hash to is chance: a shard may have got no file."""
    with_files = 0
    for index, report in enumerate(reports, start=1):
        records = read(report)
        assert records[0]["shard"] == {"index": index, "count": SHARDS}
        with_files += records[-1]["files"] > 0
        assert records[-1]["listed"] == 60 + 6 * 4 + 6 + 3 + 4
        assert bool(records[-1]["passed"]["folders"]) is (index == 1)
    assert with_files >= SHARDS - 1
    assert differ_enough([sum(r["type"] == "finding" for r in read(report)) for report in reports])


def test_missing_ones_are_named(reports: list[Path], tmp_path: Path, run: Run) -> None:
    ran = run("report", "merge", *reports[:2], reports[3], *reports[5:], "--output", "-")
    assert ran.code == 4
    assert "shards 3 and 5 of 6 are missing" in messages(ran.lines[-1])
    assert "shards 3 and 5 of 6 are missing" in ran.err


def test_all_clean_is_complete_and_one_missing_is_not(tmp_path: Path, run: Run) -> None:
    parts = [clean(tmp_path / f"{index}", index, 3) for index in (1, 2, 3)]
    ran = run("report", "merge", *parts, "--output", "-")
    assert (ran.code, ran.lines[-1]["files"], ran.lines[-1]["incomplete"]) == (0, 15, [])
    assert ran.lines[-1]["seconds"] == 1.0
    ran = run("report", "merge", parts[0], parts[2], "--output", tmp_path / "out")
    assert (ran.code, messages(read(tmp_path / "out")[-1])) == (3, ["shard 2 of 3 is missing"])
    assert read(tmp_path / "out")[-1]["exit_code"] == 3


def test_what_a_shard_fell_short_of_stays(tmp_path: Path, run: Run) -> None:
    one = clean(
        tmp_path / "1",
        1,
        3,
        incomplete=[shortcoming("stopped before its end", "stopped")],
        exit_code=143,
        listed=None,
    )
    two = clean(tmp_path / "2", 2, 3, lists=[listed(4, "stale")])
    three = clean(tmp_path / "3", 3, 3, started="2026-11-25T09:59:58+00:00")
    ran = run("report", "merge", one, two, three, "--output", "-")
    assert ran.code == 3
    assert messages(ran.lines[-1]) == ["list l is stale", "shard 1: stopped before its end"]
    assert ran.lines[0]["lists"][0]["state"] == "stale"
    assert ran.lines[0]["started"] == "2026-11-25T09:59:58+00:00"
    assert ran.lines[-1]["seconds"] == 3.0


def test_a_shard_that_saw_far_less_is_suspicious(tmp_path: Path, run: Run) -> None:
    """A disk that is not mounted on one machine."""
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2, listed=7)
    ran = run("report", "merge", one, two, "--output", "-")
    assert ran.code == 3
    assert "shard 2 was shown 7 files, shard 1 10" in messages(ran.lines[-1])[0]
    ran = run("report", "merge", one, clean(tmp_path / "2", 2, 2, listed=8), "--output", "-")
    assert ran.code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": [{"path": "/u"}]}, "scanned other targets"),
        ({"thresholds": {"pdq": 30}}, "matched by other thresholds"),
        ({"fail_on": "never"}, "in --fail-on"),
        ({"strict": True}, "in --strict"),
        ({"files_from": {"path": "-"}}, "in --files-from"),
        ({"lists": [listed(5)]}, "l version 5 (9 entries)"),
        ({"lists": []}, "used no list"),
        ({"lists": [{**listed(4), "fingerprint": "e" * 64}]}, "has other content in the list l"),
        ({"selection": {"max_file_size": 7}}, "in --max-file-size: 7 and none"),
        ({"selection": {"exclude": {"patterns": ["*.log"]}}}, '--exclude or --ignore-file: ["*.log"] and'),
        ({"review_threshold": 52}, "differs from the second in --review-threshold"),
        ({"variants": ["turned"]}, "compared pictures in other ways"),
        ({"shard": {"index": 2, "count": 3}}, "is one of 3 shards, the second of 2"),
        ({"shard": None}, "is of a whole scan"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_not_of_one_scan(changes: dict[str, Any], message: str, tmp_path: Path, run: Run) -> None:
    one = clean(tmp_path / "first", 1, 2)
    other = clean(tmp_path / "other", 2, 2, **changes)
    for order in ((one, other), (other, one)):
        ran = run("report", "merge", *order, "--output", tmp_path / "out")
        assert ran.code == 2
        assert message in ran.err
        assert str(other) in ran.err
        assert str(one) in ran.err or changes == {"shard": None}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "other"]


def test_a_shard_given_twice(tmp_path: Path, run: Run) -> None:
    one, again = clean(tmp_path / "one", 1, 2), clean(tmp_path / "again", 1, 2, uuid="other")
    ran = run("report", "merge", one, again, "--output", "-")
    assert ran.code == 2
    assert f"shard 1 is given twice, by {one} and {again}" in ran.err
    assert ran.out == ""


def test_a_whole_report_alone(scanned: Path, tmp_path: Path, run: Run) -> None:
    shutil.copyfile(scanned / "reports" / "one", tmp_path / "one")
    ran = run("report", "merge", tmp_path / "one", "--output", "-")
    assert ran.code == 4
    assert facts(ran.lines) == facts(read(tmp_path / "one"))


@pytest.mark.parametrize("cut", [1, 200])
def test_a_killed_shard(cut: int, reports: list[Path], scanned: Path, tmp_path: Path, run: Run) -> None:
    """Its report has no summary and a torn last line; what it has is kept."""
    torn = next(path for path in reports if any(r["type"] == "finding" for r in read(path)))
    lines = torn.read_bytes().splitlines(keepends=True)
    torn.write_bytes(b"".join(lines[:-1]) + lines[-1][:-cut])
    kept = Counter(record["type"] for record in read_whole(lines[:-1]))
    ran = run("report", "merge", *reports, "--output", "-")
    assert ran.code == 4
    if cut == 1:
        # Nothing of the summary is lost but the end of its line.
        assert ran.lines[-1]["incomplete"] == read(scanned / "reports" / "one")[-1]["incomplete"]
        return
    (message,) = [w for w in messages(ran.lines[-1]) if "not scanned to its end" in w]
    assert torn.name in message
    whole = read(scanned / "reports" / "one")
    assert facts(ran.lines) == facts(whole)
    assert kept["finding"] > 0
    for verdict, number in whole[-1]["verdicts"].items():
        if verdict != "clean":
            assert ran.lines[-1]["verdicts"][verdict] == number
    assert ran.lines[-1]["verdicts"]["clean"] < whole[-1]["verdicts"]["clean"]
    assert ran.lines[-1]["test_findings"] == whole[-1]["test_findings"]


def read_whole(lines: list[bytes]) -> Records:
    return [json.loads(line) for line in lines]


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 1_000_000)


def wrong(path: Path) -> None:
    clean(path, 2, 2, shard={"index": 17, "count": 16})


@pytest.mark.parametrize("make", [deep, wrong, os.mkfifo, os.mkdir])
def test_what_is_no_report(make: Callable[[Path], None], tmp_path: Path, run: Run) -> None:
    one = clean(tmp_path / "1", 1, 2)
    make(tmp_path / "2")
    ran = run("report", "merge", one, tmp_path / "2", "--output", tmp_path / "out")
    assert ran.code == 2, ran.err
    assert str(tmp_path / "2") in ran.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_outputs_that_can_not_be(tmp_path: Path, run: Run) -> None:
    one = clean(tmp_path / "1", 1, 1)
    before = one.read_bytes()
    ran = run("report", "merge", one, "--output", one)
    assert (ran.code, "would overwrite" in ran.err) == (2, True)
    partial = clean(tmp_path / "out.partial", 1, 1)
    assert run("report", "merge", partial, "--output", tmp_path / "out").code == 2
    assert run("report", "merge", one, "--output", tmp_path / "no" / "out").code == 12
    assert run("report", "merge", tmp_path / "none", "--output", tmp_path / "other").code == 2
    assert run("report", "merge", "--output", tmp_path / "out").code == 2
    assert one.read_bytes() == before == partial.read_bytes()
    with open("/dev/full", "w") as full:
        assert run("report", "merge", one, "--output", "-", stdout=full).code == 12


def test_killed_it_leaves_no_half_report(tmp_path: Path) -> None:
    parts = [many_findings(tmp_path / f"{index}", index, 60_000) for index in (1, 2)]
    output = tmp_path / "out"
    output.write_text("the one before")
    joining = PREFORK.popen(
        [*COMMAND, "report", "merge", *map(str, parts), "--output", str(output)], stderr=subprocess.DEVNULL
    )
    partial = tmp_path / "out.partial"
    until = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 100_000):
        assert time.monotonic() < until
        time.sleep(0.005)
    joining.send_signal(signal.SIGKILL)
    joining.wait()
    assert output.read_text() == "the one before"
    assert partial.stat().st_size < sum(part.stat().st_size for part in parts)


_MEASURED = """
import sys
from hashscan.cli.main import run
code = run(sys.argv[1:])
import pathlib, re
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_reports(tmp_path: Path) -> None:
    used = []
    for number in (10, 60_000):
        parts = [many_findings(tmp_path / f"{index}", index, number) for index in (1, 2)]
        done = subprocess.run(
            [
                COMMAND[0],
                "-c",
                _MEASURED,
                "report",
                "merge",
                *map(str, parts),
                "--output",
                str(tmp_path / "o"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        used.append(int(done.stderr.splitlines()[-1]))
    # kB; the reports have 36 MB.
    assert used[1] - used[0] < 8_000


def test_lists_of_one_size_but_other_content(tmp_path: Path, run: Run) -> None:
    """Two machines that each imported a file of their own under one name."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(8):
        (tree / str(number)).write_bytes(b"%d" % number)
    reports = []
    for index, content in enumerate((b"0", b"1", b"0"), start=1):
        state = tmp_path / f"state{index}"
        entries = tmp_path / "entries.csv"
        digest = hashlib.sha256(content).hexdigest()
        entries.write_text(f"id,algorithm,value,category\ne-1,sha256,{digest},A1\n")
        for _ in range(index):
            # However often: the versions of a local list are each machine's own.
            assert run("lists", "import", entries, "--name", "ours", "--state", state).code == 0
        reports.append(tmp_path / f"{index}.jsonl")
        ran = run("scan", tree, "--state", state, "--shard", f"{index}/3", "--report", reports[-1])
        assert ran.code in {0, 1}, ran.err
        assert digest not in reports[-1].read_text()
    ran = run("report", "merge", *reports[:2], "--output", tmp_path / "out")
    assert ran.code == 2
    assert f"{reports[1]} and {reports[0]} are not of one scan" in ran.err
    assert "other content in the list ours (ours version 2 (1 entries, local))" in ran.err
    assert "import the same lists everywhere" in ran.err
    ran = run("report", "merge", reports[0], reports[2], "--output", "-")
    assert ran.code in {3, 4}, ran.err
    assert codes(ran.lines[-1]) == ["shards"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("--exclude", "*.log"), ("--exclude", "*.o"), '--exclude or --ignore-file: ["*.o"] and ["*.log"]'),
        ((), ("--max-pixels", "1000"), "--max-pixels: 1000 and 64000000"),
        ((), ("--skip-variant", "inverted"), "compared pictures in other ways"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_options_that_change_what_is_checked(
    first: tuple[str, ...], second: tuple[str, ...], message: str, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"a")
    reports = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for index, options in enumerate((first, second), start=1):
        ran = run(
            *("scan", tmp_path / "tree", "--list", "demo", "--no-state", "--workers", "1"),
            *("--shard", f"{index}/2", "--report", reports[index - 1], *options),
        )
        assert ran.code == 0, ran.err
    ran = run("report", "merge", *reports, "--output", tmp_path / "out")
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "out").exists()


def test_file_lists_of_one_length_but_other_names(tmp_path: Path, run: Run) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abcd":
        (tree / name).write_bytes(b"x")
    reports = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    other = "--files-from named other files to shard 2 than to shard 1"
    for names, expected in (("ab", []), ("ac", [other])):
        for index, named in enumerate(("ba", names), start=1):
            (tmp_path / f"names{index}").write_text("".join(f"{tree / name}\n" for name in named))
            run(
                *("scan", tree, "--files-from", tmp_path / f"names{index}", "--list", "demo", "--no-state"),
                *("--shard", f"{index}/2", "--report", reports[index - 1]),
            )
        ran = run("report", "merge", *reports, "--output", "-")
        assert ran.code == (3 if expected else 0)
        assert [w.split(": ")[-1] for w in messages(ran.lines[-1])] == expected


@pytest.mark.slow
def test_findings_that_stand_are_joined_too(tmp_path: Path, run: Run) -> None:
    """Most of a target is gone, and so may be what was found there: each shard says it from its own state."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(48):
        (tree / f"{number}.pgm").write_bytes(make_test_picture(str(number)))
    reports = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for left in (48, 4):
        for number in range(left, 48):
            (tree / f"{number}.pgm").unlink()
        for index, report in enumerate(reports, start=1):
            state = tmp_path / f"state{index}"
            run("scan", tree, "--list", "demo", "--state", state, "--shard", f"{index}/2", "--report", report)
    ran = run("report", "merge", *reports, "--output", "-")
    assert ran.code == 4, ran.err
    kinds = Counter(record["type"] for record in ran.lines)
    assert (kinds["finding"], kinds["standing"]) == (4, 44)
    assert ran.lines[-1]["files"] == 4
    assert "standing" in codes(ran.lines[-1])


def test_a_report_that_was_left_from_the_night_before(tmp_path: Path, run: Run) -> None:
    one = clean(tmp_path / "1", 1, 3, started="2026-11-25T01:00:00+00:00", ended="2026-11-25T02:00:00+00:00")
    left = clean(tmp_path / "2", 2, 3, started="2026-11-24T01:00:00+00:00", ended="2026-11-24T02:00:00+00:00")
    three = clean(
        tmp_path / "3", 3, 3, started="2026-11-25T12:00:00+00:00", ended="2026-11-25T23:00:00+00:00"
    )
    ran = run("report", "merge", one, left, three, "--output", "-")
    assert ran.code == 3
    (message,) = messages(ran.lines[-1])
    assert message == "shard 2 was done 23 hours before shard 1 began, and may be of an earlier scan"


def test_what_is_withheld_by_some_shards_only_says_so(tmp_path: Path, run: Run) -> None:
    keys = ("list", "entry", "algorithm", "category", "reason", "until", "by", "since")
    both, one_only = (dict.fromkeys(keys, word) for word in ("both", "one"))
    content = dict.fromkeys(("reason", "until", "by", "since"), "one content")
    parts = [
        clean(tmp_path / "1", 1, 2, excepted=[both, one_only]),
        clean(tmp_path / "2", 2, 2, excepted=[both], excepted_contents=[content]),
    ]
    ran = run("report", "merge", *parts, "--output", "-")
    assert ran.code == 0
    assert ran.lines[0]["excepted"] == [both, {**one_only, "shards": [1]}]
    assert ran.lines[0]["excepted_contents"] == [{**content, "shards": [2]}]


def test_what_reports_say_is_no_command_to_a_terminal(tmp_path: Path, run: Run) -> None:
    one = clean(tmp_path / "1", 1, 1, incomplete=[shortcoming("\x1b[31m")])
    ran = run("report", "merge", one, "--output", tmp_path / "out")
    assert ran.code == 3
    assert "\x1b" not in ran.err
    assert "\\x1b" in ran.err
