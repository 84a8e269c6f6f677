"""Normalise attributes and styles of drawings (SVG) whose values all renderers read alike.

Browsers read more than resvg: other spellings of colours and lengths, functions, selectors, animations. A
value is passed on in one spelling, or refused. What neither of both draws is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from PIL import ImageColor

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
