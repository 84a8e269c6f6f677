"""Match the members of a container while its decoder sends them, and sum up what was not checked."""

from __future__ import annotations

from collections import Counter

from msgspec import structs

from hashscan.hashing.member_records import ContainerEnd, Member, digests_of, unpack_record
from hashscan.hashing.records import DecodedPicture
from hashscan.matching.evaluation import FileTask, Matcher, closest_of_each, match_files
from hashscan.matching.policy import matches_of_member
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Item, Match, Reason
from hashscan.schema import TEXT_MAX
from hashscan.text import printable, shortened

UNASKED = "no matching service was asked about its members"

_AT_ONCE = 64
"""Members that are matched together, since each query of the index has a cost of its own."""


def place_text(place: bytes) -> str:
    """Return the place of a member as reports show it, escaped and of bounded length."""
    return shortened(printable(place.decode("utf-8", "surrogateescape")), TEXT_MAX)


class MemberMatching:
    """The members of one container, matched as they come."""

    def __init__(self, matcher: Matcher, item: Item, setup: WorkerSetup) -> None:
        """Begin with a container.

        Args:
            setup: names the algorithms that its decoder was asked for, in their order.
        """
        self._matcher, self._item, self._setup = matcher, item, setup
        self._exact, self._pictures = setup.exact, setup.pictures
        self._waiting: list[tuple[FileTask, str]] = []
        self._reasons: Counter[Reason] = Counter()
        self._members = self._bytes = 0
        self._end: ContainerEnd | None = None
        self.matches: list[Match] = []

    def take(self, record: bytes) -> None:
        """Check a record of the decoder, and match what it is about.

        Raises:
            ValueError: our decoder could not have sent it here.
        """
        if self._end is not None:
            raise ValueError("record after the end")
        found = unpack_record(record, self._exact, self._pictures)
        if isinstance(found, ContainerEnd):
            if (found.members, found.size) != (self._members, self._bytes):
                raise ValueError("totals that differ from the records")
            self._end = found
        else:
            self._take_member(found)

    def _take_member(self, member: Member) -> None:
        self._members += 1
        self._bytes += member.size
        task = FileTask(self._item, kind=member.kind, exact=dict(digests_of(member, self._exact)))
        decoded = member.decoded(self._pictures)
        reason = member.reason
        if isinstance(decoded, DecodedPicture):
            task.decoded = decoded
            reason = reason or decoded.damage
        elif decoded is not None:
            reason = reason or decoded
        if reason is not None:
            self._reasons[reason] += 1
        self._waiting.append((task, place_text(member.place)))
        if len(self._waiting) >= _AT_ONCE:
            self._match()

    def _match(self) -> None:
        match_files(self._matcher, self._setup.algorithms, [task for task, _ in self._waiting])
        for task, place in self._waiting:
            counted = matches_of_member(task.matches, task.exact.get("sha256"), self._setup.policy)
            self.matches += [structs.replace(match, member=place) for match in counted]
        self._waiting.clear()
        # Thousands of copies of a listed picture are one finding.
        self.matches = closest_of_each(self.matches)

    def finish(self) -> tuple[Reason | None, str]:
        """Match the last members; return why not everything was checked, and how often, for people.

        Raises:
            ValueError: the end was not sent.
        """
        self._match()
        if self._end is None:
            raise ValueError("no end")
        if self._end.reason is Reason.CONTAINER:
            return Reason.CONTAINER, "the library libarchive can't be loaded"
        if self._end.reason is not None:
            return self._end.reason, f"{self._members} members were checked before"
        if not self._reasons:
            unasked = self._setup.members_unasked and self._members
            return (Reason.CONTAINER, UNASKED) if unasked else (None, "")
        counts = ", ".join(f"{reason.value} {number}" for reason, number in self._reasons.most_common())
        return self._reasons.most_common(1)[0][0], f"of {self._members} members: {counts}"
