"""The headline of a report page, and the steps that the operator should take next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hashscan.errors import EXIT_MEANINGS
from hashscan.model import CONTAINER_REASONS, TrustState, Verdict
from hashscan.reports.page.frame import number
from hashscan.reports.records import Record

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Headline:
    """The headline of the page."""

    text: str
    tone: str
    """CSS class of its mark: bad, doubt or good."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recommended step."""

    title: str
    text: str
    commands: tuple[str, ...] = ()


def headline(summary: Record | None, counts: Mapping[str, int | None], standing: int) -> Headline:
    """Return the headline for the result of a scan; the summary is None if the scan was killed."""
    found, held, review = (counts[v] or 0 for v in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))
    short = summary is None or bool(summary.get("incomplete"))
    if found:
        what = "what is on the lists"
        if summary is not None and summary.get("only_test_entries"):
            what = "test entries"
        text = f"{_files(found)} {'matches' if found == 1 else 'match'} {what}"
        return Headline(text + (", and the scan is incomplete" if short else ""), "bad")
    end = ", and the scan is incomplete" if short else ""
    if held:
        return Headline(f"{_files(held)} would match and {'is' if held == 1 else 'are'} held{end}", "doubt")
    if review:
        return Headline(f"{_files(review)} for review{end}", "doubt")
    if standing:
        return Headline(f"Nothing new found; {_findings(standing)} of earlier scans still open", "doubt")
    return Headline(
        "Nothing found, but the scan is incomplete" if short else "Nothing found",
        "doubt" if short else "good",
    )


def exit_words(summary: Record | None) -> str:
    code = None if summary is None else summary.get("exit_code")
    if code is None:
        return "none: it was killed"
    return f"{code}: {EXIT_MEANINGS[code]}" if code in EXIT_MEANINGS else str(code)


def shortcomings(summary: Record | None) -> list[str]:
    return [] if summary is None else [one["message"] for one in summary.get("incomplete", ())]


def steps(
    scan: Record, summary: Record | None, counts: Mapping[str, int | None], standing: int
) -> list[Step]:
    """Return the steps to take next, the most urgent first; empty if there are none.

    `standing` is the number of earlier findings that the scan did not reach.
    """
    end: Record = summary or {}
    return [
        *_of_findings(end, counts, standing),
        *_of_quarantine(end),
        *_of_breaker(end.get("breaker", {})),
        *_of_lists(scan),
        *_of_the_rest(summary, counts),
    ]


def _of_findings(end: Record, counts: Mapping[str, int | None], standing: int) -> Iterator[Step]:
    if found := counts[Verdict.MATCH]:
        moved = end.get("quarantine", {}).get("moved") or 0
        if end.get("only_test_entries"):
            yield Step(
                f"Nothing real could be found: {_files(found)} matched test entries",
                "The lists in use have only test entries. Add an authority's list, and scan again.",
                ("hashscan lists add",),
            )
        elif moved < found:
            yield Step(
                f"Act on {_files(found - moved)}",
                "Don't open the files. Notify the authority or hotline that you report to, and the customer, "
                "as the law requires. Keep the required evidence, and make the files unreachable. "
                "The deadline counts from the time of the finding.",
                ("hashscan cases due", "hashscan quarantine add"),
            )
        if moved:
            yield Step(
                f"Report {_files(moved)} moved into quarantine",
                "The moved files are not reachable. They are kept as evidence until their retention ends.",
                ("hashscan quarantine list",),
            )
    if held := counts[Verdict.HELD]:
        yield Step(
            f"Check why {_files(held)} {'is' if held == 1 else 'are'} held",
            "The details of each file give the reason: the content is known-good or was restored, the entry "
            "is excepted here, or the entry matches too many files. Nothing is moved until you decide.",
        )
    if review := counts[Verdict.REVIEW]:
        yield Step(
            f"Review {_files(review)}",
            "The evidence against such a file is too weak for a match. Look at the account and at its other "
            "findings, ask the list's owner, and don't open the picture.",
        )
    if standing:
        yield Step(
            f"Note {_findings(standing)} of earlier scans",
            "This scan did not reach these files. The findings stay open until a scan does.",
        )


def _of_quarantine(end: Record) -> Iterator[Step]:
    if withdrawn := end.get("withdrawn"):
        yield Step(
            f"Restore {_files(len(withdrawn))} that no entry matches any more",
            "Their entries were withdrawn from the lists since they were moved into quarantine.",
            ("hashscan quarantine restore --withdrawn",),
        )


def _of_breaker(breaker: Record) -> Iterator[Step]:
    entries = breaker.get("entries")
    if not entries:
        return
    names = ", ".join(f"{e['entry']} of list {e['list']}" for e in breaker.get("first", ())[:_NAMED])
    more = f" and {entries - _NAMED} more" if entries > _NAMED else ""
    yield Step(
        f"Ask the list's owner about {'an entry' if entries == 1 else f'{number(entries)} entries'}",
        f"Too many files match, so they are held: {names}{more}. You can except an entry until its owner "
        "has answered.",
        ("hashscan lists except",),
    )


def _of_lists(scan: Record) -> Iterator[Step]:
    for info in scan.get("lists", ()):
        state, name = info["state"], info["name"]
        if not TrustState(state).is_good:
            yield Step(
                f"Pull list {name}, which is {state}",
                info.get("problem", "") or "Known material that was added since is not found.",
                (f"hashscan lists pull {name}",),
            )


def _of_the_rest(summary: Record | None, counts: Mapping[str, int | None]) -> Iterator[Step]:
    if summary is None:
        yield Step(
            "Scan again: this scan did not end",
            "It was killed or is still running. Its findings so far are listed; an unknown number of files "
            "was not checked.",
            ("hashscan scan",),
        )
    elif shortcomings(summary):
        yield Step(
            "Make the next scan complete",
            "The files that it could not check may contain anything. The reasons are above, the files and "
            "folders are in the table.",
        )
    elif undecoded := counts[Verdict.UNDECODED]:
        reasons = summary.get("reasons", {}).get(Verdict.UNDECODED, {})
        containers = sum(reasons.get(reason, 0) for reason in CONTAINER_REASONS)
        if pictures := undecoded - containers:
            yield Step(
                f"Note that {_files(pictures)} could not be decoded completely",
                "Their exact digests were compared, and the part of a picture that could be decoded.",
            )
        if containers:
            yield Step(
                f"Note that {number(containers)} containers were not opened, or not in full",
                "They are mails, or other containers that are encrypted, broken or over a limit. "
                "Their exact digests were compared; not all that is in them was.",
            )


def _files(count: int) -> str:
    return f"{number(count)} {'file' if count == 1 else 'files'}"


def _findings(count: int) -> str:
    return f"{number(count)} {'finding' if count == 1 else 'findings'}"
