"""Read what drawings (SVG) write in forms of their own: their text, their size, and `data:` URLs."""

from __future__ import annotations

import codecs
import re
from urllib.parse import unquote_to_bytes

from hashscan.hashing.recognition.text_proof import base64_content
from hashscan.hashing.svg.values import HUGE, NUMBER, SPACE, RefusedError

for _name in ("cp1252", "utf-16-le", "utf-16-be"):
    # The sandbox can't load them.
    codecs.lookup(_name)

_DECLARED = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)[\"']")
_LATIN = frozenset({"iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252", "us-ascii", "ascii"})
_UTF8 = frozenset({"utf-8", "utf8"})
_SIZE = re.compile(rf"({NUMBER})(px|pt|pc|mm|cm|in|em|rem|ex|)", re.IGNORECASE | re.ASCII)
_UNITS = {
    "pt": 4 / 3,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    "em": 16.0,
    "rem": 16.0,
    "ex": 8.0,
}
_VIEW_BOX = re.compile(rf"({NUMBER})[\s,]+({NUMBER})[\s,]+({NUMBER})[\s,]+({NUMBER})", re.ASCII)
_SIDES = 1e-6, 1e9
"""Least and greatest length of a side, in pixels or units."""


def decoded(content: bytes) -> str:
    """Return a drawing's text, decoded as browsers do."""
    if content.startswith(b"\xef\xbb\xbf"):
        return content[3:].decode("utf-8", "replace")
    for mark, start, name in (
        (b"\xff\xfe", b"<\0?\0", "utf-16-le"),
        (b"\xfe\xff", b"\0<\0?", "utf-16-be"),
    ):
        if content.startswith(mark):
            return content[2:].decode(name, "replace")
        if content.startswith(start):
            return content.decode(name, "replace")
    found = _DECLARED.match(content)
    name = found[1].decode().lower() if found else "utf-8"
    if name in _LATIN:
        return content.decode("cp1252", "replace")
    if name not in _UTF8 and not (content.isascii() and b"\x1b" not in content and b"~" not in content):
        raise RefusedError(name)
    return content.decode("utf-8", "replace")


def view_box_of(text: str) -> tuple[float, float, float, float] | None:
    """Return the numbers of a `viewBox`; None if it has no effect."""
    text = text.strip(SPACE)
    if not text:
        return None
    found = _VIEW_BOX.fullmatch(text)
    if found is None or HUGE.search(text):
        raise RefusedError("viewBox")
    x, y, width, height = map(float, found.groups())
    _check_sides(width, height)
    return x, y, width, height


def _check_sides(*sides: float) -> None:
    if not all(_SIDES[0] < side < _SIDES[1] for side in sides):
        raise RefusedError("size")


def natural_size(
    width: str, height: str, view_box: tuple[float, float, float, float] | None
) -> tuple[float, float]:
    """Return the size in which browsers show a drawing."""
    across, down = _pixels(width), _pixels(height)
    ratio = view_box[2] / view_box[3] if view_box else None
    if across is None and down is None:
        # The largest that fits into the size of what has none.
        across = min(300.0, 150.0 * ratio) if ratio else 300.0
        down = across / ratio if ratio else 150.0
    elif across is None:
        assert down is not None
        across = down * ratio if ratio else 300.0
    elif down is None:
        down = across / ratio if ratio else 150.0
    _check_sides(across, down)
    return across, down


def _pixels(text: str) -> float | None:
    text = text.strip(SPACE)
    if not text or text.endswith("%") or text == "auto":
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise RefusedError(text[:80])
    return float(found[1]) * _UNITS.get(found[2].lower(), 1.0)


def content_of_url(kind: str, body: str) -> bytes:
    """Return the content of a `data:` URL by its type and by its part behind the comma."""
    content = unquote_to_bytes(body.partition("#")[0])
    if not kind.strip(SPACE).lower().endswith("base64"):
        return content
    return base64_content(content.translate(None, b" \t\r\n\f"))
