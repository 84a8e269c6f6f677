"""Match the members of a container while its decoder sends them, and sum up what was not checked."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import structs

from hashscan.hashing.archives.openers import separator
from hashscan.hashing.container_kinds import VIDEOS, library_installed, openers_of
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import (
    ContainerEnd,
    Member,
    OpenedContainer,
    SampledFrames,
    digests_of,
    unpack_records,
)
from hashscan.hashing.records import DecodedPicture, fault_in
from hashscan.matching.evaluation import FileTask, Matcher, closest_of_each, match_files, take_name
from hashscan.matching.policy import matches_of_member, sort_key
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ContainerKind, FileStat, Item, Match, Reason
from hashscan.schema import TEXT_MAX
from hashscan.text import printable, shortened

_DOCUMENTS = openers_of(tuple(ContainerKind))
_NOWHERE = Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0))
UNASKED = "no matching service was asked about its members"

_MEMBER_BYTES, _KEPT_BYTES_MAX = 200, 64 << 20
"""Bytes that a member takes besides its place and reply; and those that a container may take, to be kept."""
_FRAMES_MAX = 1 << 18
"""Most frames of a video that are held, with and without borders: a day and a half at a frame a second."""
_OF_VIDEO = separator(next(known for known in FORMATS if known.name in VIDEOS))
_FAULTS_MAX = 8
"""Types of exceptions that are named."""
_AT_ONCE = 256
"""Members that are matched together, since each query of the index has a cost of its own."""


def place_text(place: bytes) -> str:
    """Return the place of a member as reports show it, escaped and of bounded length."""
    return shortened(printable(place.decode("utf-8", "surrogateescape")), TEXT_MAX)


def member_tasks(
    container: OpenedContainer, exact: Sequence[str], pictures: Sequence[str]
) -> Iterator[FileTask]:
    """Yield each member as a file that was read and decoded, before it is matched with lists."""
    for member in container.members:
        decoded = member.decoded(pictures)
        yield FileTask(
            _NOWHERE,
            kind=member.kind,
            exact=digests_of(member, exact),
            decoded=decoded if isinstance(decoded, DecodedPicture) else None,
        )


class MemberMatching:
    """The members of one container, matched as they come."""

    def __init__(self, matcher: Matcher | None, item: Item, setup: WorkerSetup, kind: str) -> None:
        """Begin with a container.

        Args:
            matcher: None if it is known that nothing in it matches.
            setup: names the algorithms that its decoder was asked for, in their order.
            kind: name of its format; empty if it isn't known.
        """
        self._kind = kind
        self._is_video = kind in VIDEOS
        self._last, self._stopped, self._ends_in_video = b"", False, False
        """Place of the last member, if it was not checked in full, and if it is of the video that the file
        is: that was looked at up to that time."""
        self._matcher, self._item, self._setup = matcher, item, setup
        self._exact, self._pictures = setup.exact, setup.pictures
        self._waiting: list[tuple[FileTask, bytes, bool]] = []
        """Members, their places, and if they are of the video that the file is."""
        self._kept: list[Member] | None = [] if setup.keep else None
        self._kept_frames: list[SampledFrames] = []
        self._kept_bytes = 0
        # A container within may have two records more.
        self._most = sys.maxsize if setup.containers is None else 3 * setup.containers.members + 2
        self._file, self._file_digests = b"", dict[str, bytes]()
        """Place of the last file, with the separator of a video; and its digests."""
        self._sampled: list[SampledFrames] = []
        """Frames of the video that is being sampled."""
        self._sampled_frames = 0
        self._reasons: Counter[Reason] = Counter()
        self._faults: dict[str, None] = {}
        """The types of exceptions that parts were lost by, in the order in which they came."""
        self._records = self.members = self._bytes = 0
        self._end: ContainerEnd | None = None
        self.matches: list[Match] = []

    def take(self, message: bytes) -> None:
        """Check records of the decoder, and match what they are about.

        Raises:
            ValueError: our decoder could not have sent them here.
        """
        if self._end is not None:
            raise ValueError("record after the end")
        for found in unpack_records(message, self._exact):
            if isinstance(found, ContainerEnd):
                if (found.members, found.size) != (self.members, self._bytes):
                    raise ValueError("totals that differ from the records")
                self._end = found
            elif isinstance(found, SampledFrames):
                self._keep_frames(found)
                self._take_frames(found)
            else:
                self._take_member(found)
                self._keep(found)

    def take_all(self, container: OpenedContainer) -> None:
        """Match all members of a container that was opened before."""
        self._most = sys.maxsize
        for member in container.members:
            self._take_member(member)
        for frames in container.sampled:
            self._take_frames(frames)
        self._end = ContainerEnd(self.members, self._bytes, container.reason)

    @property
    def opened(self) -> OpenedContainer | None:
        """The members that were found, for the state; None where they are not to be kept, or are too many."""
        if self._end is None or self._kept is None or self._unopened:
            return None
        return OpenedContainer(self._kept, self._end.reason, self._kept_frames)

    @property
    def lacked_memory(self) -> bool:
        """True if its decoder lacked memory, which an earlier file may have used up."""
        ended = self._end is not None and self._end.reason is Reason.MEMORY
        return ended or Reason.MEMORY in self._reasons

    @property
    def _unopened(self) -> bool:
        """True if the decoder could not open it as all that it is, and perhaps a later one can."""
        return self._end is not None and self._end.reason is Reason.CONTAINER

    def _keep(self, member: Member) -> None:
        if self._kept is not None:
            self._kept.append(member)
            self._count_kept(len(member.place) + len(member.reply))

    def _keep_frames(self, frames: SampledFrames) -> None:
        if self._kept is not None:
            self._kept_frames.append(frames)
            self._count_kept(len(frames.place) + len(frames.values))

    def _count_kept(self, length: int) -> None:
        self._kept_bytes += length + _MEMBER_BYTES
        if self._kept_bytes > _KEPT_BYTES_MAX:
            self._kept = None
            self._kept_frames.clear()

    def _take_frames(self, frames: SampledFrames) -> None:
        """Add frames to those of their video, and match the one before; more than our decoder would send are
        an error."""
        if self._sampled and self._sampled[0].place != frames.place:
            self._match_video()
        self._count_record()
        self._sampled.append(frames)
        self._sampled_frames += frames.frames
        if self._sampled_frames > _FRAMES_MAX:
            raise ValueError("more frames of a video than the limit")

    def _count_record(self) -> None:
        self._records += 1
        if self._records > self._most:
            raise ValueError("too many records")

    def _match_video(self) -> None:
        sampled, self._sampled, self._sampled_frames = self._sampled, [], 0
        if self._matcher is None or not sampled:
            return
        matches = self._matcher.videos.matches(sampled)
        place = sampled[0].place
        if matches and place:
            task = FileTask(self._item, exact=self._file_digests if place == self._file else {})
            match_files(self._matcher, self._exact, [task])
            sha256 = task.exact.get("sha256")
            counted = matches_of_member([*task.matches, *matches], sha256, self._setup.policy)
            name = place_text(place[:-1])
            matches = [structs.replace(match, member=name) for match in counted]
        self.matches += matches

    def _take_member(self, member: Member) -> None:
        self.members += 1
        self._bytes += member.size
        self._count_record()
        task = FileTask(self._item, kind=member.kind, exact=digests_of(member, self._exact))
        reason = member.reason
        if member.reply:
            decoded = member.decoded(self._pictures)
            if isinstance(decoded, DecodedPicture):
                task.decoded = decoded
                reason = reason or decoded.damage
            elif decoded is not None:
                reason = reason or decoded
        # The format of other files is known; a decoder that was taken over makes no video of them.
        of_video = self._is_video or (member.of_video and self._kind == UNRECOGNISED.name)
        self._last, self._stopped, self._ends_in_video = member.place, reason is not None, of_video
        if reason is not None:
            self._reasons[reason] += 1
        if reason is Reason.PART_FAILED and len(self._faults) < _FAULTS_MAX:
            self._faults[member.fault or fault_in(member.reply)] = None
        if member.exact and not (self._file and member.place.startswith(self._file)):
            self._file, self._file_digests = member.place + _OF_VIDEO, task.exact
        self._waiting.append((task, member.place, of_video))
        if len(self._waiting) >= _AT_ONCE:
            self._match()

    def match(self) -> list[Match]:
        """Match the members that were taken, and return all matches so far."""
        self._match_video()
        self._match()
        return self.matches

    def _match(self) -> None:
        if self._matcher is None:
            self._waiting.clear()
            return
        match_files(self._matcher, self._setup.algorithms, [task for task, _, _ in self._waiting])
        for task, place, of_video in self._waiting:
            if task.matches:
                counted = matches_of_member(task.matches, task.exact.get("sha256"), self._setup.policy)
                self.matches += [
                    structs.replace(match, member=place_text(place), of_video=of_video) for match in counted
                ]
        self._waiting.clear()
        # Thousands of copies of a listed picture are one finding.
        self.matches = closest_of_each(self.matches)

    def finish(self) -> tuple[Reason | None, str]:
        """Match the last members; return why not everything was checked, and a detail for people.

        Raises:
            ValueError: the end was not sent.
        """
        self.match()
        if self._end is None:
            raise ValueError("no end")
        reason, detail = self._shortfall(self._end.reason)
        if self._faults:
            detail += f"; {', '.join(self._faults)}"
        return reason, f"{self._kind}: {detail}" if reason else ""

    def _shortfall(self, ended: Reason | None) -> tuple[Reason | None, str]:
        if self._unopened and not self.members:
            if self._kind in _DOCUMENTS and library_installed(_DOCUMENTS[self._kind]):
                return ended, "it is of a form that is not opened"
            return ended, "the library for it can't be loaded"
        most = self._reasons.most_common()
        if self._ends_in_video and self._last and (ended or self._stopped):
            return ended or most[0][0], f"video looked at to {place_text(self._last)}"
        if ended is not None:
            return ended, f"{self.members} members were checked before"
        if not most:
            unasked = self._setup.members_unasked and self.members
            return (Reason.CONTAINER, UNASKED) if unasked else (None, "")
        counts = ", ".join(f"{reason.value} {number}" for reason, number in most)
        return most[0][0], f"of {self.members} members: {counts}"


def take_members(
    task: FileTask, container: OpenedContainer, matcher: Matcher | None, setup: WorkerSetup
) -> None:
    """Match the members of a container that was opened before, as if it were opened now.

    Args:
        setup: has the algorithms that its decoder was asked for.
    """
    found = MemberMatching(matcher, task.item, setup, "" if task.kind is None else task.kind.name)
    found.take_all(container)
    add_to(task, found)


def add_to(task: FileTask, found: MemberMatching) -> None:
    """Give a container what was found in it; a picture that was not decoded in full stays undecoded.

    Raises:
        ValueError: its end was not taken.
    """
    reason, detail = found.finish()
    if task.reason in {None, Reason.CONTAINER}:
        task.reason, task.detail = reason, detail
    if task.reason is None and task.kind == UNRECOGNISED and not found.members:
        take_name(task)
    task.matches = sorted([*task.matches, *found.matches], key=sort_key)


def add_part_to(task: FileTask, found: MemberMatching, reason: Reason, detail: str) -> None:
    """Give a container what was found in it before its decoder was lost.

    Otherwise a member that ends the decoder would hide those before it. A decoder that was taken over can
    accuse no other file.
    """
    task.reason, task.detail = reason, detail
    task.matches = sorted([*task.matches, *found.match()], key=sort_key)
