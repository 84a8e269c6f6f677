"""Read and write the baseline file of accepted findings; the content is validated, and written atomically.

The file is JSON: an object with the format's name, its version and the accepted matches. Each match is
written on a line of its own, so that a change can be reviewed.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hashscan.errors import OutputError, UsageError
from hashscan.lists.durable import PRIVATE_FILE, replace_file
from hashscan.lists.manifest import LIST_NAME
from hashscan.model import ENTRY_ID_MAX, AcceptedMatch
from hashscan.text import is_printable_line

FORMAT = "hashscan-baseline"
VERSION = 1
REASON_MAX = 500
"""The maximum length in characters; the reason is a part of every accepted finding."""
SIZE_MAX = 64 << 20
_BY_MAX = 100
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_KEYS: Mapping[str, str] = {
    "list": "list_name",
    "entry": "entry_id",
    **{name: name for name in ("sha256", "reason", "until", "by", "since")},
}
"""The name of each field in the file."""
assert set(_KEYS.values()) == {field.name for field in fields(AcceptedMatch)}

Key = tuple[str, str, str]
"""The list, the entry and the content's sha256."""


def key_of(accepted: AcceptedMatch) -> Key:
    """Return the key of an accepted match: what is accepted, without reason, author and times."""
    return accepted.list_name, accepted.entry_id, accepted.sha256


def read_baseline(path: Path) -> tuple[AcceptedMatch, ...]:
    """Return all accepted matches of a file.

    Raises:
        UsageError: there is no such file, a newer hashscan wrote it, or it is damaged; the message names the
            line.
    """
    document = _text(path)
    found: dict[Key, AcceptedMatch] = {}
    for line, row in _rows(path, document):
        try:
            accepted = accepted_match_from(row)
        except ValueError as error:
            raise _invalid_file_error(path, line, str(error)) from error
        if key_of(accepted) in found:
            raise _invalid_file_error(path, line, "the same is accepted twice")
        found[key_of(accepted)] = accepted
    return tuple(found.values())


def write_baseline(path: Path, accepted: Iterable[AcceptedMatch]) -> None:
    """Write a baseline file; the old file stays in place until the new one is complete.

    Raises:
        OutputError: the file can't be written.
    """
    rows = [
        json.dumps({key: getattr(one, field) for key, field in _KEYS.items()})
        for one in sorted(accepted, key=key_of)
    ]
    body = "".join(f"\n    {row}{',' * (number < len(rows))}" for number, row in enumerate(rows, start=1))
    document = f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "accepted": [{body}\n  ]\n}}\n'
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE_FILE
        replace_file(path, document.encode("ascii"), mode)
    except OSError as error:
        raise OutputError(f"can't write the baseline {path}: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"the baseline {path} is no regular file")
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"can't read the baseline {path}: {error.strerror}",
            advice="Name a file that `hashscan report accept` has written.",
        ) from error
    if len(data) > SIZE_MAX:
        raise UsageError(f"the baseline {path} is larger than {SIZE_MAX >> 20} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_file_error(path, data.count(b"\n", 0, error.start) + 1, "this is no UTF-8") from error


def _rows(path: Path, document: str) -> Iterator[tuple[int, Any]]:
    """Yield the items of `accepted`, each with its line."""
    try:
        whole = json.loads(document)
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is no syntax error, and has no line.
        raise _invalid_file_error(
            path, getattr(error, "lineno", 1), "this is no JSON that can be read"
        ) from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise _invalid_file_error(path, 1, f'it does not say "format": "{FORMAT}"')
    version = whole.get("version")
    if type(version) is not int or version < 1:
        raise _invalid_file_error(path, 1, "it does not say which version of the format it has")
    if version > VERSION:
        raise UsageError(
            f"a newer hashscan wrote the baseline {path}: its version is {version}, and this one knows "
            f"{VERSION}",
            advice="Use the version that wrote it, or a newer one.",
        )
    rows = whole.get("accepted")
    if not isinstance(rows, list):
        raise _invalid_file_error(path, 1, "it has no list of what is accepted")
    yield from zip(_lines(document, len(rows)), rows, strict=True)


def _lines(document: str, number: int) -> list[int]:
    """Return the lines on which the rows begin; the document is known to be valid."""
    decoder = json.JSONDecoder()
    place = _skip_separators(document, document.index("{") + 1)
    lines: list[int] = []
    while document[place] != "}":
        key, place = decoder.raw_decode(document, place)
        place = _skip_separators(document, place)
        if key == "accepted" and document[place] == "[":
            # If a key occurs twice, the last one counts.
            lines = []
            place = _skip_separators(document, place + 1)
            line, before = 1, 0
            while document[place] != "]":
                line, before = line + document.count("\n", before, place), place
                lines.append(line)
                _, place = decoder.raw_decode(document, place)
                place = _skip_separators(document, place)
            place += 1
        else:
            _, place = decoder.raw_decode(document, place)
        place = _skip_separators(document, place)
    assert len(lines) == number
    return lines


def _skip_separators(document: str, place: int) -> int:
    """Return the position after white space and separators."""
    while document[place] in " \t\r\n,:":
        place += 1
    return place


def _checked_keys(row: object) -> dict[str, str]:
    """Return a row that has exactly the keys of the format, each with a text.

    Raises:
        ValueError: it has others.
    """
    if not isinstance(row, dict):
        raise ValueError("a row is no object")
    for key in row:
        if key not in _KEYS:
            raise ValueError(f"there is no key {key!r}")
    for key in _KEYS:
        if not isinstance(row.get(key), str):
            raise ValueError(f"key {key!r} is missing, or no text")
    return row


def accepted_match_from(row: object) -> AcceptedMatch:
    """Return the accepted match of one row of the file.

    Raises:
        ValueError: the row is not valid.
    """
    texts = _checked_keys(row)
    if not LIST_NAME.fullmatch(texts["list"]):
        raise ValueError("no list can have this name")
    entry = texts["entry"]
    if not 0 < len(entry) <= ENTRY_ID_MAX or not entry.isascii() or not entry.isprintable():
        raise ValueError("no entry can have this id")
    if not _SHA256.fullmatch(texts["sha256"]):
        raise ValueError("key 'sha256' is no SHA-256 in lower case")
    for key in ("until", "since"):
        if not _TIME.fullmatch(texts[key]):
            raise ValueError(f"key {key!r} is no time such as 2027-01-31T00:00:00Z")
    for key, most in (("reason", REASON_MAX), ("by", _BY_MAX)):
        if not texts[key].strip() or not is_printable_line(texts[key], most):
            raise ValueError(f"key {key!r} is not one printable line")
    return AcceptedMatch(**{field: texts[key] for key, field in _KEYS.items()})


def _invalid_file_error(path: Path, line: int, why: str) -> UsageError:
    return UsageError(
        f"{path}, line {line}: {why}",
        advice="Mend it, or restore it; `hashscan report accept` writes such files.",
    )
