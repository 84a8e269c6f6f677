"""The signed manifest of a hash list: its version, its parts, and the names of all its other targets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX
from hashscan.schema import decode_json, encode_json, validated
from hashscan.timefmt import UTC_FORMAT, format_utc

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX = 5_000_000
"""Largest size in bytes, as for tuf's own metadata: a manifest grows like the signatures of its targets."""
SCHEMA = 1
ROWS_MAX = 2**32 - 1
"""Largest number of rows of one algorithm in all parts together: a row number has four bytes."""
PARTS_MAX = 1000
"""Largest number of parts, base and increments together; each part costs a subscriber some files."""

LIST_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TARGET_NAME = "[a-z0-9][a-z0-9._-]{0,127}"
_NUMBER_MAX = 2**53 - 1
"""The largest integer that every JSON reader represents exactly."""
_UPGRADE = "upgrade hashscan to read it"


class ManifestError(Exception):
    """The manifest can't be used; the message says what is wrong and what to do."""


_Number = Annotated[int, Meta(ge=1, le=_NUMBER_MAX)]
_Rows = Annotated[int, Meta(ge=1, le=ROWS_MAX)]
_TargetName = Annotated[str, Meta(pattern=rf"\A{_TARGET_NAME}\Z")]


class Shard(Struct, frozen=True, forbid_unknown_fields=True):
    """Some rows of one algorithm's columns, and the targets that contain them."""

    entries: _Rows
    ids: _TargetName
    category: _TargetName
    value: _TargetName

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the three targets."""
        return self.ids, self.category, self.value


class PartColumns(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of one algorithm that a part adds."""

    id_size: Annotated[int, Meta(ge=1, le=ENTRY_ID_MAX)]
    """Size of an id in bytes."""
    shards: Annotated[tuple[Shard, ...], Meta(min_length=1)]
    """Shards in order; all have the same number of rows, except that the last may have fewer."""

    @property
    def entries(self) -> int:
        """Number of rows of all shards together."""
        return sum(shard.entries for shard in self.shards)


class Withdrawal(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one algorithm that a part withdraws."""

    rows: _Rows
    """Number of rows."""
    file: _TargetName
    """Target of shape (rows,), uint32, ascending: row numbers counted through all parts before this one."""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of one release: the base, or an increment on the parts before it."""

    version: _Number
    """Version of the list that added this part."""
    algorithms: dict[str, PartColumns]
    withdrawn: dict[str, Withdrawal]
    """Withdrawn rows by algorithm; the base has none."""

    @property
    def names(self) -> Iterator[str]:
        """Names of all targets of the part."""
        for columns in self.algorithms.values():
            for shard in columns.shards:
                yield from shard.names
        for withdrawal in self.withdrawn.values():
            yield withdrawal.file


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one version of a list, signed by its owner."""

    name: str
    version: int
    """Number of the release, from 1."""
    created: datetime
    categories: tuple[str, ...]
    """The meaning of the numbers in the category columns."""
    parts: tuple[Part, ...]
    """The base, then the increments, by version."""

    @property
    def entries(self) -> int:
        """Number of active entries of all algorithms together."""
        return sum(count for _, count in self.by_algorithm)

    @property
    def by_algorithm(self) -> tuple[tuple[str, int], ...]:
        """Number of active entries of each algorithm that has rows, sorted by its name."""
        active = self.rows()
        for part in self.parts:
            active.subtract({algorithm: withdrawal.rows for algorithm, withdrawal in part.withdrawn.items()})
        return tuple(sorted(active.items()))

    @property
    def withdrawals(self) -> Iterator[Withdrawal]:
        """The withdrawn rows of all parts."""
        for part in self.parts:
            yield from part.withdrawn.values()

    @property
    def names(self) -> Iterator[str]:
        """Names of all targets except the manifest itself."""
        for part in self.parts:
            yield from part.names

    def rows(self, parts: slice = slice(None)) -> Counter[str]:
        """Count the rows of each algorithm in some of the parts, including withdrawn rows."""
        rows = Counter[str]()
        for part in self.parts[parts]:
            rows.update({algorithm: columns.entries for algorithm, columns in part.algorithms.items()})
        return rows


class _Document(Struct, forbid_unknown_fields=True):
    """The manifest's JSON.

    Unknown keys are refused: a key that this program doesn't know may change the meaning of the list.
    """

    schema: int
    list: Annotated[str, Meta(pattern=rf"\A{LIST_NAME.pattern}\Z")]
    version: _Number
    created: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    categories: Annotated[tuple[str, ...], Meta(min_length=1)]
    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=PARTS_MAX)]


def to_bytes(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    created = format_utc(manifest.created)
    document = _Document(
        SCHEMA, manifest.name, manifest.version, created, manifest.categories, manifest.parts
    )
    return encode_json(document) + b"\n"


def from_bytes(data: bytes) -> Manifest:
    """Parse a manifest without trusting any of its content."""
    if len(data) > MANIFEST_MAX:
        raise ManifestError(f"the manifest has {len(data)} bytes, more than {MANIFEST_MAX}")
    try:
        parsed = decode_json(data, unique_keys=True)
        schema = parsed.get("schema") if isinstance(parsed, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise ManifestError(f"the manifest has schema {schema}, this program reads {SCHEMA}: {_UPGRADE}")
        document = validated(parsed, _Document)
        created = datetime.strptime(document.created, UTC_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ManifestError(
            f"the manifest is not valid: {error}; if a later version made it, {_UPGRADE}"
        ) from error
    categories = document.categories
    used = {name for part in document.parts for name in (*part.algorithms, *part.withdrawn)}
    if not used <= ALGORITHMS.keys() or not set(categories) <= set(CATEGORIES):
        raise ManifestError(f"the list uses algorithms or categories that are not known here: {_UPGRADE}")
    if len(set(categories)) != len(categories):
        raise ManifestError("the manifest's 'categories' names one twice")
    manifest = Manifest(document.list, document.version, created, categories, document.parts)
    _check_parts(manifest)
    return manifest


def _check_parts(manifest: Manifest) -> None:
    versions = [part.version for part in manifest.parts]
    if versions != sorted(set(versions)) or versions[-1] > manifest.version:
        raise ManifestError("the manifest's parts are not in the order of their versions")
    names = [MANIFEST_NAME, *manifest.names]
    if len(set(names)) != len(names):
        raise ManifestError("the manifest names a target twice")
    before, withdrawn = Counter[str](), Counter[str]()
    for part in manifest.parts:
        for algorithm, columns in part.algorithms.items():
            full = columns.shards[0].entries
            if columns.shards[-1].entries > full or any(s.entries != full for s in columns.shards[:-1]):
                raise ManifestError(f"the manifest's shards of {algorithm} are not of equal length")
        for algorithm, withdrawal in part.withdrawn.items():
            withdrawn[algorithm] += withdrawal.rows
            if withdrawn[algorithm] > before[algorithm]:
                raise ManifestError(f"the manifest withdraws more of {algorithm} than there is")
        before.update({algorithm: columns.entries for algorithm, columns in part.algorithms.items()})
    if any(rows > ROWS_MAX for rows in before.values()):
        raise ManifestError(f"the manifest has more than {ROWS_MAX} rows of an algorithm")
