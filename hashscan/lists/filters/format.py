"""Read filters of digests: files that say of a digest that it is not in a list, or that it may be.

A filter lets every digest of its list through, and of other digests about one in 65,000. It has a header of
1024 bytes, the magic and JSON padded with spaces, and then the fingerprints, 16 bits each, little-endian: a
binary fuse filter after Graf and Lemire, https://arxiv.org/abs/2201.01174, with three positions to a key. A
filter can't be changed, so digests that a list gets later are in a small filter of additions, which names the
filter that it adds to.

The key of a digest is made of its first eight bytes, which are uniform in every exact algorithm, of the
algorithm's name, and of a salt that is drawn anew for each filter. Without the salt, those who contribute
entries could choose digests for which no filter can be built. Those who know the salt, since they hold the
filter, can make files that it lets through, which only makes a client ask more. Nobody can make it hold back
a digest of the list.

A file is read as untrusted bytes: all positions are within the fingerprints, whatever these are.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from hashscan.matching_service_api import Version
from hashscan.model import ALGORITHMS
from hashscan.schema import NUMBER_MAX, Text, Time, decode_file, decode_json, encode_json, validated

MAGIC = b"HSFILT\x00\x01"
"""The last byte is the version of the format."""
HEADER_SIZE = 1024
DIGESTS_MAX = 100_000_000
"""Most digests of a filter."""
SEGMENT_MAX = 1 << 18
"""Longest segment, as the builder makes them."""
FILE_MAX = HEADER_SIZE + 3 * DIGESTS_MAX
"""Largest file in bytes; ten million digests take 22.5 million."""
KEY_BYTES = 8
"""Number of bytes of a digest that are used."""

INDEX_NAME = "filters.json"
"""Target of a TUF repository that names the filters in it."""
INDEX_MAX = 1 << 16
"""Largest size of that target in bytes."""
_GENERATIONS_MAX = 16

_MASK = (1 << 64) - 1
MIX_1, MIX_2 = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
"""Factors of the finalizer of MurmurHash3, which mixes 64 bits reversibly."""

_Hex64 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]


class FilterError(ValueError):
    """An error for a filter that can't be used; its message is short and printable."""


_Target = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]


class VersionFilter(Struct, frozen=True):
    """The targets that are the filter of a version of the lists."""

    version: Version
    base: _Target
    additions: _Target | None


class FilterIndex(Struct, frozen=True):
    """The filters in a repository.

    There are those of earlier versions too, so that a service may begin to use a version at any time.
    """

    release: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    """Number of this state of the repository."""
    filters: Annotated[list[VersionFilter], Meta(min_length=1, max_length=_GENERATIONS_MAX)]
    """The newest first."""

    @classmethod
    def decode(cls, data: bytes) -> FilterIndex:
        """Read the file."""
        try:
            return decode_file(data, cls)
        except ValueError as error:
            raise FilterError(f"the index of its filters is not valid: {error}") from error

    @property
    def targets(self) -> frozenset[str]:
        """The names of all targets that the index names, and its own."""
        named = {INDEX_NAME, *(each.base for each in self.filters)}
        return frozenset(named | {each.additions for each in self.filters if each.additions})

    def of_version(self, version: str) -> VersionFilter | None:
        return next((each for each in self.filters if each.version == version), None)


class FilterHeader(Struct, frozen=True):
    """The header of a filter."""

    list_version: Version
    """The version of the lists to which the filter belongs."""
    algorithms: Annotated[list[Text], Meta(min_length=1, max_length=32)]
    """The exact algorithms that it covers: any digest of one of them that it holds back is in no list."""
    digests: Annotated[int, Meta(ge=0, le=DIGESTS_MAX)]
    base: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
    """SHA-256 of the filter to which this one adds; empty if it is complete."""
    made: Time
    salt: _Hex64
    seed: _Hex64
    segment_length: Annotated[int, Meta(ge=4, le=SEGMENT_MAX)]
    segment_count: Annotated[int, Meta(ge=1, le=FILE_MAX)]

    def __post_init__(self) -> None:
        if self.segment_length & (self.segment_length - 1):
            raise ValueError("the length of its segments is no power of two")
        for name in self.algorithms:
            if (known := ALGORITHMS.get(name)) is not None and known.metric != "exact":
                raise ValueError(f"it covers {name}, whose digests needn't be equal to match")

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return HEADER_SIZE + 2 * (self.segment_count + 2) * self.segment_length

    @property
    def first_positions(self) -> int:
        """Number of positions that can be the first of a key."""
        return self.segment_count * self.segment_length

    def offset(self, algorithm: str) -> int:
        """Return the number that tells an algorithm's keys from those of others and of other filters."""
        digest = hashlib.blake2b(algorithm.encode(), digest_size=8, key=bytes.fromhex(self.salt)).digest()
        return int.from_bytes(digest, "little")


def header_bytes(header: FilterHeader) -> bytes:
    data = MAGIC + encode_json(header)
    if len(data) > HEADER_SIZE:
        raise FilterError("the header of the filter is too long")
    return data.ljust(HEADER_SIZE)


class FilterPart:
    """One filter, over the bytes of its file."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        """Check the header, and the length of the data."""
        self.data = memoryview(data)
        if len(self.data) < HEADER_SIZE or self.data[: len(MAGIC)] != MAGIC:
            raise FilterError("it is no filter of digests, or one of a newer version")
        try:
            self.header = validated(decode_json(bytes(self.data[len(MAGIC) : HEADER_SIZE])), FilterHeader)
        except ValueError as error:
            raise FilterError(f"its header is not valid: {error}") from error
        if len(self.data) != self.header.size:
            raise FilterError("it has another length than its header says")
        self._seed = int(self.header.seed, 16)
        self._length, self._firsts = self.header.segment_length, self.header.first_positions
        self._offsets = {name: self.header.offset(name) for name in self.header.algorithms}

    @classmethod
    def open(cls, path: Path) -> FilterPart:
        """Map a file that nobody else writes."""
        with path.open("rb") as file:
            try:
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except ValueError as error:  # an empty file can't be mapped
                raise error if isinstance(error, FilterError) else FilterError("it is empty") from error

    def lets_through(self, algorithm: str, value: bytes) -> bool:
        """Return False if a digest is certainly not in the list; True for an algorithm it doesn't cover."""
        offset = self._offsets.get(algorithm)
        if offset is None:
            return True
        key = _mix(int.from_bytes(value[:KEY_BYTES], "little") ^ offset)
        mixed = _mix((key + self._seed) & _MASK)
        length, data = self._length, self.data
        first = mixed * self._firsts >> 64
        found = mixed ^ mixed >> 32
        for place in (
            first,
            (first + length) ^ (mixed >> 18 & (length - 1)),
            (first + 2 * length) ^ (mixed & (length - 1)),
        ):
            at = HEADER_SIZE + 2 * place
            found ^= data[at] | data[at + 1] << 8
        return not found & 0xFFFF


class DigestFilter:
    """The filter of a version of a list: a complete one, and perhaps one of additions."""

    def __init__(self, base: FilterPart, additions: FilterPart | None = None) -> None:
        """Put a filter together.

        Raises:
            FilterError: the parts don't belong together.
        """
        self.parts: Sequence[FilterPart] = [base] if additions is None else [base, additions]
        self.version = self.parts[-1].header.list_version
        """The version of the lists to which it belongs."""
        if base.header.base:
            raise FilterError("it is a filter of additions, without the filter to which it adds")
        if additions is not None:
            if not additions.header.base:
                raise FilterError("it is no filter of additions")
            if sorted(additions.header.algorithms) != sorted(base.header.algorithms):
                raise FilterError("its additions are of other algorithms")

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that it covers."""
        return frozenset(self.parts[0].header.algorithms)

    def lets_through(self, algorithm: str, value: bytes) -> bool:
        """Return False if a digest is certainly not in the list."""
        return any(part.lets_through(algorithm, value) for part in self.parts)


def _mix(value: int) -> int:
    value = (value ^ value >> 33) * MIX_1 & _MASK
    value = (value ^ value >> 33) * MIX_2 & _MASK
    return value ^ value >> 33
