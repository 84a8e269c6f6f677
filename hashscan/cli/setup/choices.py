"""The choices of `hashscan setup`: from options, from questions, and from the setup before."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from hashscan.errors import UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.settings.values import parse_duration, require_positive
from hashscan.sources.filesystem.targets import real_path
from hashscan.state_dir import SYSTEM_STATE

T = TypeVar("T")

QUARANTINE_STATE = Path("/var/lib/hashscan-quarantine")
"""The state folder of the quarantine; root's, as the user who scans must not be able to replace its log."""
_USUAL_TARGETS = ("/var/www", "/home", "/srv")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_ROOT_MAX = 1 << 20


class Terms(msgspec.Struct, frozen=True):
    """The times for which quarantined files are kept, as the options of `quarantine add` have it."""

    retain_min: str
    destroy_by: str

    def __post_init__(self) -> None:
        if parse_duration(self.retain_min) > parse_duration(self.destroy_by):
            raise UsageError(
                f"--destroy-by {self.destroy_by} is earlier than --retain-min {self.retain_min}",
                advice="Name a later end, such as --retain-min 90d --destroy-by 365d.",
            )


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """All that a machine is set up for."""

    targets: tuple[str, ...]
    lists: tuple[str, ...] = ()
    """Names of the signed lists that were named."""
    demo: bool = False
    """True if scans use the list `demo`."""
    schedule: str = "02:17"
    """Hour and minute of the nightly scan."""
    alerts: bool = False
    digest: str | None = "07:00"
    """Hour and minute of the digest of each day, if there are alerts; None sends none."""
    quarantine: Terms | None = None
    """None moves nothing."""
    keep_reports: str | None = None
    """Age at which reports are removed; None removes none."""
    scheduler: str = "systemd"
    """`systemd`, `cron` or `none`."""

    @property
    def digest_at(self) -> str | None:
        """Hour and minute of the digest; None if none is to be sent."""
        return self.digest if self.alerts else None


@dataclass(frozen=True, slots=True)
class NewList:
    """A signed list to add."""

    name: str
    source: str
    root: bytes
    """Content of its root file."""


@dataclass(slots=True)
class Given:
    """The options of the command line; None is not given."""

    targets: tuple[str, ...] | None
    lists: tuple[tuple[str, str, str], ...]
    demo: bool | None
    schedule: str | None
    notify: tuple[str, ...] | None
    """Addresses of alerts, or names of files with such, after an @."""
    digest: str | None
    """`off`, or a time of day."""
    quarantine: Terms | None
    quarantine_off: bool
    keep_reports: str | None
    """`all`, or a time."""


def chosen(given: Given, before: Choices | None, scheduler: str) -> Choices:
    """Return the choices that the options and the setup before make."""
    base = before or Choices(targets=())
    targets = base.targets if given.targets is None else given.targets
    if not targets:
        raise UsageError("no target is named", advice="Name a folder, such as `hashscan setup /var/www`.")
    added = tuple(name for name, _, _ in given.lists if name not in base.lists)
    demo = base.demo and not given.lists if given.demo is None else given.demo
    quarantine = None if given.quarantine_off else given.quarantine or base.quarantine
    alerts = base.alerts if given.notify is None else bool(given.notify)
    digest = base.digest if given.digest is None else _digest_time(given.digest)
    if given.digest is not None and digest and not alerts:
        raise UsageError("a digest needs an address", advice="Name one by --notify.")
    return Choices(
        targets=targets,
        lists=base.lists + added,
        demo=demo,
        schedule=parse_time(given.schedule or base.schedule),
        alerts=alerts,
        digest=digest,
        quarantine=quarantine,
        keep_reports=base.keep_reports if given.keep_reports is None else _age(given.keep_reports),
        scheduler=scheduler,
    )


def _age(text: str) -> str | None:
    """Return an age of reports; None for `all`."""
    if text == "all":
        return None
    require_positive("--keep-reports", parse_duration(text))
    return text


def _digest_time(text: str) -> str | None:
    return None if text == "off" else parse_time(text)


def parse_time(text: str) -> str:
    if (found := _TIME.fullmatch(text)) is None:
        raise UsageError(f"{text!r} is no time of day", advice="Write hours and minutes, such as 02:17.")
    return f"{int(found[1]):02}:{found[2]}"


def ask(given: Given, before: Choices | None, root: Path) -> None:
    """Ask on the terminal for what no option gives; a wrong answer is asked for again.

    The files of the machine lie below `root`.
    """

    def targets(answer: str) -> tuple[str, ...]:
        try:
            words = tuple(shlex.split(answer))
        except ValueError as error:
            raise UsageError(f"{answer!r} is not understood: {error}", advice="Close the quotes.") from error
        list(check_targets(words, root))
        return words

    if given.targets is None:
        usual = before.targets if before else [path for path in _USUAL_TARGETS if os.path.isdir(path)]
        given.targets = _ask("Folders to scan, separated by spaces", shlex.join(usual), targets)
    if not given.lists and given.demo is None and not (before and (before.lists or before.demo)):
        text = "Hash list: NAME ADDRESS ROOTFILE, or demo for the harmless test list, or none"
        answer = _ask(text, "demo", _list_words)
        given.demo = answer == ("demo",)
        given.lists = ((answer[0], answer[1], answer[2]),) if len(answer) == 3 else ()
    if given.schedule is None:
        given.schedule = _ask("Time of the nightly scan", before.schedule if before else "02:17", parse_time)
    if given.notify is None and not (before and before.alerts):
        text = "Addresses for alerts (URLs of Apprise, such as mailto://..., or @FILE with such), or none"
        given.notify = _ask(text, "none", _addresses)
    if given.digest is None and (given.notify or (given.notify is None and before and before.alerts)):
        default = (before.digest if before else Choices(targets=()).digest) or "off"
        text = "Time of the digest of each day, to the same addresses, or off"
        given.digest = _ask(text, default, lambda answer: _digest_time(answer) or "off")
    if given.quarantine is None and not given.quarantine_off:
        old = before.quarantine if before else None
        default = f"{old.retain_min} {old.destroy_by}" if old else "off"
        text = "Move matches into quarantine: keep at least, destroy after (such as 90d 365d), or off"
        given.quarantine = _ask(text, default, _terms)
        given.quarantine_off = given.quarantine is None
    if given.keep_reports is None:
        default = (before.keep_reports if before else "90d") or "all"
        text = "Keep reports for (such as 90d), or all"
        given.keep_reports = _ask(text, default, lambda answer: _age(answer) or "all")


def _ask(text: str, default: str, parse: Callable[[str], T]) -> T:
    while True:
        answer = str(click.prompt(text, default=default or None, err=True)).strip()
        try:
            return parse(answer)
        except UsageError as error:
            click.echo(f"{error}. {error.remedy}", err=True)


def _words(answer: str) -> tuple[str, ...]:
    return tuple(answer.split())


def _addresses(answer: str) -> tuple[str, ...]:
    words = () if answer == "none" else _words(answer)
    addresses(words)
    return words


def _list_words(answer: str) -> tuple[str, ...]:
    words = () if answer == "none" else _words(answer)
    if words not in ((), ("demo",)) and len(words) != 3:
        raise UsageError(f"{answer!r} is not understood", advice="Write three words, or demo, or none.")
    if len(words) == 3:
        _new_list(*words)
    return words


def _terms(answer: str) -> Terms | None:
    if answer == "off":
        return None
    words = _words(answer)
    if len(words) != 2:
        raise UsageError(f"{answer!r} is not understood", advice="Write two times, such as 90d 365d, or off.")
    return Terms(*words)


def check_targets(targets: tuple[str, ...], root: Path) -> Iterator[str]:
    """Check the targets of a machine whose files lie below `root`; yield what to know about them."""
    found: dict[str, Path] = {}
    for target in targets:
        found[target] = _real_target(target, root)
    own = {path: _real(str(path), root) for path in (SYSTEM_STATE, QUARANTINE_STATE)}
    for target, path in found.items():
        if path != Path(os.path.normpath(f"{root}/{target}")):
            yield f"the target {target} is, or lies behind, a link: {path} is scanned"
        for other, outer in found.items():
            if other != target and path.is_relative_to(outer):
                raise UsageError(
                    f"the target {target!r} is within the target {other!r}",
                    advice=f"Leave it out: a scan of {other} reads it, too.",
                )
        for folder, place in own.items():
            if path.is_relative_to(place):
                raise UsageError(
                    f"the target {target!r} is in hashscan's own folder {folder}",
                    advice="Name other targets; hashscan's state, lists and reports are never scanned.",
                )
            if place.is_relative_to(path):
                yield f"{folder} lies in the target {target}, and scans leave it out"


def _real_target(target: str, root: Path) -> Path:
    shown = repr(target)
    if "://" in target:
        raise UsageError(
            f"the target {shown} is not on this machine, and the nightly scan has no network",
            advice="docs/buckets.md says how buckets are scanned.",
        )
    try:
        target.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of the target {shown} is no valid UTF-8, and the settings file can't hold it",
            advice="Name the folder that contains it.",
        ) from None
    if not target.startswith("/"):
        raise UsageError(
            f"the target {shown} is relative, and the nightly scan starts in another folder",
            advice=f"Write {os.path.abspath(target)!r}.",
        )
    try:
        path = Path(os.fsdecode(real_path(os.fsencode(f"{root}/{target}"))))
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"the target {shown} can't be scanned: {why}", advice="Name a folder that exists."
        ) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise UsageError(f"the target {shown} is neither a folder nor a file", advice="Name a folder.")
    return path


def _real(path: str, root: Path) -> Path:
    return Path(os.path.realpath(f"{root}/{path}"))


def new_lists(given: Given) -> Iterator[NewList]:
    for words in given.lists:
        yield _new_list(*words)


def _new_list(name: str, source: str, root: str) -> NewList:
    if not LIST_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a list", advice="Use lower-case letters, digits and hyphens."
        )
    try:
        with open(root, "rb") as file:
            content = file.read(_ROOT_MAX)
    except OSError as error:
        raise UsageError(
            f"the root file {root} of the list {name} can't be read: {error.strerror}",
            advice="Get it from the list's owner, by another way than the list.",
        ) from error
    return NewList(name, os.path.abspath(source) if os.path.isdir(source) else source, content)


def addresses(notify: tuple[str, ...]) -> bytes:
    """Return the file of the addresses that get alerts."""
    lines: list[str] = []
    for one in notify:
        if not one.startswith("@"):
            lines.append(one)
            continue
        try:
            lines += Path(one[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the file {one[1:]} of --notify can't be read: {error}", advice="Name a text file."
            ) from error
    return "".join(f"{line}\n" for line in lines).encode()
