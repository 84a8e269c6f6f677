"""The files that `hashscan setup` writes: settings, units or a line for cron, addresses and root files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hashscan.cli.setup.choices import QUARANTINE_STATE, Choices, NewList
from hashscan.errors import UsageError
from hashscan.settings.file import SYSTEM_CONFIG, toml_text
from hashscan.state_dir import SYSTEM_STATE

CONFIG_FOLDER = SYSTEM_CONFIG.parent
UNIT_FOLDER = Path("/etc/systemd/system")
_NOTIFY = CONFIG_FOLDER / "notify"
_CRON = Path("/etc/cron.d/hashscan")
_FOUND = SYSTEM_STATE / "found.jsonl"
"""The report of each scan that the quarantine reads."""
_QUARANTINE_COMMANDS = ("add", "destroy", "export", "list", "restore", "verify")
_SOURCES = Path(__file__).parent
_INSTALLED = "/opt/hashscan/bin/hashscan"
"""The program in the units and the crontab of the repository."""
_DEFAULT_TARGETS = re.compile(r"^HASHSCAN_TARGETS=.*\n", re.MULTILINE)
_CRON_SCAN = re.compile(r"^17 2 ", re.MULTILINE)
_CRON_ALERTS = re.compile(r"^#(?=\*/15 )", re.MULTILINE)
_CRON_DIGEST = re.compile(r"^#0 7 ", re.MULTILINE)
_UNSAFE_IN_UNITS = re.compile(r"[\"'\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of the machine."""

    path: Path
    data: bytes | None
    """The content; None keeps the file that an earlier setup has written."""
    for_service: bool = False
    """True if only root and the group of the service user may read it; else all users may."""
    shown: bool = True
    """True if the content is shown before it is written."""


def planned_files(
    choices: Choices,
    program: str,
    *,
    packaged: bool,
    lists: Iterable[NewList],
    notify: bytes | None,
) -> Iterator[PlannedFile]:
    """Yield all files for the choices. The program is started by units and cron; a package may have installed
    the units; lists are to be added now; without `notify`, the file of addresses is kept."""
    yield PlannedFile(SYSTEM_CONFIG, _settings(choices).encode(), for_service=True)
    roots = {one.name: one.root for one in lists}
    for name in choices.lists:
        yield PlannedFile(root_file(name), roots.get(name), for_service=True, shown=False)
    if choices.alerts:
        yield PlannedFile(_NOTIFY, notify, for_service=True, shown=False)
    if choices.scheduler == "systemd":
        for unit in () if packaged else _units(choices):
            text = (_SOURCES / "units" / unit).read_text(encoding="utf-8")
            yield PlannedFile(UNIT_FOLDER / unit, text.replace(_INSTALLED, program).encode())
        for unit, text in _drop_ins(choices, program):
            yield PlannedFile(UNIT_FOLDER / f"{unit}.d" / "setup.conf", text.encode())
    elif choices.scheduler == "cron":
        yield PlannedFile(_CRON, _crontab(choices, program).encode())


def root_file(name: str) -> Path:
    return CONFIG_FOLDER / f"{name}-root.json"


def enabled_units(choices: Choices) -> list[str]:
    """Return the units that the choices enable."""
    if choices.scheduler != "systemd":
        return []
    return [
        "hashscan.timer",
        "hashscan-pull.timer",
        *(["hashscan-alerts.timer"] if choices.alerts else []),
        *(["hashscan-digest.timer"] if choices.digest_at else []),
        *(["hashscan-quarantine.path"] if choices.quarantine else []),
    ]


def _settings(choices: Choices) -> str:
    lines = [
        "# Written by `hashscan setup`. If you change this file, setup keeps it as it is, also when it",
        "# removes the rest. docs/settings.md explains what else it can hold.",
        "",
        "[scan]",
        f"targets = {toml_text(choices.targets)}",
    ]
    if choices.demo:
        lines.append(f"list = {toml_text(['demo', *choices.lists])}")
    if (terms := choices.quarantine) is not None:
        lines += ["", "[quarantine]"]
        lines += [
            f"retain-min = {toml_text(terms.retain_min)}",
            f"destroy-by = {toml_text(terms.destroy_by)}",
        ]
        for command in _QUARANTINE_COMMANDS:
            lines += ["", f"[quarantine.{command}]", f"state = {toml_text(str(QUARANTINE_STATE))}"]
    if choices.keep_reports is not None:
        lines += ["", '["report prune"]', f"keep = {toml_text(choices.keep_reports)}"]
    return "\n".join(lines) + "\n"


def _units(choices: Choices) -> list[str]:
    names = ["hashscan", "hashscan-pull", "hashscan-alerts"]
    units = [f"{name}.{kind}" for name in names for kind in ("service", "timer")]
    if choices.digest_at:
        units += ["hashscan-digest.service", "hashscan-digest.timer"]
    if choices.quarantine:
        units += ["hashscan-quarantine.service", "hashscan-quarantine.path", "hashscan-cases.service"]
    return units


def _drop_ins(choices: Choices, program: str) -> Iterator[tuple[str, str]]:
    for timer, at in (("hashscan.timer", choices.schedule), ("hashscan-digest.timer", choices.digest_at)):
        if at:
            yield timer, f"[Timer]\nOnCalendar=\nOnCalendar=*-*-* {at}:00\n"
    scan = ""
    if choices.quarantine:
        scan += f"ExecStart=\nExecStart={program} scan --sandbox required {_options_of_quarantine()}\n"
    if choices.keep_reports:
        # A report that can't be removed is in the journal, and does not make the scan fail.
        scan += f"ExecStopPost=-{program} report prune\n"
    if scan:
        yield "hashscan.service", f"[Service]\n{scan}"
    if not choices.quarantine:
        return
    for target in choices.targets:
        if _UNSAFE_IN_UNITS.search(target):
            raise UsageError(
                f"the name of the target {target!r} can't be written into a unit",
                advice="Name the folder that contains it, or leave the quarantine off.",
            )
    escaped = [target.replace("%", "%%") for target in choices.targets]
    paths = "".join(f'ReadWritePaths="{target}"\n' for target in escaped)
    yield "hashscan-quarantine.service", f"[Service]\nReadWritePaths=\n{paths}"


def _with_value(line: str, values: Mapping[str, str]) -> str:
    name, assigned, _ = line.partition("=")
    return f"{name}={values[name]}\n" if assigned and name in values else line


def _options_of_quarantine() -> str:
    return f"--with-digests --report {_FOUND} --quarantine-state {QUARANTINE_STATE}"


def _crontab(choices: Choices, program: str) -> str:
    text = _DEFAULT_TARGETS.sub("", (_SOURCES / "crontab").read_text(encoding="utf-8"))
    values = {"MAILTO": "root", "HASHSCAN": program}
    if choices.quarantine:
        values["SCAN_OPTIONS"] = f'"{_options_of_quarantine()}"'
        values["AFTER_FINDINGS"] = f'"{program} quarantine add {_FOUND} --state {QUARANTINE_STATE}"'
    if choices.keep_reports:
        values["AFTER_SCAN"] = f'"{program} report prune"'
    lines = [_with_value(line, values) for line in text.splitlines(keepends=True)]
    text = _CRON_SCAN.sub(_at(choices.schedule), "".join(lines))
    if choices.alerts:
        text = _CRON_ALERTS.sub("", text)
    return _CRON_DIGEST.sub(_at(choices.digest_at), text) if choices.digest_at else text


def _at(time: str) -> str:
    """Return a time of day as cron has it."""
    hour, minute = time.split(":")
    return f"{int(minute)} {int(hour)} "
