"""The baseline of accepted findings: read and write its file, make it from a report, and filter a scan's
findings by it.

The file is JSON: an object with the format's name, its version and the accepted matches. Each match is
written on a line of its own, so that a change can be reviewed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct, structs
from msgspec.structs import astuple

from hashscan.atomic_files import PRIVATE_FILE, replace_file
from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.matching.policy import covers
from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    ENTRY_ID_MAX,
    KNOWN_GOOD_CATEGORY,
    MATCHES_MAX,
    AcceptedMatch,
    FileResult,
    Match,
    Verdict,
)
from hashscan.reports.records import FINDINGS, Record, path_bytes
from hashscan.reports.report import Report
from hashscan.reports.summary import FailOn, Summary
from hashscan.schema import validated
from hashscan.text import is_printable_line
from hashscan.timefmt import format_utc

FORMAT = "hashscan-baseline"
VERSION = 1
REASON_MAX = 500
"""The maximum length in characters; the reason is a part of every accepted finding."""
SIZE_MAX = 64 << 20
_BY_MAX = 100
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_FORMS = {
    "list": (LIST_NAME, "the name of a list"),
    "entry": (re.compile(f"[ -~]{{1,{ENTRY_ID_MAX}}}"), "the id of an entry"),
    "sha256": (re.compile("[0-9a-f]{64}"), "a SHA-256 in lower case"),
    "until": (_TIME, "a time such as 2027-01-31T00:00:00Z"),
    "since": (_TIME, "a time such as 2027-01-31T00:00:00Z"),
}


class _Row(Struct, forbid_unknown_fields=True):
    """One accepted match as the file has it; the fields are those of `AcceptedMatch`, in its order."""

    list: str
    entry: str
    sha256: str
    reason: str
    until: str
    by: str
    since: str

    def __post_init__(self) -> None:
        for key, (pattern, form) in _FORMS.items():
            if not pattern.fullmatch(getattr(self, key)):
                raise ValueError(f"{key}: this is not {form}")
        for key, text, most in (("reason", self.reason, REASON_MAX), ("by", self.by, _BY_MAX)):
            if not text.strip() or not is_printable_line(text, most):
                raise ValueError(f"{key}: this is not one printable line of at most {most} characters")


AcceptedKey = tuple[str, str, str]


def key_of(accepted: AcceptedMatch) -> AcceptedKey:
    """Return the key of an accepted match: what is accepted, without reason, author and times."""
    return accepted.list_name, accepted.entry_id, accepted.sha256


def read_baseline(path: Path) -> tuple[AcceptedMatch, ...]:
    """Return all accepted matches of a file.

    Raises:
        UsageError: there is no such file, a newer hashscan wrote it, or it is damaged; the message names the
            line.
    """
    document = _text(path)
    found: dict[AcceptedKey, AcceptedMatch] = {}
    for line, row in _rows(path, document):
        try:
            accepted = accepted_match_from(row)
        except ValueError as error:
            raise _invalid_file_error(path, line, str(error)) from error
        if key_of(accepted) in found:
            raise _invalid_file_error(path, line, "the same is accepted twice")
        found[key_of(accepted)] = accepted
    return tuple(found.values())


def write_baseline(path: Path, accepted: Iterable[AcceptedMatch]) -> None:
    """Write a baseline file; the old file stays in place until the new one is complete.

    Raises:
        OutputError: the file can't be written.
    """
    rows = [
        json.dumps(dict(zip(_Row.__struct_fields__, structs.astuple(one), strict=True)))
        for one in sorted(accepted, key=key_of)
    ]
    body = "".join(f"\n    {row}{',' * (number < len(rows))}" for number, row in enumerate(rows, start=1))
    document = f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "accepted": [{body}\n  ]\n}}\n'
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE_FILE
        replace_file(path, document.encode("ascii"), mode)
    except OSError as error:
        raise OutputError(f"can't write the baseline {path}: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"the baseline {path} is no regular file")
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"can't read the baseline {path}: {error.strerror}",
            advice="Name a file that `hashscan report accept` has written.",
        ) from error
    if len(data) > SIZE_MAX:
        raise UsageError(f"the baseline {path} is larger than {SIZE_MAX >> 20} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_file_error(path, data.count(b"\n", 0, error.start) + 1, "this is no UTF-8") from error


def _rows(path: Path, document: str) -> Iterator[tuple[int, Any]]:
    try:
        whole = json.loads(document)
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is no syntax error, and has no line.
        raise _invalid_file_error(
            path, getattr(error, "lineno", 1), "this is no JSON that can be read"
        ) from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise _invalid_file_error(path, 1, f'it does not say "format": "{FORMAT}"')
    version = whole.get("version")
    if type(version) is not int or version < 1:
        raise _invalid_file_error(path, 1, "it does not say which version of the format it has")
    if version > VERSION:
        raise UsageError(
            f"a newer hashscan wrote the baseline {path}: its version is {version}, and this one knows "
            f"{VERSION}",
            advice="Use the version that wrote it, or a newer one.",
        )
    rows = whole.get("accepted")
    if not isinstance(rows, list):
        raise _invalid_file_error(path, 1, "it has no list of what is accepted")
    yield from zip(_lines(document, len(rows)), rows, strict=True)


def _lines(document: str, number: int) -> list[int]:
    """Return the lines on which the rows begin; the document is known to be valid."""
    decoder = json.JSONDecoder()
    place = _skip_separators(document, document.index("{") + 1)
    lines: list[int] = []
    while document[place] != "}":
        key, place = decoder.raw_decode(document, place)
        place = _skip_separators(document, place)
        if key == "accepted" and document[place] == "[":
            # If a key occurs twice, the last one counts.
            lines = []
            place = _skip_separators(document, place + 1)
            line, before = 1, 0
            while document[place] != "]":
                line, before = line + document.count("\n", before, place), place
                lines.append(line)
                _, place = decoder.raw_decode(document, place)
                place = _skip_separators(document, place)
            place += 1
        else:
            _, place = decoder.raw_decode(document, place)
        place = _skip_separators(document, place)
    assert len(lines) == number
    return lines


def _skip_separators(document: str, place: int) -> int:
    """Return the position after white space and separators."""
    while document[place] in " \t\r\n,:":
        place += 1
    return place


def accepted_match_from(row: object) -> AcceptedMatch:
    return AcceptedMatch(*astuple(validated(row, _Row)))


def _invalid_file_error(path: Path, line: int, why: str) -> UsageError:
    return UsageError(
        f"{path}, line {line}: {why}",
        advice="Mend it, or restore it; `hashscan report accept` writes such files.",
    )


EXPIRY_WARNING = timedelta(days=14)
"""The time before the end of an acceptance in which the scan warns about it."""
_MESSAGES_MAX = 10


class BaselineFilter:
    """The baseline filter of one scan, with the accepted matches that the scan has found."""

    def __init__(self, accepted: Iterable[AcceptedMatch], now: datetime, fail_on: FailOn) -> None:
        self._all = tuple(accepted)
        # All times have one form and are in UTC, so their text order is their time order.
        self._now, self._soon = format_utc(now), format_utc(now + EXPIRY_WARNING)
        self._in_force = {key_of(one): one for one in self._all if self._now < one.until}
        self._every_match = fail_on == "review"
        self._met: set[AcceptedKey] = set()

    @classmethod
    def from_file(cls, baseline: Path | None, now: datetime, fail_on: FailOn) -> BaselineFilter:
        """Return the filter of a baseline file; without a file it accepts nothing."""
        return cls(() if baseline is None else read_baseline(baseline), now, fail_on)

    def apply(self, record: Record, result: FileResult, summary: Summary) -> Record:
        """Return a file's record, with the reason if its finding is accepted; accepted findings are counted.

        A finding is accepted if the baseline accepts every match that accuses the file, for the content that
        the file has.
        """
        if not self._in_force or result.verdict not in FINDINGS:
            return record
        needed = [match for match in result.matches if self._needs_acceptance(match, result.verdict)]
        content = next((digest.value.hex() for digest in result.digests if digest.algorithm == "sha256"), "")
        keys = [(match.list_name, match.entry_id, content) for match in needed]
        accepted = [self._in_force[key] for key in keys if key in self._in_force]
        self._met.update(map(key_of, accepted))
        # Of very many matches only the first are known, and the others may not be accepted.
        if not keys or len(accepted) < len(keys) or len(result.matches) >= MATCHES_MAX:
            return record
        summary.accept(result.verdict)
        first = min(accepted, key=lambda one: one.until)
        return {**record, "accepted": {"reason": first.reason, "until": first.until}}

    def _needs_acceptance(self, match: Match, verdict: Verdict) -> bool:
        """Return True if this match must be accepted for the finding to be accepted."""
        if match.category == KNOWN_GOOD_CATEGORY:
            return False
        if self._every_match or verdict is Verdict.REVIEW:
            return True
        return (
            match.category in ACTING_CATEGORIES
            and not (match.near_miss or match.doubt)
            and not ALGORITHMS[match.algorithm].review_only
        )

    def fields(self) -> Record:
        """Return the baseline's fields in the first record; none without accepted matches."""
        if not self._all:
            return {}
        document = "\n".join("\t".join((*key_of(one), one.until)) for one in sorted(self._all, key=key_of))
        return {
            "accepted": len(self._in_force),
            "expired": len(self._all) - len(self._in_force),
            "fingerprint": hashlib.sha256(document.encode()).hexdigest(),
        }

    def messages_before(self) -> Iterator[str]:
        """Yield the warnings before the scan: acceptances that have ended, and those that end soon."""
        ended = [one for one in self._all if one.until <= self._now]
        yield from _message_lines(ended, lambda one: f"is accepted no more since {one.until}")
        ending = [one for one in self._in_force.values() if one.until <= self._soon]
        yield from _message_lines(ending, lambda one: f"is accepted only until {one.until}")

    def messages_after(self) -> Iterator[str]:
        """Yield the messages after a complete scan: accepted matches that were not found."""
        unmet = [one for key, one in self._in_force.items() if key not in self._met]
        yield from _message_lines(unmet, lambda one: f"is accepted since {one.since}, and was not found")


def _message_lines(
    accepted: Sequence[AcceptedMatch], describe: Callable[[AcceptedMatch], str]
) -> Iterator[str]:
    for one in accepted[:_MESSAGES_MAX]:
        yield f"baseline: entry {one.entry_id} of list {one.list_name} {describe(one)}: {one.reason}"
    if len(accepted) > _MESSAGES_MAX:
        yield f"baseline: and {len(accepted) - _MESSAGES_MAX} more"


NOTHING_ACCEPTED = BaselineFilter((), datetime.min.replace(tzinfo=UTC), "match")


@dataclass(frozen=True, slots=True)
class AcceptableMatches:
    """The matches that can be accepted, each once, and the findings that can't."""

    matches: tuple[AcceptedMatch, ...]
    message: str
    """A message about findings that can't be accepted; empty if all can."""


def matches_to_accept(
    report: Report,
    reason: str,
    until: datetime,
    by: str,
    now: datetime,
    entries: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> AcceptableMatches:
    """Select the matches of a report.

    Args:
        until: the end of the acceptance, timezone-aware.
        now: the current time, timezone-aware.
        entries: ids of the entries to accept matches of; empty for all.
        paths: patterns of the files to accept matches of; empty for all.

    Raises:
        UsageError: the file is not a report, or the reason or a pattern can't be used.
        OutputError: the report can't be read.
    """
    reason = reason.strip()
    if not reason or not is_printable_line(reason, REASON_MAX):
        raise UsageError(
            "the reason can't be used",
            advice=f"Say in one line of 1 to {REASON_MAX} printable characters why it is accepted.",
        )
    found: dict[tuple[str, str, str], AcceptedMatch] = {}
    without = many = 0
    for record in report.records():
        if record["type"] != "finding" or (paths and not covers(tuple(paths), path_bytes(record))):
            continue
        matches = [
            match
            for match in record.get("matches", ())
            if match.get("category") != KNOWN_GOOD_CATEGORY and (not entries or match.get("entry") in entries)
        ]
        content = report.digests(record).get("sha256", "")
        without += bool(matches) and not content
        many += len(record.get("matches", ())) >= MATCHES_MAX
        for match in matches if content else ():
            row = {
                "list": match.get("list"),
                "entry": match.get("entry"),
                "sha256": content,
                "reason": reason,
                "until": format_utc(until),
                "by": by,
                "since": format_utc(now),
            }
            try:
                one = accepted_match_from(row)
            except ValueError as error:
                raise UsageError(
                    f"{report.name} has a finding that can't be accepted: {error}",
                    advice="It is damaged; scan again.",
                ) from error
            found[key_of(one)] = one
    messages = []
    if without:
        messages.append(f"{without} findings say no digest of their content")
    if many:
        messages.append(f"{many} findings have more matches than a report names")
    return AcceptableMatches(tuple(found.values()), ", ".join(messages))
