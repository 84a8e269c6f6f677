"""Decode one picture and compute its digests, each repeat once: the code that runs in the sandbox."""

from __future__ import annotations

import importlib
import mmap
import os
from collections.abc import Callable, Collection, Generator, Sequence, Set
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from msgspec import Struct, json, structs

from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.hash_algorithms import PictureHash, take_failure
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import (
    ROOM,
    fault_in,
    fault_of,
    pack_failure,
    pack_picture,
    pack_request,
    room_of,
    unpack_request,
)
from hashscan.hashing.variants import (
    LONG_SECONDS,
    MIRRORED,
    VARIANTS,
    WHOLE,
    DigestRun,
    Kind,
    PictureDigest,
    is_basic,
    is_shown,
)
from hashscan.model import ALGORITHMS, HashLibrary, Reason

if TYPE_CHECKING:
    from ctypes import CDLL

    from hashscan.hashing.media.picture_opening import Frame, Limits
    from hashscan.hashing.photodna import PhotoDNA


_SHARES = {Kind.PREVIEW: 2}
_SHARE = 4
"""Divisor of the threshold. A picture repeats another if each of its digests is within a quarter of its
algorithm's threshold from the other's: 7 bits for PDQ. An entry within the threshold of one picture is then
nearly always within the threshold of the other. For a preview it is half of the threshold: its small size
changes as many bits, and a preview is meant to look like its picture."""
_UNLIKE = 3
"""Multiple of the threshold from which a preview is assumed to show something else: 94 bits for PDQ. No two
unrelated photos of 250 were closer. Of the previews of 202 photos, 38 were no repeats, 7 of them as far away
as this."""


class RepeatDecision(NamedTuple):
    """The decision on how to hash one more picture."""

    repeated: bool
    """True if matching it would give nothing new."""
    full: bool
    """True if it must be hashed in all variants."""


_FIRST = RepeatDecision(False, True)


class _KnownPicture(Struct):
    values: tuple[int, ...]
    full: bool
    seconds: float
    """Total display time of similar pictures since one of them was hashed in all variants."""


class RepeatDetector:
    """The pictures of one file that were already hashed."""

    def __init__(self) -> None:
        self._seen: list[_KnownPicture] = []

    def judge(self, digests: Sequence[PictureDigest], seconds: float = inf) -> RepeatDecision:
        """Compare one more picture with the earlier ones, and store it.

        The display times of pictures within the threshold of each other are added up, so that many frames
        that hardly differ count like one that is shown for as long.

        Args:
            digests: the digests of the picture as it is stored, by each algorithm, always in the same order.
            seconds: its display time.
        """
        if all(digest.quality < ALGORITHMS[digest.algorithm].min_quality for digest in digests):
            return RepeatDecision(True, seconds >= LONG_SECONDS)
        values = tuple(int.from_bytes(digest.value) for digest in digests)
        if not self._seen and seconds >= LONG_SECONDS:
            self._seen.append(_KnownPicture(values, True, 0.0))
            return _FIRST
        share = _SHARES.get(digests[0].part.kind, _SHARE)
        thresholds = tuple(ALGORITHMS[digest.algorithm].threshold for digest in digests)
        limits = tuple(threshold // share for threshold in thresholds)
        alike = [seen for seen in self._seen if _within(values, seen.values, thresholds)]
        if seconds < LONG_SECONDS:
            for seen in alike:
                seen.seconds += seconds
        together = max((seen.seconds for seen in alike), default=0.0)
        full = max(seconds, together) >= LONG_SECONDS or (
            digests[0].part.kind is Kind.PREVIEW and self._is_unlike_all(values, thresholds)
        )
        repeated = any(seen.full >= full and _within(values, seen.values, limits) for seen in alike)
        if full:
            for seen in alike:
                seen.seconds = 0.0
        if not repeated:
            self._seen.append(_KnownPicture(values, full, 0.0 if full else seconds))
        return RepeatDecision(repeated, full)

    def _is_unlike_all(self, values: tuple[int, ...], thresholds: tuple[int, ...]) -> bool:
        limits = tuple(_UNLIKE * threshold for threshold in thresholds)
        return not any(_within(values, seen.values, limits) for seen in self._seen)


def _within(values: tuple[int, ...], others: tuple[int, ...], limits: tuple[int, ...]) -> bool:
    # Most pictures differ in the first digest already.
    if (values[0] ^ others[0]).bit_count() > limits[0]:
        return False
    return all(
        (one ^ other).bit_count() <= limit for one, other, limit in zip(values, others, limits, strict=True)
    )


# Nothing here may import numpy or Pillow before `load` has set the environment for them.

Decode = Callable[[int, bytes], bytes | Generator[bytes, None, bytes]]

CONTAINER_DECODER = "hashscan.hashing.media.container_decoder"
"""The module whose `load` returns what opens containers."""


class DecodePicture(Protocol):
    """A function that decodes a picture, and returns the reply."""

    def __call__(self, source: int | PreadFile, request: bytes, opened: bool = False, /) -> bytes:
        """Decode; `opened` says that the containers that the picture is, too, are opened by the caller."""


_CLEAR = 100
"""Quality of a brightness digest from which colours show nothing more; 3 of 202 photographs had less."""

_EVEN = 80
"""Share of the picture, in 256ths, of one part with even brightness, from which colours may show something
there. The 202 photographs had 75 at most, and seven of them 64 or more."""

_LARGE_PIXEL_MEMORY = 0.85
"""Share of the memory limit for a large picture that its pixels may take."""

_PATIENT_TIME_FACTOR = 1.6
"""Factor by which a patient request raises the time limit of a decoder. A decoder on a busy machine must get
as far as an earlier one did on an idle machine."""


def load(*arguments: str) -> Decode:
    """Load everything that decoding needs, since no file can be opened once the sandbox is closed.

    Call it once in a fresh process, before it forks and before the sandbox restricts anything.

    Args:
        arguments: dotted paths of picture hashes (`hashscan.hashing.pdq:PDQ`) in the order of the reply's
            digests. Optional: `max-pixels=N`, `seconds=N` (both of `picture.Limits`), `memory=N` (bytes the
            decoder may use), `variants=NAME,NAME` (some of `VARIANTS`; default all), `augment=NAME,NAME`
            (some of `MADE_FOR_LISTS`) to compute the digests of such parts, too, and `photodna=JSON` (a
            `HashLibrary`, loaded by `attach`). To have
            containers opened: `exact=PATH,PATH` (dotted paths of exact hashes) and `containers=JSON` (of
            `MemberLimits`); `members=bytes` to check the pictures in them by their bytes, `videos=vpdq` to
            have videos sampled, and `libraries=none` to open only what Python's standard library opens.

    Returns:
        A function from an open descriptor and a request to a reply (see `records`), or for a container to
        messages of its records (see `member_records`). No content of the file
        makes it raise an exception; it raises MemoryError if the system has no memory left.
    """
    # A second thread of the linear algebra library would not survive the fork, and the sandbox forbids it.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    from hashscan.hashing.media.picture_opening import Limits

    options: dict[str, str] = {}
    hashes: list[PictureHash] = []
    for argument in arguments:
        option, is_option, value = argument.partition("=")
        module, _, name = argument.partition(":")
        if is_option:
            options[option] = value
        else:
            found: type[PictureHash] = getattr(importlib.import_module(module), name)
            if found.algorithm is not None:
                ALGORITHMS.setdefault(found.name, found.algorithm)
            hashes.append(found())
    _attachable[:] = [
        (cast("PhotoDNA", one), json.decode(options["photodna"], type=HashLibrary))
        for one in hashes
        if one.name == "photodna" and "photodna" in options
    ]
    limits = Limits()
    limits = structs.replace(
        limits,
        max_pixels=int(options.get("max-pixels", limits.max_pixels)),
        seconds=float(options.get("seconds", limits.seconds)),
    )
    wanted = options["variants"].split(",") if "variants" in options else VARIANTS
    parts = frozenset(Kind[name] for name in options.get("augment", "").split(",") if name)
    _warm_up(_decoder(hashes, Limits(), (), parts=frozenset()), FORMATS)
    # The steps after decoding are the same for all formats.
    _warm_up(_decoder(hashes, Limits(), VARIANTS, parts=parts), FORMATS[:1])
    memory = int(options.get("memory", 0))
    decode = _decoder(hashes, limits, wanted, parts=parts, memory=memory)
    if "containers" not in options:
        return decode
    # Loaded only where it is needed: archives, documents and videos have libraries of their own.
    opening = importlib.import_module(CONTAINER_DECODER)
    opener: Decode = opening.load(decode, hashes, wanted, limits.max_pixels, options)
    return opener


_attachable: list[tuple[PhotoDNA, HashLibrary]] = []


def attach(libraries: Sequence[CDLL]) -> None:
    """Use loaded libraries for hashes; the sandbox calls it in a decoder, before there is a file.

    Raises:
        OSError: one can't be used.
    """
    for algorithm, library in _attachable:
        algorithm.attach(libraries[-1], library)


def _decoder(
    hashes: Sequence[PictureHash],
    limits: Limits,
    wanted: Collection[str],
    *,
    parts: Set[Kind],
    memory: int = 0,
) -> DecodePicture:
    from hashscan.hashing.media.picture import decode_frames
    from hashscan.hashing.media.picture_opening import BYTES_PER_PIXEL, UndecodedError

    names = [algorithm.name for algorithm in hashes]
    more = structs.replace(limits, seconds=limits.seconds * _PATIENT_TIME_FACTOR)

    def decode(source: int | PreadFile, request: bytes, opened: bool = False, /) -> bytes:
        picture_format, patient, large = unpack_request(request)
        within = more if patient else limits
        if large:
            within = structs.replace(
                within,
                max_pixels=int(large * _LARGE_PIXEL_MEMORY) // BYTES_PER_PIXEL,
                total_pixels=max(within.total_pixels, large // BYTES_PER_PIXEL),
                large=True,
            )
        found = _DigestCollector(hashes, wanted, parts=parts)
        shortfall, fault = None, ""
        file = PreadFile(source) if isinstance(source, int) else source
        try:
            for frame in decode_frames(file, picture_format, within):
                found.take(frame)
                if found.room < 0:
                    break
        except UndecodedError as error:
            shortfall, fault = error.reason, error.fault
        except MemoryError:
            shortfall = Reason.MEMORY
        if found.fault and shortfall is not Reason.MEMORY:
            shortfall, fault = Reason.PART_FAILED, found.fault
        shortfall = _shortfall(shortfall, file, picture_format, hashes, opened)
        if shortfall is Reason.MEMORY and memory:
            # Raises if the system lacks a quarter of our memory limit: then the picture isn't the cause.
            _try_to_take((large or memory) // 4)
        if not found.runs:
            return pack_failure(shortfall or Reason.BROKEN, fault)
        return pack_picture(picture_format, *found.size, names, found.all_runs(), shortfall, fault)

    return decode


def _shortfall(
    before: Reason | None,
    file: PreadFile,
    picture_format: FileFormat,
    hashes: Sequence[PictureHash],
    opened: bool,
) -> Reason | None:
    """Return the first reason why a picture is not decoded in full: one from before, or another."""
    failed = take_failure(hashes)
    if before is not None or failed:
        return before or Reason.HASH_FAILED
    if opened or picture_format.pillow is None:
        return None
    return Reason.CONTAINER if containers_within(file, picture_format)[0] else None


class _DigestCollector:
    """The digests of one file's pictures, collected while they are decoded."""

    def __init__(self, hashes: Sequence[PictureHash], wanted: Collection[str], *, parts: Set[Kind]) -> None:

        self._hashes, self._wanted, self._parts = hashes, wanted, parts
        self._of_every = [algorithm for algorithm in hashes if not algorithm.first_only]
        """The algorithms for pictures after the first, which also tell if one repeats another."""
        self._repeats, self._faint = RepeatDetector(), RepeatDetector()
        self.runs: list[DigestRun] = []
        self.room = ROOM
        """Room in bytes that the reply has left, without further variants; negative if it has none."""
        self._further: list[DigestRun] = []
        self.size = 0, 0
        """Width and height of the first picture, in pixels."""
        self.fault = ""
        """The name of the type of the first exception by which a picture was not hashed."""

    def take(self, frame: Frame) -> None:
        """Hash one more picture, unless it repeats an earlier one; and its colours if they may show more.

        An unexpected exception costs the rest of this picture, and no other one.
        """
        try:
            self._take(frame)
        except MemoryError:
            raise
        except Exception as error:
            self.fault = self.fault or fault_of(error)

    def _take(self, frame: Frame) -> None:
        whole = frame.part == WHOLE
        first = whole and not frame.look
        new, judgement = self._hashed(frame, keep=first)
        hashes = len(self._hashes if first else self._of_every)
        faint = any(run.quality < _CLEAR for run in new)
        # The first are those of the picture as it is. Where all of it is faint, the planes of its parts
        # besides those of the whole would fill the replies for drawn animations.
        even = not faint and judgement.full and any(run.even >= _EVEN for run in new[:hashes])
        more = frame.chroma if faint or even else None
        if not first:
            new = [] if judgement.repeated else [run for run in new if not _is_poor(run)]
        if new and not self.runs:
            self.size = frame.width, frame.height
        if first and self._parts:
            from hashscan.hashing.media.renderings import runs_of_parts

            doubted = any(run.doubt for run in new[:hashes])
            new += runs_of_parts(frame, self._hashes, self._parts, doubted=doubted)
        if not whole:
            parted = [run.parted({0, MIRRORED, run.shown} if is_basic(run.rendering) else ()) for run in new]
            new = [basic for basic, _ in parted if basic.turns]
            self._further += [further for _, further in parted if further.turns]
        self.runs += new
        self.room -= _room_of(new)
        if more is not None:
            for plane in more(faint, even):
                self.take(plane)

    def _hashed(self, frame: Frame, *, keep: bool) -> tuple[list[DigestRun], RepeatDecision]:
        """Return the digests of a picture, and how it relates to the earlier pictures of the file.

        For a repeated picture, only the digests that show the repetition are returned, unless `keep` is set.
        """
        from hashscan.hashing.media.renderings import hash_frame

        full = frame.seconds >= LONG_SECONDS
        hashes = self._hashes if keep else self._of_every
        found = hash_frame(frame, hashes, self._wanted, full=full)
        new = list(islice(found, len(hashes)))
        judged, seen = _by_bits(new), self._repeats
        if all(map(_is_poor, judged)):
            new += found
            # Compare the digests of the picture with raised contrast.
            judged, seen = [run for run in _by_bits(new) if not _is_poor(run)][:1], self._faint
        judgement = seen.judge([next(run.digests()) for run in judged], frame.seconds)
        if judgement.repeated and not keep:
            return new, judgement
        if judgement.full and not full:
            return list(hash_frame(frame, hashes, self._wanted)), judgement
        new += found
        return new, judgement

    def all_runs(self) -> list[DigestRun]:
        """Return the runs that a reply must contain, and as many others as fit.

        Only further variants of planes, and of pictures whose similarity says little, are left out without
        being counted: a short drawn animation fills a reply with them.
        """
        runs = self.runs + [run for run in self._further if _must_fit(run)]
        room = ROOM - _room_of(runs)
        for run in self._further:
            if not _must_fit(run) and _room_of([run]) <= room:
                runs.append(run)
                room -= _room_of([run])
        return runs


def _by_bits(runs: list[DigestRun]) -> list[DigestRun]:
    """Return those of algorithms whose digests are compared bit by bit."""
    return [run for run in runs if ALGORITHMS[run.algorithm].metric == "hamming"]


def _room_of(runs: Sequence[DigestRun]) -> int:
    return sum(len(run.turns) * room_of(run.algorithm) for run in runs)


def _must_fit(run: DigestRun) -> bool:
    return is_shown(run.rendering) and not run.doubt


def _is_poor(run: DigestRun) -> bool:
    return run.quality < ALGORITHMS[run.algorithm].min_quality


def _try_to_take(size: int) -> None:
    """Allocate and release `size` bytes of memory, to check that the system has them."""
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError from error


def sample_file() -> tuple[bytes, bytes]:
    """Return a small JPEG and its request, for decoders that are forked ahead."""
    from hashscan.hashing.media.samples import photograph

    return photograph(), pack_request(FORMATS[0])


def _warm_up(decode: DecodePicture, formats: Sequence[FileFormat]) -> None:
    """Decode sample files of each format, since Pillow imports many of its modules on first use.

    They are an intact file, one of several pictures, and one with a profile; for the first format also a
    truncated and a corrupt file.
    """
    from hashscan.hashing.media.samples import multi_picture_samples, samples, samples_of_colours

    drawn, several, coloured = samples(), multi_picture_samples(), samples_of_colours()
    for picture_format in formats:
        name = picture_format.pillow or ""
        whole = drawn.get(name, b"")
        contents = [whole, several.get(name, b""), coloured.get(name, b"")]
        if picture_format is formats[0]:
            half = whole[: len(whole) // 2]
            contents += half, half.ljust(len(whole), b"\0")
        for content in filter(None, contents):
            descriptor = os.memfd_create("sample")
            try:
                os.pwrite(descriptor, content, 0)
                reply = decode(descriptor, pack_request(picture_format))
                if fault := fault_in(reply):
                    # All pictures would fail.
                    raise RuntimeError(f"a sample of {picture_format.name} can't be decoded: {fault}")
            finally:
                os.close(descriptor)
