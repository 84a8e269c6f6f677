"""Digest the members of a container one after another, nested containers too, within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import structs

from hashscan.hashing.archives.held_members import HeldMember
from hashscan.hashing.archives.iso_structure import iso_doubt, readings
from hashscan.hashing.archives.library import PIECE_SIZE, ArchiveMember, ArchiveReader, MemberError, is_empty
from hashscan.hashing.archives.library_time import LibraryTime, TimedFile
from hashscan.hashing.archives.office_parts import OfficeParts
from hashscan.hashing.archives.openers import (
    DRAWN,
    READ_MAX,
    DrawnPicture,
    Found,
    HashedPicture,
    Opener,
    Stopped,
    separator,
)
from hashscan.hashing.archives.zip_structure import zip_doubt
from hashscan.hashing.container_kinds import VIDEOS, is_opened, seconds_to_open
from hashscan.hashing.containers import (
    APPENDED,
    SEARCHED,
    TAIL_SIZE,
    UNRECOGNISED,
    container_behind,
    is_doubtful,
    is_later_part,
)
from hashscan.hashing.embedded.metadata import jpegs_in
from hashscan.hashing.embedded.within import WHOLE, containers_within
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import (
    FORMATS,
    TEXT,
    contains_pictures,
    is_plain_picture,
    sniff,
)
from hashscan.hashing.hash_algorithms import ExactHash
from hashscan.hashing.member_records import (
    BEFORE_RISK,
    ContainerEnd,
    ContainerError,
    Member,
    SampledFrames,
)
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.names import BEGIN_SIZE, claims_to_be_shown
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import MOTION_JPEG, Probed, Recogniser
from hashscan.hashing.records import failure_in, fault_of
from hashscan.model import MemberLimits, Reason

Decode = Callable[[PreadFile, FileFormat, bool], bytes]
"""Decodes a picture, and returns the reply as `records.pack_picture` makes it. The reply says if it is a
container, too, unless the last argument is True: then that container is opened."""

Frames = Callable[[PreadFile, FileFormat, MemberLimits], Iterator[Found]]
"""Yields the frames of a video; the limits are those that are left."""

_RATIO_FROM = 10 << 20
"""Unpacked bytes from which their ratio to the container's is checked: small ones are harmless, and an empty
page of text has a high ratio, too."""


class MemberReader:
    """The state of reading one container with all containers in it."""

    def __init__(
        self,
        library: ArchiveReader | None,
        size: int,
        hashes: Sequence[ExactHash],
        decode: Decode | None,
        limits: MemberLimits,
        openers: Mapping[str, Opener],
        frames: Frames | None = None,
        recogniser: Recogniser | None = None,
        *,
        by_bytes: bool = False,
    ) -> None:
        """Set the limits, for an outermost container of `size` bytes. Without library, openers (by the name
        of their format) or `frames`, such containers aren't opened; without `decode`, only bytes are
        digested; without recogniser, files that no signature tells are taken for none. With `by_bytes`,
        pictures are checked by their bytes, unless they begin like a container, too."""
        self._by_bytes = by_bytes
        self._frames, self._recogniser = frames, recogniser
        self._library, self._size, self._hashes, self._openers = library, size, hashes, openers
        self._decode, self._limits = decode, limits
        self._members = self._bytes = self._reported = self._reported_bytes = 0
        self._deadline = 0.0
        self._library_time = LibraryTime(size, limits.seconds)
        self._jpegs_seen: set[tuple[bytes, ...]] = set()
        """All digests of each of the JPEGs that were members: one alone, such as MD5, can be forged."""
        self._unclocked = 0
        """Bytes since the time was checked."""

    def records(self, file: PreadFile, kind: FileFormat) -> Iterator[Member | SampledFrames | ContainerEnd]:
        """Yield all members and sampled frames, and the end; `BEFORE_RISK` before what a parser may die of.
        `kind` is one of the containers that the file is; it is opened as each that programs may see in it."""
        reasons: list[Reason] = []
        self._deadline = time.process_time() + seconds_to_open(kind, self._size, self._limits)
        containers = _containers_in(file, kind)
        opened = [self._members_of(file, each, b"", 1, doubtful=doubtful) for each, doubtful in containers]
        try:
            for members in (*opened, self._besides(file, containers, b"", 1)):
                try:
                    for member in self._guarded(b"", members):
                        if isinstance(member, Member) and member is not BEFORE_RISK:
                            self._reported += 1
                            self._reported_bytes += member.size
                        yield member
                except ContainerError as error:
                    if error.reason not in _OF_ONE:
                        raise
                    reasons.append(error.reason)
        except ContainerError as error:
            reasons.insert(0, error.reason)
        except MemoryError:
            reasons.insert(0, Reason.MEMORY)
        yield ContainerEnd(self._reported, self._reported_bytes, reasons[0] if reasons else None)

    def _opens(self, kind: FileFormat) -> bool:
        """Return True if such a container is opened, as the operator chose, and its library is loaded."""
        return self._can_open(kind) and (
            kind.name in self._openers or is_opened(kind, self._limits.kinds) or not kind.container
        )

    def _can_open(self, kind: FileFormat) -> bool:
        if kind == UNRECOGNISED or not kind.container:
            return True
        if kind.name in VIDEOS:
            return self._frames is not None
        return kind.name in self._openers or (self._library is not None and self._library.opens(kind.name))

    def _guarded(
        self, place: bytes, records: Iterator[Member | SampledFrames]
    ) -> Iterator[Member | SampledFrames]:
        """Yield records; an unexpected exception costs the rest of them, and no others."""
        try:
            yield from records
        except (ContainerError, MemoryError):
            raise
        except Exception as error:
            yield Member(place, reason=Reason.PART_FAILED, fault=fault_of(error))

    def _members_of(
        self, file: PreadFile, kind: FileFormat, before: bytes, depth: int, *, doubtful: bool
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a container at the place `before`; a doubtful one need not be such a container:
        that it is broken says nothing then."""
        if doubtful:
            yield from self._doubtful_members(file, kind, before, depth)
            return
        if not self._opens(kind):
            raise ContainerError(Reason.CONTAINER)
        yield from self._contents_of(file, kind, before, depth)

    def _contents_of(
        self, file: PreadFile, kind: FileFormat, before: bytes, depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a container whose library is loaded, or a picture."""
        if kind == UNRECOGNISED:
            yield from self._recognised(file, before, depth)
            return
        if not kind.container:
            yield from self._picture(Member(before), kind, file, depth)
            return
        file.seek(0)
        parts = self._parts(file, kind)
        if parts is not None:
            found = self._parts_of(parts, before, depth)
            yield from map(_of_video, found) if depth == 1 and kind.name in VIDEOS else found
        elif not is_empty(file, kind.name):
            yield from self._archive(file, kind, before, depth)

    def _doubtful_members(
        self, file: PreadFile, kind: FileFormat, before: bytes, depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a file that need not be such a container."""
        is_pdf = kind.name == "PDF"
        if (is_pdf and file.size > READ_MAX) or not self._opens(kind):
            return
        passed = _BROKEN if is_pdf else _BROKEN | {Reason.AMBIGUOUS}
        try:
            for member in self._members_of(file, kind, before, depth, doubtful=False):
                if isinstance(member, SampledFrames) or member.reason not in passed:
                    yield member
        except ContainerError as error:
            if error.reason not in _BROKEN:
                raise

    def _recognised(self, file: PreadFile, before: bytes, depth: int) -> Iterator[Member | SampledFrames]:
        """Yield what is in a file that no signature tells, opened as all that programs may take it for."""
        if self._recogniser is None:
            return iter(())
        file.seek(0)
        begin = sniff(file.read(SEARCHED))
        # A picture was decoded before what is behind it is asked about.
        picture = None if begin is None or begin.container else begin
        probed = (
            each
            for each in self._recogniser.kinds(file)
            if each.start or picture is None or each.kind != picture
        )
        return self._as_probed(file, probed, before, depth)

    def _as_probed(
        self, file: PreadFile, found: Iterable[Probed], before: bytes, depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a file, opened as each format that programs may take it for."""
        for kind, certain, start, *_ in found:
            yield BEFORE_RISK
            # An unexpected exception costs what is in this one.
            opened = self._guarded(
                before, self._contents_of(file.subfile(start) if start else file, kind, before, depth)
            )
            try:
                if certain and not self._opens(kind):
                    raise ContainerError(Reason.CONTAINER)
                if certain:
                    yield from opened
                elif self._opens(kind):
                    yield from self._tried(kind, opened)
                elif self._can_open(kind) and any(map(_shows, self._tried(kind, opened))):
                    raise ContainerError(Reason.CONTAINER)
            except ContainerError as error:
                if error.reason not in _OF_ONE:
                    raise
                yield Member(before, reason=error.reason)

    def _besides(
        self,
        file: PreadFile,
        containers: Sequence[tuple[FileFormat, bool]],
        before: bytes,
        depth: int,
    ) -> Iterator[Member | SampledFrames]:
        """Yield what unpackers and players show of a container that is none of theirs.

        A stream may follow the container; an archive may lie in a part that its opener does not read.
        """
        names = [kind.name for kind, _ in containers]
        # Of a picture with appended data, the search for more has found nothing.
        if self._recogniser is None or not names or {UNRECOGNISED.name, APPENDED.name} & set(names):
            return
        yield BEFORE_RISK
        if names[0] not in WHOLE:
            within = (probed for probed in self._recogniser.unpacked(file) if probed.start)
            yield from self._guarded(before, self._as_probed(file, within, before, depth))
        if not VIDEOS.keys() & set(names):
            shown = self._played(file, self._recogniser, before, depth, jpegs=names[0] not in WHOLE)
            yield from self._guarded(before, shown)

    def _played(
        self, file: PreadFile, recogniser: Recogniser, before: bytes, depth: int, *, jpegs: bool
    ) -> Iterator[Member | SampledFrames]:
        """Yield what players show of a file; `jpegs` is True for one that has JPEGs which are no members."""
        for probed in recogniser.played(file):
            yield BEFORE_RISK
            if probed.by != MOTION_JPEG and probed.kind.name in VIDEOS:
                yield from self._as_probed(file, [probed], before, depth)
            elif probed.by == MOTION_JPEG and jpegs:
                yield from self._guarded(before, self._jpegs(file, before, depth))

    def _jpegs(self, file: PreadFile, before: bytes, depth: int) -> Iterator[Member | SampledFrames]:
        """Yield each JPEG of a file that was no member before."""
        for start, length in jpegs_in(file):
            content = file.subfile(start, length)
            if self._hashes and _digests(self._hashes, content) in self._jpegs_seen:
                continue
            self._count()
            yield BEFORE_RISK
            yield from self._digested(before + b"%d" % start, _pieces(content), depth)

    def _tried(
        self, kind: FileFormat, opened: Iterator[Member | SampledFrames]
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a file that may be of this format: nothing, unless something can be read of it;
        raise ContainerError only if something was read, or a limit was reached before."""
        passed = _BROKEN | ({Reason.METHOD} if kind.name in VIDEOS else {Reason.AMBIGUOUS})
        if not kind.container:
            # A picture of which nothing was decoded.
            passed |= {Reason.TRUNCATED}
        held: list[Member | SampledFrames] = []
        found = False
        try:
            for record in opened:
                if not found and _shows(record):
                    found = True
                    yield from held
                    held.clear()
                if found or isinstance(record, SampledFrames) or _reason_of(record) not in passed:
                    yield record
                else:
                    held.append(record)
        except ContainerError as error:
            if found or error.reason not in passed:
                raise

    def _parts(self, file: PreadFile, kind: FileFormat) -> Iterator[Found] | None:
        """Return the members of a document or video; None for an archive."""
        if kind.name in VIDEOS and self._frames is not None:
            left = structs.replace(self._limits, seconds=self._deadline - time.process_time())
            return self._frames(file, kind, left)
        opener = self._openers.get(kind.name)
        return None if opener is None else opener.members(file)

    def _archive(
        self, file: PreadFile, kind: FileFormat, before: bytes, depth: int
    ) -> Iterator[Member | SampledFrames]:
        assert self._library is not None
        is_zip, is_disc = kind.name == "ZIP", kind.name == "CD or DVD image"
        doubt, fault = None, ""
        try:
            doubt = zip_doubt(file, self._limits.members) if is_zip else iso_doubt(file) if is_disc else None
        except (ContainerError, MemoryError):
            raise
        except Exception as error:
            doubt, fault = Reason.PART_FAILED, fault_of(error)
        if doubt is Reason.CONTAINER_MEMBERS:
            yield from self._streamed(file, before, depth)
            raise ContainerError(doubt)
        if doubt is not None:
            yield Member(before, reason=doubt, fault=fault)
        found, parts = False, OfficeParts()
        for options in readings(file, self._limits.members) if is_disc else (b"",):
            timed = TimedFile(file, self._library_time)
            members = self._library.members(timed, kind.name, options)
            for member in self._library_time.counted(members):
                found = True
                yield from self._of_archive(member, before, depth, parts if is_zip else None)
        for name, reason in parts.doubts():
            yield Member(before + name, reason=reason)
        if not found:
            # The library passes over what it does not understand.
            raise ContainerError(Reason.CONTAINER_BROKEN)
        if doubt is not None and is_zip:
            yield from self._streamed(file, before, depth)

    def _streamed(self, file: PreadFile, before: bytes, depth: int) -> Iterator[Member | SampledFrames]:
        """Yield the members that are seen without the directory of a ZIP archive, if it can be read so."""
        assert self._library is not None
        try:
            members = self._library.streamed(TimedFile(file, self._library_time))
            for member in self._library_time.counted(members):
                yield from self._of_archive(member, before, depth)
        except ContainerError as error:
            if error.reason not in _OF_ONE:
                raise

    def _of_archive(
        self, member: ArchiveMember, before: bytes, depth: int, parts: OfficeParts | None = None
    ) -> Iterator[Member | SampledFrames]:
        self._count()
        place = before + member.name
        member = member._replace(pieces=self._library_time.counted(member.pieces))
        if member.regular:
            digested = self._digested(place, member.pieces, depth, parts=parts, name=member.name)
            yield from self._guarded(place, digested)
            return
        try:
            first = next(member.pieces, None)
        except MemberError as error:
            yield Member(place, reason=error.reason, fault=error.fault)
            return
        if first is not None:
            pieces = chain((first,), member.pieces)
            yield from self._guarded(place, self._digested(place, pieces, depth))

    def _parts_of(
        self, parts: Iterator[Found], before: bytes, depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield the members of a document or video, which may have none.

        Any of them may be the last: one call of a library can last until the decoder is ended.
        """
        for found in parts:
            if isinstance(found, SampledFrames):
                # Counted like a member, so that the number of records is bounded. The last ones come after
                # the time has run out, and then the reason.
                self._count(timed=False)
                yield structs.replace(found, place=before)
                yield BEFORE_RISK
                continue
            place = before + found.name
            if isinstance(found, Stopped):
                yield Member(place, reason=found.reason, fault=found.fault)
                continue
            self._count()
            if isinstance(found, HashedPicture):
                yield Member(place, kind=DRAWN, reply=found.reply)
                # The decoder of the video may die of the next frame.
                yield BEFORE_RISK
            elif not isinstance(found, DrawnPicture):
                yield from self._guarded(
                    place,
                    self._digested(place, found.pieces, depth, behind=found.behind, ending=found.ending),
                )
                yield BEFORE_RISK
            elif self._decode is not None and not self._by_bytes:
                reply = self._decode(PreadFile(found.content), DRAWN, False)
                yield Member(place, kind=DRAWN, reply=reply)
                yield BEFORE_RISK

    def _count(self, *, timed: bool = True) -> None:
        self._members += 1
        if self._members > self._limits.members:
            raise ContainerError(Reason.CONTAINER_MEMBERS)
        if timed and self._members % _CLOCK_EVERY == 1:
            self._check_time()

    def _check_time(self) -> None:
        if time.process_time() > self._deadline:
            raise ContainerError(Reason.TIMEOUT)

    def _take(self, length: int) -> None:
        self._bytes += length
        if self._bytes > self._limits.bytes:
            raise ContainerError(Reason.CONTAINER_BYTES)
        if self._bytes > max(_RATIO_FROM, self._limits.ratio * self._size):
            raise ContainerError(Reason.CONTAINER_RATIO)
        self._unclocked += length
        if self._unclocked >= _CLOCK_BYTES:
            self._unclocked = 0
            self._check_time()

    def _digested(
        self,
        place: bytes,
        pieces: Iterator[bytes],
        depth: int,
        *,
        behind: bool = True,
        parts: OfficeParts | None = None,
        name: bytes = b"",
        ending: bytes = b"",
    ) -> Iterator[Member | SampledFrames]:
        running = [algorithm.new() for algorithm in self._hashes]
        held = HeldMember(self._limits.member_bytes, self._recogniser)
        first, tail, size, kind = b"", b"", 0, None
        try:
            for piece in _read(pieces):
                self._take(len(piece))
                for hasher in running:
                    hasher.update(piece)
                if size < SEARCHED:
                    first = (first + piece)[:SEARCHED]
                    kind = sniff(first)
                size += len(piece)
                held.take(piece)
                tail = piece if len(piece) >= TAIL_SIZE else (tail + piece)[-TAIL_SIZE:]
        except (MemberError, ContainerError) as error:
            # Programs unpack what they can, and viewers show the part of a picture.
            exact = tuple(hasher.digest() for hasher in running) if size else ()
            content = held.content()
            fault = error.fault if isinstance(error, MemberError) else ""
            yield self._cut(Member(place, size, exact, reason=error.reason, fault=fault), kind, content)
            is_limit = isinstance(error, ContainerError) and error.reason not in _OF_ONE
            if (
                kind is not None
                and kind.container
                and content
                and depth < self._limits.depth
                and not is_limit
            ):
                file = PreadFile(content)
                yield BEFORE_RISK
                yield from self._nested(place, file, _containers_in(file, kind), depth)
            if isinstance(error, ContainerError):
                raise
            return
        content = held.content()
        exact = tuple(hasher.digest() for hasher in running)
        self._jpegs_seen.update((exact,) if kind == _JPEG else ())
        none_by = ""
        tail = tail[-TAIL_SIZE:]
        if kind is None:
            if held.is_large:
                yield BEFORE_RISK
            kind, none_by = self._kind_of(held, content, tail, depth, behind=behind)
        reason = self._reason_by_name(place, kind, none_by, size, ending)
        member = Member(place, size, exact, reason=reason)
        looked_into = self._looked_into(member, kind, content, depth, ending)
        is_seen = yield from _seen_in(looked_into, kind)
        if parts is not None:
            parts.add(name, content, is_text=bool(none_by), is_seen=is_seen)

    def _kind_of(
        self, held: HeldMember, content: bytes, tail: bytes, depth: int, *, behind: bool
    ) -> tuple[FileFormat | None, str]:
        """Return what a member is that its begin does not tell, or which row proves it to be none."""
        if held.is_large:
            return self._kind_of_large(held, tail, depth)
        return self._kind_of_whole(content, tail if behind else b"")

    def _reason_by_name(
        self, place: bytes, kind: FileFormat | None, none_by: str, size: int, ending: bytes
    ) -> Reason | None:
        """Return the reason why a member is undecoded by its name alone; None if it is not."""
        if is_later_part(place, kind):
            return Reason.PARTIAL
        is_asked = kind is None and size and self._recogniser is not None
        return _named(place, ending, none_by) if is_asked else None

    def _kind_of_whole(self, content: bytes, tail: bytes) -> tuple[FileFormat | None, str]:
        """Return what a member is that its begin does not tell, or which row proves it to be none. The
        content is empty if it is not held; the tail, in which the end of a container is looked for, if the
        opener yields all that is in it."""
        if len(content) > SEARCHED and contains_pictures(content):
            return TEXT, ""
        if (found := container_behind(tail)) is not None:
            return found, ""
        if not content or not tail or self._recogniser is None:
            return None, ""
        none_by = none_kind(PreadFile(content))
        return None if none_by else UNRECOGNISED, none_by

    def _kind_of_large(self, held: HeldMember, tail: bytes, depth: int) -> tuple[FileFormat | None, str]:
        """Return what a member is of which the begin and end are held; or the row that proves it to be none.

        What has nothing that can be recognised there is taken for none: it would be found only by programs
        that search farther.
        """
        if held.has_pictures:
            return TEXT, ""
        if (found := container_behind(tail)) is not None:
            return found, ""
        if self._recogniser is None:
            return None, ""
        if held.is_text:
            return None, "text"
        if held.has_tar:
            return UNRECOGNISED, ""
        seen = PreadFile(held.begin + tail)
        if none_by := none_kind(seen):
            return None, none_by
        shown = self._guarded(b"", self._as_probed(seen, self._recogniser.kinds(seen), b"", depth))
        try:
            is_recognised = any(record is not BEFORE_RISK for record in shown)
        except ContainerError as error:
            if error.reason not in _OF_ONE:
                raise
            is_recognised = True
        return UNRECOGNISED if is_recognised else None, ""

    def _cut(self, member: Member, kind: FileFormat | None, content: bytes) -> Member:
        """Return a member whose bytes end early, or are others than stated; if it is a picture, decoded."""
        if kind is None or kind.pillow is None or self._decode is None or not content:
            return member
        return structs.replace(member, kind=kind, reply=self._decode(PreadFile(content), kind, False))

    def _looked_into(
        self, member: Member, kind: FileFormat | None, content: bytes, depth: int, ending: bytes
    ) -> Iterator[Member | SampledFrames]:
        """Yield a member whose bytes were digested, decoded if it is a picture; then what is in it."""
        if kind is None:
            yield member
        elif not kind.container:
            if content:
                yield BEFORE_RISK
                yield from self._picture(member, kind, PreadFile(content), depth)
            else:
                yield Member(member.place, member.size, member.exact, reason=Reason.CONTAINER_MEMBER)
        elif depth >= self._limits.depth or not content:
            reason = Reason.CONTAINER_DEPTH if depth >= self._limits.depth else Reason.CONTAINER_MEMBER
            yield Member(member.place, member.size, member.exact, reason=reason)
        else:
            file = PreadFile(content)
            containers = _containers_in(file, kind)
            if any(self._opens(each) for each, _ in containers):
                yield member
                yield BEFORE_RISK
                found = False
                for record in self._nested(member.place, file, containers, depth):
                    found = found or record is not BEFORE_RISK
                    yield record
                if kind == UNRECOGNISED and not found:
                    named = _named(member.place, ending, begin=content[:BEGIN_SIZE])
                    yield from () if named is None else [Member(member.place, reason=named)]
            else:
                yield Member(member.place, member.size, member.exact, reason=Reason.CONTAINER)

    def _picture(
        self, member: Member, kind: FileFormat, file: PreadFile, depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield a picture, and what is in it if it is a container, too."""
        containers = _containers_in(file, kind)
        opens = depth < self._limits.depth and any(self._opens(each) for each, _ in containers)
        file.seek(0)
        if self._by_bytes and is_plain_picture(kind, file.read(SEARCHED)):
            reason = Reason.CONTAINER if containers and not opens else member.reason
            yield Member(member.place, member.size, member.exact, reason=reason)
        elif kind.pillow is None or self._decode is None:
            yield Member(member.place, member.size, member.exact, reason=Reason.UNSUPPORTED)
        else:
            file.seek(0)
            reply = self._decode(file, kind, opens)
            yield structs.replace(member, kind=kind, reply=reply)
        if opens:
            yield from self._nested(member.place, file, containers, depth)

    def _nested(
        self, place: bytes, file: PreadFile, containers: Sequence[tuple[FileFormat, bool]], depth: int
    ) -> Iterator[Member | SampledFrames]:
        """Yield what is in a container within another one."""
        opened = [
            (before, self._members_of(file, kind, before, depth + 1, doubtful=doubtful))
            for kind, doubtful in containers
            for before in (place + separator(kind),)
        ]
        shown = place + separator(UNRECOGNISED)
        for before, members in (*opened, (shown, self._besides(file, containers, shown, depth + 1))):
            try:
                yield from self._guarded(before, members)
            except ContainerError as error:
                if error.reason not in _OF_ONE:
                    raise
                # The rest of the outer container can still be read.
                yield Member(before, reason=error.reason)


def _of_video(record: Member | SampledFrames) -> Member | SampledFrames:
    """Return the record of a frame or cover of the video that the file itself is."""
    if isinstance(record, SampledFrames) or record is BEFORE_RISK:
        return record
    return structs.replace(record, of_video=True)


def _pieces(file: PreadFile) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_SIZE):
        yield piece


def _digests(algorithms: Iterable[ExactHash], file: PreadFile) -> tuple[bytes, ...]:
    running = [algorithm.new() for algorithm in algorithms]
    for piece in _pieces(file):
        for hasher in running:
            hasher.update(piece)
    return tuple(hasher.digest() for hasher in running)


def _named(place: bytes, ending: bytes, none_by: str = "", begin: bytes = b"") -> Reason | None:
    """Return the reason why a member in which nothing was recognised is undecoded by its name, or by the
    ending of its MIME type (`ArchiveMember.ending`), if it is."""
    claims = any(claims_to_be_shown(name, none_by, begin) for name in (place, ending) if name)
    return Reason.NAMED if claims else None


def _seen_in(
    records: Iterator[Member | SampledFrames], kind: FileFormat | None
) -> Generator[Member | SampledFrames, None, bool]:
    """Yield the records of a member, and return True if it was recognised as something."""
    is_seen = kind is not None and kind != UNRECOGNISED
    for record in records:
        is_seen |= isinstance(record, Member) and bool(record.reply)
        yield record
    return is_seen


def _read(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a member; an unexpected exception ends it as one that is known does."""
    try:
        yield from pieces
    except (MemberError, ContainerError, MemoryError):
        raise
    except Exception as error:
        raise MemberError(Reason.PART_FAILED, fault_of(error)) from error


def _shows(record: Member | SampledFrames) -> bool:
    """Return True if a record is of bytes or of a picture that were read."""
    if isinstance(record, SampledFrames) or record.exact:
        return True
    return bool(record.reply) and failure_in(record.reply) is None


def _reason_of(member: Member) -> Reason | None:
    return member.reason or (failure_in(member.reply) if member.reply else None)


def _containers_in(file: PreadFile, kind: FileFormat) -> list[tuple[FileFormat, bool]]:
    """Return all containers that programs may see in a file; True for those that it need not be."""
    found, tail = containers_within(file, kind)
    return [(each, is_doubtful(each, found, tail)) for each in found]


_JPEG = next(known for known in FORMATS if known.name == "JPEG")
_CLOCK_EVERY, _CLOCK_BYTES = 16, 1 << 20
"""Members, and bytes, after which the time is checked: asking for it is a system call."""
_BROKEN = frozenset({Reason.BROKEN, Reason.CONTAINER_BROKEN})
_OF_ONE = frozenset(
    {Reason.CONTAINER_BROKEN, Reason.ENCRYPTED, Reason.METHOD, Reason.CONTAINER, Reason.TOO_MANY}
)
"""Reasons that concern one container, and not the limits of all of them together."""
