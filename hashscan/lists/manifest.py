"""The signed manifest of a hash list: its version, its entries, and the names of all its other targets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hashscan.lists.columns import ColumnFiles
from hashscan.model import ALGORITHMS, CATEGORIES

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX = 1_000_000
"""Bytes; an honest manifest has under 10,000."""
SCHEMA = 1

LIST_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_NUMBER_MAX = 2**53 - 1
"""Largest integer that every reader of JSON takes in exactly."""
_UPGRADE = "upgrade hashscan to read it"


class ManifestError(Exception):
    """A manifest that can't be used; says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a list's owner says of one version of the list."""

    name: str
    version: int
    """Counts releases, from 1."""
    created: datetime
    categories: tuple[str, ...]
    """What the numbers of the category columns mean."""
    columns: tuple[ColumnFiles, ...]
    """A row for each algorithm, ordered by its name."""

    @property
    def entries(self) -> int:
        """Entries of all algorithms together."""
        return sum(files.entries for files in self.columns)


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest as JSON."""
    document = {
        "schema": SCHEMA,
        "list": manifest.name,
        "version": manifest.version,
        "created": manifest.created.strftime(_CREATED_FORMAT),
        "categories": list(manifest.categories),
        "algorithms": {
            files.algorithm: {
                "entries": files.entries,
                "ids": files.ids,
                "category": files.category,
                "value": files.value,
            }
            for files in manifest.columns
        },
    }
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def from_bytes(data: bytes) -> Manifest:
    """Read a manifest, believing nothing.

    Raises:
        ManifestError: it isn't one, or one of a later schema.
    """
    document = _object(_parsed(data), "the manifest")
    schema = _integer(document, "schema")
    if schema != SCHEMA:
        raise ManifestError(f"the manifest has schema {schema}, this program reads {SCHEMA}: {_UPGRADE}")
    _only(document, {"schema", "list", "version", "created", "categories", "algorithms"}, "the manifest")
    algorithms = _object(document["algorithms"], "'algorithms'")
    columns = tuple(_column_files(name, algorithms[name]) for name in sorted(algorithms))
    names = [name for files in columns for name in files.names]
    if len(set(names)) != len(names) or MANIFEST_NAME in names:
        raise ManifestError("the manifest names a target twice")
    return Manifest(
        name=_text(document, "list", LIST_NAME),
        version=_integer(document, "version"),
        created=_time(document),
        categories=_categories(document["categories"]),
        columns=columns,
    )


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
        raise ValueError("a key stands twice")
    return document


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{what} is not a JSON object")
    return value


def _only(document: dict[str, Any], keys: set[str], what: str) -> None:
    """Unknown keys are refused too: what this program doesn't understand may change what the list means."""
    if document.keys() != keys:
        missing, unknown = sorted(keys - document.keys()), sorted(document.keys() - keys)
        raise ManifestError(
            f"{what} lacks the keys {missing}"
            if missing
            else f"{what} has {len(unknown)} unknown keys: {_UPGRADE}"
        )


def _integer(document: dict[str, Any], key: str) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _NUMBER_MAX:
        raise ManifestError(f"the manifest's {key!r} is not a whole number from 1 on")
    return value


def _text(document: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ManifestError(f"the manifest's {key!r} is not of the form {pattern.pattern}")
    return value


def _time(document: dict[str, Any]) -> datetime:
    try:
        return datetime.strptime(_text(document, "created", _CREATED), _CREATED_FORMAT).replace(tzinfo=UTC)
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


def _column_files(algorithm: str, value: Any) -> ColumnFiles:
    if algorithm not in ALGORITHMS:
        raise ManifestError(f"the list uses an algorithm that this program doesn't know: {_UPGRADE}")
    document = _object(value, f"the manifest's {algorithm!r}")
    _only(document, {"entries", "ids", "category", "value"}, f"the manifest's {algorithm!r}")
    return ColumnFiles(
        algorithm,
        _integer(document, "entries"),
        _text(document, "ids", _TARGET_NAME),
        _text(document, "category", _TARGET_NAME),
        _text(document, "value", _TARGET_NAME),
    )
