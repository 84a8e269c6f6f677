"""Read the source of a drawing (SVG), and write it anew without what could be drawn in different ways.

Browsers draw more than resvg: animations, HTML, scripts, styles of all kinds, letters. A drawing that may
show a picture by them is refused. What is written has one namespace and encoding, no entities, and refers to
nothing outside of itself.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from hashscan.hashing.svg.values import (
    PREFERRED,
    SPACE,
    RefusedError,
    attribute,
    content_of_url,
    declarations,
    decoded,
    natural_size,
    rules,
    view_box_of,
)

_SVG, _XLINK = "http://www.w3.org/2000/svg ", "http://www.w3.org/1999/xlink "
_XHTML = "http://www.w3.org/1999/xhtml"
_MARKUP_NAMES = (_XHTML, "http://www.w3.org/1998/Math/MathML")

DEPTH_MAX = 200
"""Elements within each other; resvg crashes at some thousands."""
_NESTED_MAX = 2
"""Drawings as pictures within each other."""
_ORIENTATION = 0x0112
_PIXELS_MAX = 64_000_000
_LETTERS_ODD_MAX = 16
"""Symbols in a text that could be parts of a picture, such as blocks."""
_TEXTS_COLOURED_MAX = 256

_SHAPES = frozenset(["path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "image", "use"])
_KEPT = _SHAPES | frozenset(
    (
        *("svg", "g", "defs", "symbol", "linearGradient", "radialGradient", "stop", "clipPath"),
        *("mask", "pattern", "style", "a", "marker", "filter", "feBlend", "feColorMatrix"),
        *("feComponentTransfer", "feComposite", "feConvolveMatrix", "feDiffuseLighting"),
        *("feDistantLight", "feDropShadow", "feFlood", "feFuncA", "feFuncB"),
        *("feFuncG", "feFuncR", "feGaussianBlur", "feMerge", "feMergeNode", "feMorphology"),
        *("feOffset", "fePointLight", "feSpecularLighting", "feSpotLight", "feTile"),
        *("feTurbulence", "switch"),
    )
)
_TEXT = frozenset(["text", "tspan", "textPath", "tref"])
_DROPPED = frozenset(
    (
        *("title", "desc", "metadata", "view", "cursor", "color-profile", "font", "font-face"),
        *("font-face-src", "font-face-uri", "font-face-name", "font-face-format", "glyph"),
        *("missing-glyph", "hkern", "vkern", "flowRoot", "flowRegion", "flowPara", "flowSpan"),
        *("flowDiv", "flowLine", "altGlyph", "altGlyphDef", "altGlyphItem", "glyphRef"),
        *("solidColor", "meshgradient", "hatch"),
    )
)
"""Elements that no browser draws."""
_NOT_IN_SHEETS = frozenset({"transform", "display", "mask"})
"""Properties whose effect depends on the element: see `_check_element`."""
_SYMBOL_SIZE = frozenset({"x", "y", "width", "height", "refX", "refY"})
_DISPLAYED = _SHAPES | {"g", "a", "text", "switch"}
_REFERRING = {"clip-path": "clipPath", "mask": "mask", "filter": "filter"}
"""By attribute, the element that it refers to: of another, browsers and resvg make different pictures."""
_HTML = frozenset(
    (
        *("html", "body", "div", "span", "p", "b", "i", "u", "s", "em", "strong", "br", "font"),
        *("small", "sub", "sup", "label", "code", "pre", "center"),
    )
)
_HTML_STYLE = re.compile(
    r"(?:url|gradient|image|element|paint|cross-fade)\s*\(|\bbackground|shadow|border|outline|mask|content\s*:",
    re.IGNORECASE,
)

_STYLESHEET = "xml-stylesheet"
_DATA = re.compile(r"data:([^,]*),(.*)", re.IGNORECASE | re.DOTALL)
_NO_SPACES = dict.fromkeys(map(ord, " \t\r\n"))
_TARGET = re.compile(r"#([^\s()\"'\\%]+)")
_PICTURES = {"PNG": "png", "JPEG": "jpeg", "GIF": "gif", "WEBP": "webp"}


class Drawing(NamedTuple):
    """A drawing as it is given to the renderer."""

    source: str
    """Its elements; empty if browsers show nothing of it."""
    root: str
    """Attributes of its root element, without the size."""
    size: tuple[float, float]
    """Width and height in pixels of CSS."""
    broken: bool
    """True if its markup has a fault: browsers show the part before it, and only in a window of their own."""
    has_dark: bool
    """True if it has styles for viewers that prefer dark colours."""

    def sized(self, width: int, height: int) -> str:
        return (
            f'<svg xmlns="{_SVG.strip()}" xmlns:xlink="{_XLINK.strip()}" width="{width}" height="{height}"'
            f"{self.root}>{self.source}</svg>"
        )


def read_drawing(content: bytes, nested: int = 0, *, dark: bool = False) -> Drawing:
    """Return a drawing without what could be drawn in different ways, of one within so many others;
    RefusedError if browsers may show another picture than the renderer. `dark` applies the styles for viewers
    that prefer dark colours."""
    reader = _Reader(nested, dark=dark)
    text = decoded(content)
    reader.source = text
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.ProcessingInstructionHandler = reader.instruction
    parser.EntityDeclHandler = reader.entity
    broken = False
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError:
        broken = True
    except _NoDrawing:
        pass
    return reader.drawing(broken=broken)


class _Reader:
    """The state of reading one drawing."""

    def __init__(self, nested: int, *, dark: bool) -> None:
        self._nested, self._dark = nested, dark
        self.source = ""
        self._has_dark = self._has_entities = False
        self._out: list[str] = []
        self._ends: list[str] = []
        """The end of each open element; empty for those that are left out."""
        self._left_out = self._in_text = self._in_html = self._in_switch = 0
        """Open elements that are left out, of text, and of HTML."""
        self._style: list[str] | None = None
        self._root = ""
        self._size: tuple[float, float] | None = None
        self._shown = False
        self._ids: dict[str, str] = {}
        self._referred: list[tuple[str, str]] = []
        self._twice = self._by_id = False
        self._odd = self._coloured = self._letters = 0
        self._colours: set[str] = set()
        self._patterns = False
        self._within: list[str] = []
        self._switched: list[bool] = []

    def drawing(self, *, broken: bool) -> Drawing:
        if broken and not self._shown:
            # Browsers read on behind some faults.
            raise RefusedError("fault")
        if self._size is None:
            return Drawing("", "", (1, 1), broken, False)
        if self._letters and (
            self._patterns
            or self._odd > _LETTERS_ODD_MAX
            or (self._coloured > _TEXTS_COLOURED_MAX and len(self._colours) > _LETTERS_ODD_MAX)
        ):
            raise RefusedError("letters")
        if self._twice and self._by_id:
            raise RefusedError("id")
        self._check_references()
        self._out += reversed(self._ends[1:])
        return Drawing("".join(self._out), self._root, self._size, broken, self._has_dark)

    def instruction(self, target: str, data: str) -> None:
        if target.lower() == _STYLESHEET:
            raise RefusedError(target)

    def entity(self, name: str, is_parameter: bool, *rest: object) -> None:
        if is_parameter:
            raise RefusedError(f"%{name};")
        self._has_entities = True

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        is_svg = f"{namespace} " == _SVG
        if not self._within:
            self._start_root(name if is_svg else "", attributes)
            return
        self._within.append(name if is_svg else "")
        if len(self._within) > DEPTH_MAX:
            raise RefusedError("depth")
        if not is_svg:
            if namespace in _MARKUP_NAMES:
                self._check_html(name, attributes)
            self._leave_out()
        elif name == "style":
            self._start_style(attributes)
        elif not self._is_drawn(attributes) or name in _DROPPED:
            self._leave_out()
        else:
            self._start_drawn(name, attributes)

    def _start_root(self, name: str, attributes: dict[str, str]) -> None:
        if name != "svg":
            # Browsers refuse to show it as a picture.
            raise _NoDrawing
        self._within.append(name)
        self._read_root(attributes)
        self._ends.append("")

    def _start_style(self, attributes: dict[str, str]) -> None:
        is_css = attributes.get("type", "text/css").strip(SPACE).lower() in {"", "text/css"}
        self._style = [] if is_css else None
        if attributes.get("media", "all").strip(SPACE).lower() not in {"", "all", "screen"}:
            raise RefusedError("media")
        self._ends.append("")

    def _start_drawn(self, name: str, attributes: dict[str, str]) -> None:
        if name == "foreignObject":
            self._in_html += 1
            self._left_out += 1
            self._ends.append("foreignObject")
        elif name in _TEXT:
            self._start_text(attributes)
        elif name in _KEPT:
            self._start_kept(name, attributes)
        else:
            raise RefusedError(name)

    def _leave_out(self) -> None:
        self._ends.append("-")
        self._left_out += 1

    def _is_drawn(self, attributes: dict[str, str]) -> bool:
        """Return True if an element's conditions hold, and it is the first such element of a `switch`."""
        wanted = attributes.get("requiredExtensions")
        if wanted is not None and any(each in _MARKUP_NAMES for each in wanted.split()):
            raise RefusedError("requiredExtensions")
        drawn = wanted is None
        if "systemLanguage" in attributes:
            raise RefusedError("systemLanguage")
        if self._within[-2] == "switch" and drawn and self._switched:
            drawn, self._switched[-1] = not self._switched[-1], True
        return drawn

    def _check_html(self, name: str, attributes: dict[str, str]) -> None:
        if not self._in_html:
            raise RefusedError(name)
        if name not in _HTML or _HTML_STYLE.search(attributes.get("style", "")):
            raise RefusedError(name)

    def _start_text(self, attributes: dict[str, str]) -> None:
        if self._left_out and not self._in_text:
            # Copied by `use`, it would be seen.
            self._leave_out()
            return
        if any(each in {"clipPath", "mask", "pattern"} for each in self._within):
            raise RefusedError("letters")
        self._kept_attributes("text", attributes)
        colour = attributes.get("fill", "") + attributes.get("style", "") + attributes.get("class", "")
        if colour:
            self._coloured += 1
            self._colours.add(colour)
        self._in_text += 1
        self._left_out += 1
        self._ends.append("text")

    def _start_kept(self, name: str, attributes: dict[str, str]) -> None:
        if self._left_out:
            raise RefusedError(f"{name} in {self._within[-2]}")
        kept = self._kept_attributes(name, attributes)
        if name == "switch":
            self._switched.append(False)
            name = "g"
        if name == "pattern":
            self._patterns = True
        if name in _SHAPES:
            self._shown = True
        self._out.append(f"<{name}{kept}>")
        self._ends.append(f"</{name}>")

    def _kept_attributes(self, element: str, attributes: dict[str, str]) -> str:
        kept: dict[str, str] = {}
        for name, value in attributes.items():
            if name == "class":
                kept[name] = value
            elif name == "id":
                self._take_id(value, kept, element)
            elif name not in {"style", "href"} and " " not in name:
                known = attribute(name, value)
                if known is not None:
                    kept[name] = known
        styles = _styles(attributes.get("style", ""))
        if styles:
            if "transform" in styles:
                kept["transform"] = styles.pop("transform")
            kept["style"] = ";".join(f"{name}:{value}" for name, value in styles.items())
        self._check_element(element, kept, styles)
        target = attributes.get("href", attributes.get(f"{_XLINK}href"))
        if target is not None and element not in {"a", "text"}:
            kept["xlink:href"] = self._link(element, target.strip(SPACE))
        return "".join(f" {name}={quoteattr(value)}" for name, value in kept.items() if value)

    def _check_element(self, element: str, kept: Mapping[str, str], styles: Mapping[str, str]) -> None:
        """Check the properties that renderers apply to some elements only."""
        odd = {
            "svg": {"transform"},
            "symbol": _SYMBOL_SIZE,
            "mask": {"mask"},
        }.get(element, set())
        if element not in _DISPLAYED and kept.get("display", styles.get("display", "inline")) != "inline":
            raise RefusedError("display")
        if any(name in kept or name in styles for name in odd):
            raise RefusedError(element)
        for name, referred in _REFERRING.items():
            for value in (kept.get(name, ""), styles.get(name, "")):
                if value.startswith("url"):
                    self._referred.append((value[5 : value.index(")")], referred))

    def _check_references(self) -> None:
        for target, referred in self._referred:
            found = self._ids.get(target)
            if found != referred and (found is not None or referred == "filter"):
                raise RefusedError(f"{referred} {target}")

    def _take_id(self, value: str, kept: dict[str, str], element: str) -> None:
        if value in self._ids:
            # Browsers refer to the first.
            self._twice = True
        else:
            self._ids[value] = element
            kept["id"] = value

    @cached_property
    def _joined(self) -> str:
        return self.source.translate(_NO_SPACES)

    def _link(self, element: str, target: str) -> str:
        if _TARGET.fullmatch(target):
            return target
        if element == "image":
            found = _DATA.fullmatch(target)
            if found is None:
                if target.startswith("#"):
                    raise RefusedError(target)
                # A file of its own.
                return ""
            if self._has_entities and found[2].translate(_NO_SPACES) not in self._joined:
                # The picture alone would not be found in the text.
                raise RefusedError("entity")
            return _picture(content_of_url(found[1], found[2]), self._nested, dark=self._dark)
        if target in {"", "#"}:
            return ""
        raise RefusedError(f"{element} {target[:80]}")

    def _read_root(self, attributes: dict[str, str]) -> None:
        attributes = dict(attributes)
        size = {name: attributes.pop(name, "") for name in ("width", "height")}
        for name in ("x", "y"):
            attributes.pop(name, None)
        style, left = attributes.pop("style", ""), []
        if not style.isascii():
            raise RefusedError("style")
        for each in style.split(";"):
            name, _, value = each.partition(":")
            name, value = name.strip().lower(), value.strip()
            if name in size:
                size[name] = value
            elif name not in {"max-width", "max-height"}:
                left.append(each)
        if any(left):
            attributes["style"] = ";".join(left)
        if "transform" in attributes:
            raise RefusedError("transform")
        view_box = view_box_of(attributes.pop("viewBox", ""))
        self._size = natural_size(size["width"], size["height"], view_box)
        if view_box is None:
            view_box = (0, 0, *self._size)
        kept = self._kept_attributes("svg", attributes)
        self._root = f' viewBox="{" ".join(f"{number:.9g}" for number in view_box)}"{kept}'

    def characters(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)
        elif self._in_text and not data.isspace():
            self._letters += 1
            if not data.isascii():
                self._odd += sum(unicodedata.category(each) in {"So", "Co", "Cn"} for each in data)

    def end(self, tag: str) -> None:
        name = self._within.pop()
        end = self._ends.pop()
        if name == "style" and self._style is not None:
            self._write_style("".join(self._style))
            self._style = None
        if end in {"-", "text", "foreignObject"}:
            self._left_out -= 1
            self._in_text -= end == "text"
            self._in_html -= end == "foreignObject"
        else:
            if name == "switch":
                self._switched.pop()
            self._out.append(end)

    def _write_style(self, text: str) -> None:
        lines = []
        self._has_dark = self._has_dark or PREFERRED.search(text) is not None
        for selectors, kept in rules(text, "dark" if self._dark else "light"):
            self._by_id = self._by_id or "#" in selectors
            if any(name in _NOT_IN_SHEETS for name, _ in kept):
                raise RefusedError(selectors)
            lines.append(f"{selectors}{{{';'.join(f'{name}:{value}' for name, value in kept)}}}")
        if lines:
            self._out.append(f"<style>{escape(' '.join(lines))}</style>")


def _styles(text: str) -> dict[str, str]:
    """Return the properties of an element's style."""
    found: dict[str, str] = {}
    for name, value in declarations(text):
        if "!" in value or "!" not in found.get(name, ""):
            found[name] = value
    return found


class _NoDrawing(Exception):
    """The root element is not one of a drawing."""


def _picture(content: bytes, nested: int, *, dark: bool) -> str:
    """Return a picture within a drawing as an URL; empty if it is none; RefusedError if the renderer can't
    draw it, or browsers show more of it."""
    if b"svg" in content[:4096] and content.lstrip()[:1] == b"<":
        if nested >= _NESTED_MAX:
            raise RefusedError("depth")
        inner = read_drawing(content, nested + 1, dark=dark)
        if inner.has_dark and not dark:
            raise RefusedError("media")
        if inner.broken:
            return ""
        width, height = inner.size
        # Sizes are those of the drawing around it.
        whole = inner.sized(1, 1).replace(
            'width="1" height="1"', f'width="{width:.9g}" height="{height:.9g}"', 1
        )
        return f"data:image/svg+xml;base64,{base64.b64encode(whole.encode()).decode()}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=list(_PICTURES)) as image:
                kind = _PICTURES[image.format or ""]
                if getattr(image, "n_frames", 1) > 1 or image.getexif().get(_ORIENTATION, 1) not in {0, 1}:
                    raise RefusedError("image")
                if image.width * image.height > _PIXELS_MAX:
                    raise RefusedError("image")
    except RefusedError:
        raise
    except Exception as error:
        # Any exception of a decoder.
        raise RefusedError("image") from error
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
