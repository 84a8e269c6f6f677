"""Decide which matches of earlier scans a scan would report again if their entries were still listed.

A finding ends because of the lists only where each list that accused the file was in use in that scan,
undamaged, and asked with distances and variants that include the earlier match. Without this rule, a list
that is no longer named, a list that was damaged or removed, or a smaller --review-threshold would end
findings of files that are still there, although this was not decided.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hashscan.hashing.variants import VARIANTS, required_by
from hashscan.matching.evaluation import RESTORED_THRESHOLD, reach_of_vectors, thresholds_of_lists
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY, USABLE_STATES, Verdict
from hashscan.quarantine.items import list_or_empty
from hashscan.reports.records import Record

if TYPE_CHECKING:
    from hashscan.lists.services.settings import StoredService

MatchFields = Mapping[str, Any]
"""One match, with the fields that reports and findings use."""

FORMER = "list_identity"
"""Key of a match whose list has given its name to another since: its identity, joined by spaces."""

_STRENGTH = {Verdict.MATCH.value: 2, Verdict.HELD.value: 1, Verdict.REVIEW.value: 0}


@dataclass(frozen=True, slots=True)
class Coverage:
    """The lists of one scan and the distances up to which they are asked."""

    lists: frozenset[str]
    """Names of the lists in use, all verified and undamaged."""
    reach: Mapping[str, int]
    """Largest distance that is reported, by algorithm; exact algorithms may be missing."""
    variants: frozenset[str]
    """Options of `hashing.variants.VARIANTS` in force."""
    identities: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By name, the identities of those in use; see `ListHandle.identity`."""
    services: frozenset[str] = frozenset()
    """Names of the lists that are matching services, whose distances are their own."""
    containers: bool = False
    """True if containers are opened, so that matches of their members are found again."""
    vectors: Mapping[str, int] = field(default_factory=dict)
    """Largest distance of PhotoDNA that is reported, by list."""
    accepted: bool = False
    """True if the operator has said that whatever is not found again is cleared."""

    @classmethod
    def of_setup(
        cls, setup: WorkerSetup, services: Sequence[StoredService] = (), *, accepted: bool = False
    ) -> Coverage:
        """Return the coverage of a scan with these lists, matching services and options."""
        reach = thresholds_of_lists(setup.lists, setup.videos, setup.distances)
        asked = frozenset(service.name for service in services)
        return cls(
            frozenset(handle.name for handle in setup.lists) | asked,
            _with_review(reach, setup.review_threshold),
            frozenset(setup.variants),
            {handle.name: handle.identity for handle in setup.lists}
            | {service.name: frozenset({service.identity}) for service in services},
            asked,
            setup.containers is not None,
            reach_of_vectors(setup.lists, setup.distances),
            accepted,
        )

    @classmethod
    def of_record(cls, scan: Record) -> Coverage:
        """Return the coverage of a scan from the first record of its report.

        Lists and variants that the record leaves out count as not asked.
        """
        variants = scan.get("variants", ())
        return cls(
            usable_lists(scan["lists"]),
            _with_review(dict(scan.get("thresholds", {})), scan.get("review_threshold")),
            frozenset(VARIANTS).intersection(variants),
            containers="containers" in scan.get("selection", {}),
            vectors={rule["list"]: rule["review"] for rule in scan.get("photodna", ())},
        )

    def covers(self, match: MatchFields) -> bool:
        """Return True if this scan would report a match again, were its entry still on its list."""
        if self.accepted:
            return True
        distance = match["distance"]
        return (
            match["list"] in self.lists
            and self._is_the_same(match)
            # An algorithm of which no list in use has entries is not asked about, and has no threshold here.
            and (match["list"] in self.services or distance <= self._reach_of(match))
            and required_by(str(match.get("variant", ""))) <= self.variants
            and (self.containers or not _is_within(match))
        )

    def _reach_of(self, match: MatchFields) -> int:
        """Return the largest distance that is reported of a match's algorithm and list."""
        reach = self.reach.get(match["algorithm"], int(match["distance"]))
        if match["algorithm"] == "pdq" and "restored" in required_by(str(match.get("variant", ""))):
            return max(reach, RESTORED_THRESHOLD)
        return self.vectors.get(match["list"], reach) if match["algorithm"] == "photodna" else reach

    def _is_the_same(self, match: MatchFields) -> bool:
        """Return True if the list in use is that of a match, and not another of its name."""
        former = match.get(FORMER)
        return former is None or bool(identity_of(former) & self.identities.get(match["list"], frozenset()))

    def unanswered(self, matches: Iterable[MatchFields], *, in_part: bool = False) -> list[MatchFields]:
        """Return the accusing matches that this scan cannot declare withdrawn.

        Args:
            in_part: True if the file was not checked in full this time, so that members and frames may not
                have been reached.
        """
        return [
            match
            for match in matches
            if accuses(match) and (not self.covers(match) or (in_part and _is_within(match)))
        ]


def _is_within(match: MatchFields) -> bool:
    """Return True if a match is with what is in a container, or with a video, which is opened as one."""
    return bool(match.get("member")) or match["algorithm"] == "vpdq"


def matches_of(text: str) -> list[MatchFields]:
    """Parse the matches of a finding from JSON, and drop malformed ones.

    The JSON may come from another machine's report.
    """
    return [
        match
        for match in list_or_empty(json.loads(text))
        if isinstance(match, dict)
        and all(isinstance(match.get(key), str) for key in ("list", "entry", "algorithm", "category"))
        and isinstance(match.get("distance"), int)
    ]


def usable_lists(infos: Iterable[Any]) -> frozenset[str]:
    """Return the names of the lists that a scan could use, from the list records of its report."""
    return frozenset(
        info["name"] for info in infos if isinstance(info, dict) and info.get("state") in USABLE_STATES
    )


def accuses(match: MatchFields) -> bool:
    """Return True if a match counts against its file, even if only for review."""
    return bool(match["category"] != KNOWN_GOOD_CATEGORY)


def only_test(matches: Sequence[MatchFields]) -> bool:
    """Return True if only test entries count against a file."""
    return {match["category"] for match in matches} - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}


def joined(matches: Sequence[MatchFields], kept: Iterable[MatchFields]) -> list[MatchFields]:
    """Return `matches`, followed by those of `kept` that belong to other entries."""
    named = {key_of(match) for match in matches}
    return [*matches, *(match for match in kept if key_of(match) not in named)]


def key_of(match: MatchFields) -> tuple[str, str, str, str]:
    """Tells the match of one entry from those of others."""
    return match["list"], match["entry"], match["algorithm"], str(match.get(FORMER, ""))


def identity_of(text: object) -> frozenset[str]:
    """Return the identity of a list that was kept as text; a sound one is never without anything."""
    return frozenset(str(text).split(" "))


def strength(verdict: str, matches: Sequence[MatchFields]) -> int:
    """Return the rank of a finding.

    Of two findings that contradict each other the higher is kept, as by `policy.judge`.
    """
    return -1 if only_test(matches) else _STRENGTH.get(verdict, -1)


def _with_review(reach: dict[str, int], review: int | None) -> dict[str, int]:
    if review is None or "pdq" not in reach:
        return reach
    return {**reach, "pdq": max(reach["pdq"], review)}
