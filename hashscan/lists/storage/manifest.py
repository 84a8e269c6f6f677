"""The signed manifest of a hash list: its version, its parts, and the names of all its other targets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX
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
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_NUMBER_MAX = 2**53 - 1
"""The largest integer that every JSON reader represents exactly."""
_UPGRADE = "upgrade hashscan to read it"


class ManifestError(Exception):
    """The manifest can't be used; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of one algorithm's columns, and the targets that contain them."""

    entries: int
    """Number of rows, at least one."""
    ids: str
    category: str
    value: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the three targets."""
        return self.ids, self.category, self.value


@dataclass(frozen=True, slots=True)
class PartColumns:
    """The rows of one algorithm that a part adds."""

    algorithm: str
    id_size: int
    """Size of an id in bytes."""
    shards: tuple[Shard, ...]
    """Shards in order; all have the same number of rows, except that the last may have fewer."""

    @property
    def entries(self) -> int:
        """Number of rows of all shards together."""
        return sum(shard.entries for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Rows of one algorithm that a part withdraws."""

    algorithm: str
    rows: int
    """Number of rows, at least one."""
    file: str
    """Target of shape (rows,), uint32, ascending: row numbers counted through all parts before this one."""


@dataclass(frozen=True, slots=True)
class Part:
    """The content of one release: the base, or an increment on the parts before it."""

    version: int
    """Version of the list that added this part."""
    columns: tuple[PartColumns, ...]
    """One item for each algorithm, sorted by its name."""
    withdrawn: tuple[Withdrawal, ...] = ()
    """One item for each algorithm, sorted by its name; the base has none."""

    @property
    def names(self) -> Iterator[str]:
        """Names of all targets of the part."""
        for columns in self.columns:
            for shard in columns.shards:
                yield from shard.names
        for withdrawal in self.withdrawn:
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
            active.subtract({withdrawal.algorithm: withdrawal.rows for withdrawal in part.withdrawn})
        return tuple(sorted(active.items()))

    @property
    def names(self) -> Iterator[str]:
        """Names of all targets except the manifest itself."""
        for part in self.parts:
            yield from part.names

    def rows(self, parts: slice = slice(None)) -> Counter[str]:
        """Count the rows of each algorithm in some of the parts, including withdrawn rows."""
        rows = Counter[str]()
        for part in self.parts[parts]:
            rows.update({columns.algorithm: columns.entries for columns in part.columns})
        return rows


def to_bytes(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    document = {
        "schema": SCHEMA,
        "list": manifest.name,
        "version": manifest.version,
        "created": format_utc(manifest.created),
        "categories": list(manifest.categories),
        "parts": [
            {
                "version": part.version,
                "algorithms": {
                    columns.algorithm: {
                        "id_size": columns.id_size,
                        "shards": [
                            {
                                "entries": shard.entries,
                                "ids": shard.ids,
                                "category": shard.category,
                                "value": shard.value,
                            }
                            for shard in columns.shards
                        ],
                    }
                    for columns in part.columns
                },
                "withdrawn": {
                    withdrawal.algorithm: {"rows": withdrawal.rows, "file": withdrawal.file}
                    for withdrawal in part.withdrawn
                },
            }
            for part in manifest.parts
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def from_bytes(data: bytes) -> Manifest:
    """Parse a manifest without trusting any of its content.

    Raises:
        ManifestError: the data is not a valid manifest, or has a later schema.
    """
    document = _object(_parsed(data), "the manifest")
    schema = _integer(document, "schema")
    if schema != SCHEMA:
        raise ManifestError(f"the manifest has schema {schema}, this program reads {SCHEMA}: {_UPGRADE}")
    _only(document, {"schema", "list", "version", "created", "categories", "parts"}, "the manifest")
    manifest = Manifest(
        name=_text(document, "list", LIST_NAME),
        version=_integer(document, "version"),
        created=_time(document),
        categories=_categories(document["categories"]),
        parts=tuple(_part(part) for part in _list(document, "parts", PARTS_MAX)),
    )
    _check_parts(manifest)
    return manifest


def _check_parts(manifest: Manifest) -> None:
    """Check that the parts are consistent with each other."""
    versions = [part.version for part in manifest.parts]
    if versions != sorted(set(versions)) or versions[-1] > manifest.version:
        raise ManifestError("the manifest's parts are not in the order of their versions")
    names = [MANIFEST_NAME, *manifest.names]
    if len(set(names)) != len(names):
        raise ManifestError("the manifest names a target twice")
    before, withdrawn = Counter[str](), Counter[str]()
    for part in manifest.parts:
        for withdrawal in part.withdrawn:
            withdrawn[withdrawal.algorithm] += withdrawal.rows
            if withdrawn[withdrawal.algorithm] > before[withdrawal.algorithm]:
                raise ManifestError(f"the manifest withdraws more of {withdrawal.algorithm} than there is")
        before.update({columns.algorithm: columns.entries for columns in part.columns})
    if any(rows > ROWS_MAX for rows in before.values()):
        raise ManifestError(f"the manifest has more than {ROWS_MAX} rows of an algorithm")


def _part(value: Any) -> Part:
    document = _object(value, "a part of the manifest")
    _only(document, {"version", "algorithms", "withdrawn"}, "a part of the manifest")
    algorithms = _by_algorithm(document, "algorithms")
    withdrawn = _by_algorithm(document, "withdrawn")
    return Part(
        _integer(document, "version"),
        tuple(_part_columns(name, algorithms[name]) for name in sorted(algorithms)),
        tuple(_withdrawal(name, withdrawn[name]) for name in sorted(withdrawn)),
    )


def _part_columns(algorithm: str, value: Any) -> PartColumns:
    document = _object(value, f"the manifest's {algorithm!r}")
    _only(document, {"id_size", "shards"}, f"the manifest's {algorithm!r}")
    shards = tuple(_shard(shard) for shard in _list(document, "shards", _NUMBER_MAX))
    if len({shard.entries for shard in shards[:-1]}) > 1 or shards[-1].entries > shards[0].entries:
        raise ManifestError(f"the manifest's shards of {algorithm} are not of equal length")
    return PartColumns(algorithm, _integer(document, "id_size", ENTRY_ID_MAX), shards)


def _shard(value: Any) -> Shard:
    document = _object(value, "a shard of the manifest")
    _only(document, {"entries", "ids", "category", "value"}, "a shard of the manifest")
    return Shard(
        _integer(document, "entries", ROWS_MAX),
        _text(document, "ids", _TARGET_NAME),
        _text(document, "category", _TARGET_NAME),
        _text(document, "value", _TARGET_NAME),
    )


def _withdrawal(algorithm: str, value: Any) -> Withdrawal:
    document = _object(value, "a withdrawal of the manifest")
    _only(document, {"rows", "file"}, "a withdrawal of the manifest")
    return Withdrawal(algorithm, _integer(document, "rows", ROWS_MAX), _text(document, "file", _TARGET_NAME))


def _by_algorithm(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = _object(document[key], f"the manifest's {key!r}")
    if not value.keys() <= ALGORITHMS.keys():
        raise ManifestError(f"the list uses an algorithm that this program doesn't know: {_UPGRADE}")
    return value


def _parsed(data: bytes) -> Any:
    if len(data) > MANIFEST_MAX:
        raise ManifestError(f"the manifest has {len(data)} bytes, more than {MANIFEST_MAX}")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ManifestError(f"the manifest is not the JSON it should be: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{what} is not a JSON object")
    return value


def _list(document: dict[str, Any], key: str, longest: int) -> list[Any]:
    value = document[key]
    if not isinstance(value, list) or not 1 <= len(value) <= longest:
        raise ManifestError(f"the manifest's {key!r} is not a list of 1 to {longest}")
    return value


def _only(document: dict[str, Any], keys: set[str], what: str) -> None:
    """Check that a JSON object has exactly these keys.

    Unknown keys are refused too: a key that this program doesn't know may change the meaning of the list.
    """
    if document.keys() != keys:
        missing, unknown = sorted(keys - document.keys()), sorted(document.keys() - keys)
        raise ManifestError(
            f"{what} lacks the keys {missing}"
            if missing
            else f"{what} has {len(unknown)} unknown keys: {_UPGRADE}"
        )


def _integer(document: dict[str, Any], key: str, largest: int = _NUMBER_MAX) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise ManifestError(f"the manifest's {key!r} is not a whole number from 1 to {largest}")
    return value


def _text(document: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ManifestError(f"the manifest's {key!r} is not of the form {pattern.pattern}")
    return value


def _time(document: dict[str, Any]) -> datetime:
    try:
        return datetime.strptime(_text(document, "created", _CREATED), UTC_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ManifestError("the manifest's 'created' is no time") from error


def _categories(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(category, str) for category in value):
        raise ManifestError("the manifest's 'categories' is not a list of names")
    if not value or len(set(value)) != len(value):
        raise ManifestError("the manifest's 'categories' is empty or names one twice")
    if not set(value) <= set(CATEGORIES):
        raise ManifestError(f"the list uses categories that this program doesn't know: {_UPGRADE}")
    return tuple(value)
