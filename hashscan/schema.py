"""Decode, validate and encode JSON that others may have written.

Values are validated by msgspec structs: unknown keys are ignored, and no value is converted to another type
(neither `1.0` nor `true` nor `"1"` is an integer). Validation can hide nothing: an invalid value is an error
of the whole document, never left out.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from hashscan.text import printable

T = TypeVar("T")

TEXT_MAX = 4096
"""Maximum length of a `Text` in characters."""
NUMBER_MAX = 1 << 62
"""Largest `Count`."""
NEST_MAX = 16
"""Maximum nesting of objects and lists; none of our documents has more than eight levels."""
_MESSAGE_MAX = 200
"""Maximum length of each part of an error message; it may contain a value from the document."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_prepared: set[Any] = set()
"""The types that msgspec has examined."""
_preparing = threading.Lock()

Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
"""A number without a maximum: check it in `__post_init__`, since JSON may contain thousands of digits."""
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""A time as RFC 3339 writes it; the format is not checked."""


class InvalidDocumentError(ValueError):
    """An error for a document or value that is not valid; its message is short and printable."""


def decode_json(data: bytes, *, unique_keys: bool = False) -> Any:
    """Return the value of a JSON document in UTF-8; of a key that occurs twice the last value counts.

    With `unique_keys` a key that occurs twice is an error; this takes several times as long.

    Raises:
        InvalidDocumentError: the data is not JSON, has a number that is not finite or of more than 4300
            digits, or is nested too deeply.
    """
    try:
        try:
            value = _strict_decoder.decode(data.decode("utf-8")) if unique_keys else _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Only the standard library reads lone surrogates, which are in names from Python's file system.
            value = _lenient_decoder.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError("this is not JSON") from error
    if data.count(b"{") + data.count(b"[") > NEST_MAX and _is_deep(value):
        # Encoding fails on data that is nested much deeper.
        raise InvalidDocumentError("this is nested too deeply")
    return value


def encode_json(value: Any) -> bytes:
    """Return the value as JSON on one line, in printable ASCII: names can pass no control characters."""
    try:
        data = _encode(value)
    except (UnicodeEncodeError, OverflowError):
        data = b"\x7f"
    if data.isascii() and b"\x7f" not in data:
        return data
    return _encode_ascii(msgspec.to_builtins(value)).encode("ascii")


def validated(value: Any, shape: type[T], *, strict: bool = True) -> T:
    """Return a decoded JSON value as an object of this type.

    Args:
        strict: False to read numbers and booleans from texts, such as parameters of an address.

    Raises:
        InvalidDocumentError: the value is not valid; the message names the field.
    """
    if shape not in _prepared:
        _prepare(shape)
    try:
        return msgspec.convert(value, shape, strict=strict)
    except UnicodeEncodeError:
        place = next(_places_of_surrogates(value), "")[:_MESSAGE_MAX]
        raise InvalidDocumentError(f"{printable(place).lstrip('.')}: not Unicode, a lone surrogate") from None
    except msgspec.ValidationError as error:
        # The reason may repeat a value or an unknown key, which may contain the separator, too.
        reason, _, place = str(error).replace("`", "").partition(" - at $")
        reason, place = (printable(text[:_MESSAGE_MAX])[:_MESSAGE_MAX] for text in (reason, place))
        raise InvalidDocumentError(f"{place.removeprefix('.')}: {reason}" if place else reason) from None


def _prepare(shape: Any) -> None:
    """Have msgspec examine a type, before several threads use it.

    A thread that meets a struct which another one is examining crashes the process (msgspec 0.22).
    """
    with _preparing:
        msgspec.json.Decoder(shape)
        _prepared.add(shape)


def _places_of_surrogates(value: Any, place: str = "") -> Iterator[str]:
    """Yield the places of texts with lone surrogates in a decoded JSON value."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            yield place
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _places_of_surrogates(key, f"{place}, a key")
            yield from _places_of_surrogates(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _places_of_surrogates(inner, f"{place}[{number}]")


def json_schemas(types: Iterable[Any], reference: str) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return JSON Schemas of types, and those of the types that they use, by name.

    Patterns are regular expressions of ECMA 262, where `^` and `$` are what `\\A` and `\\Z` are in Python.

    Args:
        reference: form of a reference to a used type, with `{name}`.
    """
    found, used = msgspec.json.schema_components(types, ref_template=reference)
    return _portable(found), _portable(used)


def _portable(schema: Any) -> Any:
    """Return schemas with patterns of ECMA 262, and no indentation, which some versions of msgspec keep."""
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            schema = {**schema, "description": schema["description"].replace("\n    ", "\n")}
        if isinstance(schema.get("pattern"), str):
            schema = {**schema, "pattern": re.sub(r"\A\\A(.*)\\Z\Z", r"^\1$", schema["pattern"])}
        return {key: _portable(value) for key, value in schema.items()}
    return list(map(_portable, schema)) if isinstance(schema, list | tuple) else schema


def decode_file(data: bytes, shape: type[T], schema: int = 1) -> T:
    """Return the content of one of our own files, whose member `schema` is the version of its form.

    Raises:
        InvalidDocumentError: the data is not JSON, not valid, or of another version; or it lacks members, or
            has others.
    """
    document = decode_json(data)
    if not isinstance(document, dict) or document.pop("schema", None) != schema:
        raise InvalidDocumentError("another version of hashscan wrote it")
    content = validated(document, shape)
    if _sorted(msgspec.to_builtins(content)) != _sorted(document):
        raise InvalidDocumentError("it has not exactly the members that it needs")
    return content


def encode_file(content: Any, schema: int = 1) -> bytes:
    """Return a file for `decode_file`, in lines; `content` is a dataclass, a struct or a mapping."""
    document = encode_json({"schema": schema, **msgspec.to_builtins(content)})
    return msgspec.json.format(document, indent=1) + b"\n"


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(text)
    return number


def _is_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(NEST_MAX):
        inside = (
            value for outer in level for value in (outer.values() if isinstance(outer, dict) else outer)
        )
        level = [value for value in inside if isinstance(value, dict | list)]
        if not level:
            return False
    return True


_decoder = msgspec.json.Decoder()
_lenient_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_strict_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
_sorted = json.JSONEncoder(sort_keys=True).encode
_encode = msgspec.json.Encoder().encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
