"""Normalise attributes, styles, sizes, texts and `data:` URLs of drawings (SVG).

Browsers read more than resvg: other spellings of colours and lengths, functions, selectors, animations. A
value is passed on in one spelling, which all renderers read alike, or refused. What neither of both draws is
left out.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from PIL import ImageColor

from hashscan.hashing.recognition.text_proof import base64_content

NUMBER = r"[-+]?(?:\d{1,9}(?!\d)(?:\.\d+)?|\.\d+)(?:[eE](?:-\d{1,2}|\+?\d)(?!\d))?"
SPACE = " \t\r\n\f"
"""White space of XML and CSS. Python knows more, which other renderers take for letters."""
HUGE = re.compile(r"(?<![.\d])\d{10}|\d[eE]\+?\d{2}")
"""Numbers beyond what renderers compute alike."""
_LENGTH = re.compile(rf"({NUMBER})(px|pt|pc|mm|cm|in|%|)", re.IGNORECASE)
_LENGTHS = re.compile(rf"none|(?:(?>{NUMBER})(?:px|pt|pc|mm|cm|in|%)?+[\s,]*+)++", re.IGNORECASE)
_URL = r"url\(\s*(?:#([^\s()\"'\\%]+)|\"\s*#([^()\"\\%]+?)\s*\"|'\s*#([^()'\\%]+?)\s*')\s*\)"
_REFERENCE = re.compile(_URL, re.IGNORECASE | re.ASCII)
_PART = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*"
_PERCENT = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)%\s*"
_ALPHA = rf"(?:,{_PART})?\)"
_COLOUR = (
    r"(?:#[0-9a-f]{3,4}|#[0-9a-f]{6}|#[0-9a-f]{8}|[a-z]+"
    rf"|rgba?\((?:{_PART},{_PART},{_PART}|{_PERCENT},{_PERCENT},{_PERCENT}){_ALPHA}"
    rf"|hsla?\({_PART},{_PERCENT},{_PERCENT}{_ALPHA})"
)
_REFERENCE_MAX = 1000
"""Characters of a reference: the time for the expressions may grow with the square of their number."""
_PAINT = re.compile(rf"(?:{_URL}\s*)?({_COLOUR})?", re.IGNORECASE | re.ASCII)
_LISTED = re.compile(r"[\w\s.,%+#/-]*")
"""Numbers and words of attributes in which all renderers agree: paths, points, names, units."""
_SPACE = r"(?:\s++(?:,\s*+)?|,\s*+)?+"
_FLAG = rf"[01]{_SPACE}"
_ARGUMENT = rf"(?>{NUMBER}){_SPACE}"
_PATH = re.compile(
    rf"\s*+(?:none|[Mm]\s*+(?:(?:{_ARGUMENT}){{2}})++(?:[Zz]\s*+|[MmLlTt]\s*+(?:(?:{_ARGUMENT}){{2}})++"
    rf"|[HhVv]\s*+(?:{_ARGUMENT})++|[Cc]\s*+(?:(?:{_ARGUMENT}){{6}})++|[SsQq]\s*+(?:(?:{_ARGUMENT}){{4}})++"
    rf"|[Aa]\s*+(?:(?:{_ARGUMENT}){{3}}{_FLAG}{_FLAG}(?:{_ARGUMENT}){{2}})++)*+)?+"
)
"""Path data without a fault: browsers draw what precedes one."""
_POINTS = re.compile(rf"\s*+(?:{_ARGUMENT})*+")
_STEP = rf"(?:matrix|translate|scale|rotate|skewX|skewY)\s*+\(\s*+(?:(?>{NUMBER})[\s,]*+)++\)"
_TRANSFORM = re.compile(rf"none|(?:{_STEP}[\s,]*+)*+")
_STYLE_STEP = (
    rf"(?:(?:matrix|scale)\s*+\(\s*+(?:(?>{NUMBER})(?:\s*+,\s*+|(?=\))))++\)"
    rf"|translate\s*+\(\s*+(?:(?>{NUMBER}px|[+-]?0(?![\d.]))(?:\s*+,\s*+|\s*+(?=\))))++\)"
    rf"|(?:rotate|skewX|skewY)\s*+\(\s*+(?>{NUMBER}deg|[+-]?0(?![\d.]))\s*+\))"
)
_STYLE_TRANSFORM = re.compile(rf"none|{_STYLE_STEP}(?:\s*+{_STYLE_STEP})*+")
_UNIT = re.compile(r"(?<=[\d.])(?:px|deg)")
_HEX = re.compile(r"[0-9a-f]+")
_COLOURS = frozenset(ImageColor.colormap) | {"none", "transparent", "inherit"}

_LENGTH_NAMES = frozenset(
    (
        *("x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "x1", "y1", "x2", "y2", "fx"),
        *("fy", "fr", "dx", "dy", "refX", "refY", "markerWidth", "markerHeight", "startOffset"),
        *("stroke-width", "stroke-dashoffset", "offset", "opacity", "fill-opacity"),
        *("stroke-opacity", "stop-opacity", "flood-opacity", "stroke-miterlimit"),
    )
)
_COLOUR_NAMES = frozenset(["fill", "stroke", "stop-color", "flood-color", "lighting-color", "color"])
_REFERENCE_NAMES = frozenset(
    (*("clip-path", "mask", "filter", "marker", "marker-start", "marker-mid", "marker-end"),)
)
_BLENDING = (
    "normal multiply screen overlay darken lighten color-dodge color-burn hard-light soft-light difference"
    " exclusion hue saturation color luminosity"
)
_WORDS = {
    name: frozenset(words.split()) | {"inherit"}
    for name, words in {
        "fill-rule": "nonzero evenodd",
        "clip-rule": "nonzero evenodd",
        "stroke-linecap": "butt round square",
        "stroke-linejoin": "miter round bevel",
        "display": "none inline block inline-block flex",
        "visibility": "visible hidden collapse",
        "overflow": "visible hidden auto scroll",
        "color-interpolation": "srgb auto",
        "color-interpolation-filters": "srgb linearrgb auto",
        "mix-blend-mode": _BLENDING,
        "isolation": "auto isolate",
        "mask-type": "luminance alpha",
    }.items()
}
_OTHER_WORDS = frozenset(["butt", "square", "nonzero", "evenodd", "none", "bold", "sans-serif"])
"""Words that drawings have by mistake where they mean nothing."""
_LISTS = frozenset(
    (
        *("d", "points", "viewBox", "preserveAspectRatio", "gradientUnits", "spreadMethod"),
        *("patternUnits", "patternContentUnits", "clipPathUnits", "maskUnits"),
        *("maskContentUnits", "markerUnits", "orient", "filterUnits", "primitiveUnits", "in"),
        *("in2", "result", "mode", "type", "values", "operator", "k1", "k2", "k3", "k4", "order"),
        *("kernelMatrix", "divisor", "bias", "targetX", "targetY", "edgeMode", "preserveAlpha"),
        *("surfaceScale", "diffuseConstant", "specularConstant", "specularExponent", "scale"),
        *("xChannelSelector", "yChannelSelector", "stdDeviation", "azimuth", "elevation", "z"),
        *("pointsAtX", "pointsAtY", "pointsAtZ", "limitingConeAngle", "radius", "baseFrequency"),
        *("numOctaves", "seed", "stitchTiles", "tableValues", "slope", "intercept", "amplitude"),
        *("exponent", "paint-order"),
    )
)
_FORMS = {
    **dict.fromkeys(_LISTS, _LISTED),
    **dict.fromkeys(("transform", "gradientTransform", "patternTransform"), _TRANSFORM),
    "d": _PATH,
    "points": _POINTS,
}
_WITHOUT_EFFECT = re.compile(
    r"-(?:-|inkscape-|moz-|ms-|o-|khtml-|sodipodi-).*|font(?:-.*)?|text-(?!shadow).*|letter-spacing|word-.*"
    r"|white-space|line-height|direction|writing-mode|unicode-bidi|dominant-baseline|alignment-baseline|baseline-shift"
    r"|cursor|pointer-events|shape-(?:rendering|padding|inside|margin|subtract)|color-(?:rendering|profile)"
    r"|image-rendering|enable-background|user-select|will-change|kerning|glyph-orientation-.*|solid-.*|clip"
    r"|block-progression|tab-size|speak|inline-size|transition(?:-.*)?|animation(?:-.*)?|buffered-rendering"
    r"|vertical-align|box-sizing|gradient-.*|-webkit-(?:font-.*|text-.*|user-.*|tap-.*|touch-.*|animation.*"
    r"|transition.*)|list-style.*|orphans|widows|quotes|page-break-.*|paint-.*-role|marker-offset|src|isolation"
    r"|flex(?:-.*)?|stroke-(?:align(?:ment)?|cap|join)|margin(?:-.*)?"
)
"""Properties that change nothing in the pictures of browsers, or only letters, which are not drawn."""
_GEOMETRY = frozenset({"d", "points", "x", "y", "width", "height", "cx", "cy", "r", "rx", "ry"})
"""Attributes that are written otherwise in styles, or mean nothing there."""
_REFUSED = frozenset({"vector-effect", "pathLength", "transform-origin", "transform-box", "systemLanguage"})
"""Attributes that browsers apply and resvg does not, or not always."""
_ASCII = frozenset({*_FORMS, *_LENGTH_NAMES, *_WORDS, "stroke-dasharray"})
"""Attributes that no renderer reads with other characters, not even with other digits or spaces."""

_COMMENT = re.compile(r"/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)", re.ASCII)
_DECLARATION = re.compile(
    r"\s*+(?:([\w-]++)\s*+:\s*+((?:[^;{}()\"'\\]|\([^()]*+\)|\"[^\"\\]*+\"|'[^'\\]*+')*+))?(?:;|$)",
    re.ASCII,
)
_RULE = re.compile(
    r"\s*([^{}@]+)\{([^{}]*)\}\s*;?|\s*@font-face\s*\{([^{}]*)\}|\s*@charset\s+[^;{}]*;", re.ASCII
)
PREFERRED = re.compile(
    r"@media\s*\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)\s*\{((?:[^{}]*+\{[^{}]*+\})*+)\s*\}",
    re.IGNORECASE | re.ASCII,
)
"""Rules for viewers that prefer dark or light colours."""
_SIMPLE = r"(?=[\w*.#-])(?>(?:[\w-]+|\*)?)(?>(?:[.#][A-Za-z_-][\w-]*)*)"
_SELECTOR = re.compile(rf"{_SIMPLE}(?:(?>\s*>\s*|\s+){_SIMPLE})*+")
_PSEUDO = re.compile(r".*:(?:hover|focus|active|visited|focus-visible|focus-within)\b[^,]*", re.DOTALL)
"""Selectors of what a still picture never is."""


class RefusedError(Exception):
    """Error: renderers may draw this differently, so that what is shown is not known."""


def attribute(name: str, value: str) -> str | None:
    """Return an attribute's value as all renderers read it; None if it has no effect; RefusedError if
    browsers may read it otherwise."""
    value = value.strip(SPACE)
    if not value.isascii() and (name in _ASCII or name in _REFUSED):
        raise RefusedError(f"{name}={value[:80]}")
    if name in _FORMS:
        return _kept(name, value, _FORMS[name].fullmatch(value))
    if name in _LENGTH_NAMES:
        return _length(name, value)
    if name in _COLOUR_NAMES:
        return _colour(name, value)
    if name in _REFERENCE_NAMES:
        return _reference(name, value)
    if name in _WORDS:
        lower = value.lower()
        lower = {"srgb": "sRGB", "linearrgb": "linearRGB"}.get(lower, lower)
        if lower.lower() in _WORDS[name]:
            return lower
        return _kept(name, "", lower in _OTHER_WORDS) or None
    if name == "stroke-dasharray":
        return _kept(name, value.lower(), value == "inherit" or _LENGTHS.fullmatch(value))
    if (name in _REFUSED and value not in {"", "none"}) or name.startswith("on"):
        raise RefusedError(name)
    return None


def _kept(name: str, value: str, fits: object) -> str:
    if not fits or HUGE.search(value):
        raise RefusedError(f"{name}={value[:80]}")
    return value


def _length(name: str, value: str) -> str:
    if value == "inherit":
        return value
    found = _LENGTH.fullmatch(value)
    if found is None and name in {"dx", "dy", "x", "y"} and _LISTED.fullmatch(value):
        # Lists of places are of letters.
        return "0"
    return _kept(name, value.lower(), found and not (name == "stroke-width" and value[0] == "-"))


def _colour(name: str, value: str) -> str | None:
    if value[:1].isalnum() and _HEX.fullmatch(value.lower()) and value.lower() not in _COLOURS:
        # Without its sign.
        return None
    found = _PAINT.fullmatch(value[:_REFERENCE_MAX])
    if len(value) > _REFERENCE_MAX or found is None:
        raise RefusedError(f"{name}={value[:80]}")
    target, colour = found[1] or found[2] or found[3], (found[4] or "").lower()
    if target and name not in {"fill", "stroke"}:
        raise RefusedError(f"{name}={value[:80]}")
    if colour == "currentcolor":
        colour = "currentColor"
    elif colour == "rebeccapurple":
        colour = "#663399"
    elif colour.isalpha() and colour not in _COLOURS:
        raise RefusedError(f"{name}={value[:80]}")
    return f"url(#{target}) {colour}".strip() if target else colour


def _reference(name: str, value: str) -> str:
    lower = value.lower()
    if lower in {"none", "inherit", ""}:
        return lower
    found = _REFERENCE.fullmatch(value[:_REFERENCE_MAX])
    if len(value) > _REFERENCE_MAX or found is None:
        raise RefusedError(f"{name}={value[:80]}")
    return f"url(#{found[1] or found[2] or found[3]})"


def declarations(text: str) -> Iterator[tuple[str, str]]:
    """Yield the declarations of a style that change a picture, with their values as of `attribute`;
    RefusedError if browsers may read them otherwise."""
    text = _COMMENT.sub(" ", text)
    at = 0
    while at < len(text):
        found = _DECLARATION.match(text, at)
        if found is None or found.end() == at:
            raise RefusedError(text[at : at + 80])
        at = found.end()
        if found[1] is None:
            continue
        name, value = found[1].lower(), found[2].strip(SPACE)
        if _WITHOUT_EFFECT.fullmatch(name) or not value:
            continue
        plain, important, rest = value.partition("!")
        if important and rest.strip(SPACE).lower() != "important":
            raise RefusedError(value)
        if name == "transform":
            # Written with units in a style, without in an attribute.
            plain = _UNIT.sub(
                "", _kept(name, plain.strip(SPACE), _STYLE_TRANSFORM.fullmatch(plain.strip(SPACE)))
            )
        if name in _GEOMETRY or (kept := attribute(name, plain)) is None:
            raise RefusedError(f"{name}: {value[:80]}")
        yield name, kept + (" !important" if important else "")


def rules(text: str, preferred: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the selectors and declarations of a style sheet for the colours (`light` or `dark`) that the
    viewer prefers; RefusedError if browsers may read them otherwise."""
    text = _COMMENT.sub(" ", text).replace("<!--", " ").replace("-->", " ")
    text = PREFERRED.sub(lambda found: found[2] if found[1].lower() == preferred else " ", text).strip(SPACE)
    at = 0
    while at < len(text):
        found = _RULE.match(text, at)
        if found is None:
            raise RefusedError(text[at : at + 80])
        at = found.end()
        if found[1] is None:
            if found[3] and "data:" in found[3].lower():
                # Its letters may be pictures.
                raise RefusedError("@font-face")
            continue
        selectors = [each.strip(SPACE) for each in found[1].split(",") if not _PSEUDO.fullmatch(each)]
        kept = list(declarations(found[2])) if selectors else []
        if kept and not (found[1].isascii() and all(map(_SELECTOR.fullmatch, selectors))):
            raise RefusedError(found[1])
        if kept:
            yield ", ".join(selectors), kept


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
