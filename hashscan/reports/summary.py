"""Count the results of a scan, and derive its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, EXIT_FOUND_INCOMPLETE, EXIT_INCOMPLETE
from hashscan.hashing.container_kinds import missing_recogniser
from hashscan.model import (
    CONTAINER_REASONS,
    NONE_BY,
    RECOGNITION,
    CtimeTrust,
    FileResult,
    FolderReason,
    ListInfo,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.reports.records import Record
from hashscan.shortcomings import Shortcoming, ShortcomingCode
from hashscan.sources.base import NonFileCounts
from hashscan.text import plural

FailOn = Literal["match", "review", "never"]


INCOMPLETE = (Reason.STARVED, Reason.OVER_BUDGET, Reason.UNCONFIRMED, Reason.PENDING)
"""Reasons for which a picture was not decoded, a match not confirmed, or a service did not answer, that do
not depend on the file: another scan may succeed."""

PASSED = ("folders", "links", "specials", "excluded_folders")
"""Names in a report of entries that are not scanned files: folders, links, special files."""

_CTIME = {trust.name.lower(): trust for trust in CtimeTrust}


class Summary:
    """The counts of a scan; every file counts once, under its verdict."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[tuple[Verdict, Reason]] = Counter()
        self.folder_reasons: Counter[FolderReason] = Counter()
        self.passed: Counter[str] = Counter()
        self.bytes_read = 0
        self.compared = 0
        """Number of objects that were compared with checksums of their stores."""
        self.not_compared = 0
        """Number of objects that were read, and have no checksum that can be compared."""
        self.recognition: Counter[str] = Counter()
        """Number of files that were read and no signature tells, by how they were recognised."""
        self.recalled = 0
        """Number of files that were not read, since they have not changed since they were."""
        self.ctime: Counter[CtimeTrust] = Counter()
        """Number of cached files by the trust in their ctime; proven ones count only if they were read."""
        self.low_quality = 0
        self.test_findings = 0
        self.accepted: Counter[Verdict] = Counter()
        """Findings that a baseline accepts; they are also counted under their verdicts."""
        self.breaker_held = 0
        """Matches that the circuit breaker has changed to held, without those that a baseline accepts."""
        self.sandbox: SandboxLevel | None = None
        self.empty_targets = 0

    @property
    def files(self) -> int:
        """Number of files with a verdict."""
        return self.verdicts.total()

    @property
    def findings(self) -> int:
        """Number of files with a finding."""
        return sum(self.verdicts[v] for v in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))

    @property
    def verdict_counts(self) -> str:
        """The number of files of each verdict, as text."""
        return ", ".join(f"{n} {verdict}" for verdict, n in sorted(self.verdicts.items()) if n) or "nothing"

    def add(self, result: FileResult) -> None:
        """Count one file."""
        self.count(result.verdict, result.reason)
        self.low_quality += result.low_quality
        self.test_findings += result.only_test

    def add_quiet(self, files: int, *, low_quality: int) -> None:
        """Count files that have not changed since they were found to be clean."""
        self.verdicts[Verdict.CLEAN] += files
        self.recalled += files
        self.low_quality += low_quality

    def count(self, verdict: Verdict, reason: Reason | None) -> None:
        """Count one file by its verdict and reason alone."""
        self.verdicts[verdict] += 1
        if reason is not None:
            self.reasons[verdict, reason] += 1

    def accept(self, verdict: Verdict) -> None:
        """Count a finding, already counted under its verdict, as accepted."""
        self.accepted[verdict] += 1

    def hold(self, records: Iterable[Record]) -> None:
        """Move findings that the circuit breaker holds from match to held in the counts."""
        for record in records:
            self.breaker_held += "accepted" not in record
            for counts in (self.verdicts, *((self.accepted,) if "accepted" in record else ())):
                counts[Verdict.MATCH] -= 1
                counts[Verdict.HELD] += 1

    def close_folder(self, reason: FolderReason) -> None:
        """Count a folder that could not be entered."""
        self.folder_reasons[reason] += 1

    def add_passed(self, passed: NonFileCounts) -> None:
        """Count entries that are not files."""
        for key in PASSED:
            self.passed[key] += getattr(passed, key)

    def add_fields(self, fields: Mapping[str, Any]) -> None:
        """Add the counts of another summary, as `fields` returned them and a valid report stores them.

        Empty targets are not added up: each shard lists all targets.

        Raises:
            ValueError: a verdict or reason is one that this version does not know.
        """
        self.verdicts.update({Verdict(name): n for name, n in fields["verdicts"].items()})
        for verdict, reasons in fields["reasons"].items():
            for name, n in reasons.items():
                self.reasons[Verdict(verdict), Reason(name)] += n
        closed = fields["folders_not_entered"]
        self.folder_reasons.update({FolderReason(name): n for name, n in closed.items()})
        self.passed.update({key: fields["passed"][key] for key in PASSED})
        self.empty_targets = max(self.empty_targets, fields["empty_targets"])
        self.test_findings += fields["test_findings"]
        self.accepted.update({Verdict(name): n for name, n in fields.get("accepted", {}).items()})
        self.low_quality += fields["low_quality_pictures"]
        self.bytes_read += fields["bytes"]
        self.recalled += fields["unchanged"]
        checksums = fields.get("checksums", {})
        self.compared += checksums.get("compared", 0)
        self.not_compared += checksums.get("not_compared", 0)
        recognition = dict(fields.get("recognition", {}))
        rows = recognition.pop("none", {})
        self.recognition.update(recognition | {f"{NONE_BY}{row}": n for row, n in rows.items()})
        for name, n in fields.get("ctime", {}).items():
            if name not in _CTIME:
                raise ValueError(f"{name!r} is not a kind of trust in a ctime")
            self.ctime[_CTIME[name]] += n

    def shortcomings(self, lists: Iterable[ListInfo], *, strict: bool) -> list[Shortcoming]:
        """Return why the scan is incomplete; empty if it is complete."""
        short: list[Shortcoming] = []
        if unreadable := self.verdicts[Verdict.UNREADABLE]:
            short.append(Shortcoming(ShortcomingCode.UNREADABLE, f"{unreadable} unreadable files"))
        if closed := self.folder_reasons.total():
            short.append(Shortcoming(ShortcomingCode.FOLDERS, f"{closed} folders not entered"))
        if self.empty_targets:
            short.append(Shortcoming(ShortcomingCode.EMPTY_TARGETS, f"{self.empty_targets} empty targets"))
        again = Counter({r: sum(self.reasons[v, r] for v in Verdict) for r in INCOMPLETE})
        short.extend(
            Shortcoming(
                ShortcomingCode.REASON,
                f"{number} {'files' if reason is Reason.PENDING else 'pictures'}: {reason.value}",
                reason.value,
            )
            for reason, number in again.items()
            if number
        )
        containers = sum(self.reasons[Verdict.UNDECODED, reason] for reason in CONTAINER_REASONS)
        undecoded = self.verdicts[Verdict.UNDECODED] - containers
        if strict and undecoded:
            short.append(Shortcoming(ShortcomingCode.UNDECODED, f"{undecoded} undecoded pictures"))
        short.extend(
            Shortcoming(ShortcomingCode.LIST, f"list {info.name} is {info.state.value}", info.name)
            for info in lists
            if not info.state.is_good
        )
        return short

    def found(self, fail_on: FailOn) -> bool:
        """Return True if there is a finding that the exit code must show.

        A match that the operator withholds, by an exception, a rule or known-good content, does not count.
        One that the circuit breaker holds counts, or many copies of a listed file would hide it.
        """
        if fail_on == "never":
            return False
        new = self.verdicts.copy()
        new.subtract(self.accepted)
        acting = new[Verdict.MATCH] + self.breaker_held
        return acting > 0 or (fail_on == "review" and new[Verdict.REVIEW] > 0)

    def exit_code(
        self, lists: Iterable[ListInfo], *, fail_on: FailOn, strict: bool, incomplete: bool = False
    ) -> int:
        """Return the exit code of a scan that was not stopped; `incomplete` for a further reason."""
        incomplete = incomplete or bool(self.shortcomings(lists, strict=strict))
        return exit_code_of(found=self.found(fail_on), incomplete=incomplete)

    def fields(self) -> dict[str, Any]:
        """Return the counts as report fields."""
        reasons: dict[str, dict[str, int]] = {}
        for (verdict, reason), times in sorted(self.reasons.items()):
            reasons.setdefault(verdict.value, {})[reason.value] = times
        ctime = sorted(self.ctime.items())
        checksums = {"compared": self.compared, "not_compared": self.not_compared}
        doubts = {trust.name.lower(): n for trust, n in ctime if n and trust is not CtimeTrust.PROVEN}
        return {
            "files": self.files,
            "verdicts": {verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "reasons": reasons,
            "folders_not_entered": {r.value: n for r, n in sorted(self.folder_reasons.items())},
            "empty_targets": self.empty_targets,
            "passed": {key: self.passed[key] for key in PASSED},
            "test_findings": self.test_findings,
            **({"accepted": {v.value: n for v, n in self.accepted.items() if n}} if self.accepted else {}),
            "low_quality_pictures": self.low_quality,
            "bytes": self.bytes_read,
            "unchanged": self.recalled,
            **({"checksums": checksums} if any(checksums.values()) else {}),
            **({"recognition": self._recognition_fields()} if self.recognition else {}),
            **({"ctime": doubts} if doubts else {}),
        }

    def recognition_messages(self) -> Iterator[str]:
        """Yield how many files were probed, and that no library could be asked, if that is so."""
        if probed := self.recognition["probed"]:
            counts = ", ".join(f"{self.recognition[name]} {name}" for name in ("opened", "undecoded"))
            yield f"{plural(probed, 'file')} without a signature probed: {counts}"
        if unasked := self.recognition["by_signatures"]:
            missing = missing_recogniser()
            yield (
                f"recognition by signatures only, for {plural(unasked, 'file')} that a viewer may show: "
                + (
                    f"install hashscan[{missing}]"
                    if missing
                    else "the sandbox is not full, see `hashscan selftest`"
                )
            )

    def _recognition_fields(self) -> dict[str, Any]:
        rows = {
            name.removeprefix(NONE_BY): n
            for name, n in sorted(self.recognition.items())
            if name.startswith(NONE_BY)
        }
        return {"none": rows, **{name: self.recognition[name] for name in RECOGNITION}}


def exit_code_of(*, found: bool, incomplete: bool) -> int:
    """Return the exit code of a scan, or of all shards of one."""
    if found:
        return EXIT_FOUND_INCOMPLETE if incomplete else EXIT_FOUND
    return EXIT_INCOMPLETE if incomplete else EXIT_CLEAN
