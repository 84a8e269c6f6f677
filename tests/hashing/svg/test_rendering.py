"""Tests of drawing SVG: what is drawn, what is refused, and what browsers show nothing of."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.pread import PreadFile
from hashscan.hashing.svg import rendering
from hashscan.hashing.svg.rendering import draw
from hashscan.hashing.svg.values import RefusedError
from tests.pictures import encoded, scene

NAMESPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = '<rect width="100" height="80" fill="red"/>'


def svg(body: str, more: str = 'width="100" height="80"', head: str = "") -> bytes:
    return f"{head}<svg {NAMESPACE} {more}>{body}</svg>".encode()


def within(content: bytes) -> bytes:
    """Return a drawing that shows another."""
    url = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return svg(f'<image width="100" height="80" href="{url}"/>')


def drawn(content: bytes) -> Image.Image:
    found = draw(PreadFile(content)).contents
    assert len(found) == 1
    with Image.open(io.BytesIO(found[0])) as picture:
        return picture.convert("RGBA")


def middle(content: bytes) -> tuple[int, ...]:
    picture = drawn(content)
    found = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(found, tuple)
    return found


IS_RED = {
    "plain": svg(RED),
    "prefix": b'<s:svg xmlns:s="http://www.w3.org/2000/svg" width="100" height="80">'
    b'<s:rect width="100" height="80" fill="red"/></s:svg>',
    "case": svg('<rect width="100PX" height="80" fill="RED"/>'),
    "entity": svg("&shape;", head=f"<!DOCTYPE svg [<!ENTITY shape '{RED}'>]>"),
    "default of an attribute": svg(
        '<rect width="100" height="80"/>', head='<!DOCTYPE svg [<!ATTLIST rect fill CDATA "red">]>'
    ),
    "latin": b'<?xml version="1.0" encoding="iso-8859-1"?>' + svg(f"<desc>\xe9</desc>{RED}"),
    "utf-16": f'<?xml version="1.0" encoding="UTF-16"?>{svg(RED).decode()}'.encode("utf-16"),
    "style sheet": svg('<style>.a, .b > c { fill: Red }</style><rect class="a" width="100" height="80"/>'),
    "style in metadata": svg(
        '<metadata><style>rect{fill:red}</style></metadata><rect width="100" height="80"/>'
    ),
    "style": svg('<rect width="100" height="80" style="fill: #F00; font-family: \'A\'"/>'),
    "second use of an id": svg(
        '<defs><linearGradient id="g"><stop stop-color="red"/></linearGradient>'
        '<linearGradient id="g"><stop stop-color="blue"/></linearGradient></defs>'
        '<rect width="100" height="80" fill="url(#g)"/>'
    ),
    "href before xlink:href": svg(
        '<defs><rect id="r" width="100" height="80" fill="red"/><rect id="b" width="100" height="80"/></defs>'
        '<use xlink:href="#b" href="#r"/>'
    ),
    "switch": svg(
        '<switch><foreignObject requiredExtensions="http://ns.adobe.com/x" width="1" height="1"/>'
        f'<g>{RED}</g><rect width="100" height="80"/></switch>'
    ),
    "nested drawing": within(svg(RED)),
    "letters": svg(f'{RED}<text fill="blue" x="50" y="40">&#169; 2026</text>'),
    "file of another": svg(f'{RED}<image width="100" height="80" href="/etc/hostname.png"/>'),
    "style that must not be replaced": svg(
        '<style>rect { fill: red !important }</style><rect width="100" height="80" style="fill: blue"/>'
    ),
    "last style": svg('<rect width="100" height="80" style="fill: red !important; fill: blue"/>'),
    "path": svg('<path d="M0,0h1e2 0v80.5.5L0 81-1-1a1 1 0 01.5.5T0 0Zm0 0" fill="red"/>'),
    "units": svg('<path d="M0 0h9"/><rect width="2in" height="3cm" fill="red"/>'),
    "transform as style": svg(
        '<rect width="10" height="10" fill="red" style="transform: scale(20) rotate(0deg)"/>'
    ),
    "parameters of a viewer": svg(RED, 'width="100" height="80" x:docname="a"', "").replace(
        b"<svg", b'<svg xmlns:x="urn:x"'
    ),
}


@pytest.mark.parametrize("name", IS_RED)
def test_is_drawn_as_browsers_do(name: str) -> None:
    assert middle(IS_RED[name]) == (255, 0, 0, 255)


STILL = "<rect/>"
_EXIF = Image.Exif()
_EXIF[0x0112] = 6
TURNED = base64.b64encode(encoded(scene(1, 16, 8), "JPEG", exif=_EXIF)).decode()
ANIMATION = base64.b64encode(
    encoded(scene(1, 16, 16), "GIF", save_all=True, append_images=[scene(2, 16, 16)])
).decode()
REFUSED = {
    "huge size": svg(RED, 'width="1e999" height="80"'),
    "huge size in a style": svg(RED, 'style="width:1e999px"'),
    "minute size": svg(RED, 'width="1e-300" height="80"'),
    "numbers of Python alone": svg(RED, 'viewBox="0 0 1_00 1_00"'),
    "digits of others": svg(RED, 'width="\u0661\u0660" height="80"'),
    "other space in a length": svg('<rect width="\u00a0100" height="80"/>'),
    "other space in a colour": svg('<rect width="100" height="80" fill="\u00a0white"/>'),
    "other letter in a colour": svg('<rect width="100" height="80" fill="blac\u212a"/>'),
    "other space in a path": svg('<path d="M0 0\u00a0L9 9 8 0"/>'),
    "other space in a style": svg('<rect width="100" height="80" style="fill:\u00a0red"/>'),
    "other space in a selector": svg("<style>\u00a0rect{fill:red}</style><rect width='100' height='80'/>"),
    "set": svg(f'<g display="none">{RED}<set attributeName="display" to="inline" begin="0.1s"/></g>'),
    "animate": svg('<rect><animate attributeName="width" to="100" dur="1s"/></rect>'),
    "keyframes": svg("<style>@keyframes a { to { fill: red } }</style>" + STILL),
    "media": svg("<style>@media (min-width: 1px) { rect { fill: red } }</style>" + STILL),
    "import": svg("<style>@import url(data:text/css,rect{fill:red});</style>" + STILL),
    "style sheet of its own": svg(STILL, head='<?xml-stylesheet href="data:text/css,rect{fill:red}"?>'),
    "variable": svg('<rect style="fill: var(--a)"/>'),
    "selector": svg("<style>rect:not(.b) { fill: red }</style>" + STILL),
    "colour": svg('<rect fill="color(srgb 1 0 0)"/>'),
    "system colour": svg('<rect fill="Highlight"/>'),
    "length": svg('<rect width="calc(1px + 99px)"/>'),
    "stroke": svg('<path vector-effect="non-scaling-stroke" d="M0 0h9"/>'),
    "opacity of a colour": svg('<rect fill="rgba(0, 0, 255, 20%)"/>'),
    "mixed colour": svg('<rect fill="rgb(10%, 200, 3)"/>'),
    "filter that is missing": svg('<rect filter="url(#a)"/>'),
    "reference to another element": svg('<linearGradient id="a"/><rect clip-path="url(#a)"/>'),
    "mask of a mask": svg('<mask id="a" mask="url(#b)"/>'),
    "size of a symbol": svg('<symbol width="9"/>'),
    "gradient that is not displayed": svg('<linearGradient style="display: none"/>'),
    "display by a style sheet": svg("<style>.a { display: none }</style>" + STILL),
    "turned picture": svg(f'<image href="data:image/jpeg;base64,{TURNED}"/>'),
    "displacement": svg('<filter id="f"><feDisplacementMap/></filter>'),
    "transform as style without units": svg('<rect style="transform: translate(9, 9)"/>'),
    "transform with units": svg('<rect transform="translate(9px)"/>'),
    "fault in a path": svg('<path d="M0 0h9v9..9h-9z"/>'),
    "path without arguments": svg('<path d="M0 0h9v9zl5"/>'),
    "huge number": svg('<path d="M0 0h1e30v9z"/>'),
    "script": svg("<script>draw()</script>"),
    "event": svg('<g onload="draw()"/>'),
    "page": svg('<foreignObject><img xmlns="http://www.w3.org/1999/xhtml" src="a.png"/></foreignObject>'),
    "page with a background": svg(
        '<foreignObject><div xmlns="http://www.w3.org/1999/xhtml" style="background:red"/></foreignObject>'
    ),
    "style of a page": svg('<style xmlns="http://www.w3.org/1999/xhtml">rect{fill:red}</style>' + STILL),
    "language": svg('<g systemLanguage="de"/>'),
    "reference to its own file": svg('<use href="a.svg#b"/>'),
    "bitmap": svg('<image href="data:image/bmp;base64,Qk0="/>'),
    "animation": svg(f'<image href="data:image/gif;base64,{ANIMATION}"/>'),
    "letters that are blocks": svg("<text>" + "\u2588" * 100 + "</text>"),
    "letters of a font of its own": svg(
        "<style>@font-face { font-family: a; src: url(data:font/woff2;base64,AA) }</style><text>a</text>"
    ),
    "letters over a pattern": svg('<pattern id="p"/><text fill="url(#p)">I</text>'),
    "parameter entity": svg(STILL, head="<!DOCTYPE svg [<!ENTITY % a \"<!ENTITY b 'x'>\"> %a;]>"),
    "depth": svg("<g>" * 20_000 + "</g>" * 20_000),
    "drawings within drawings": within(within(within(svg(RED)))),
    "fault before the first shape": svg('<g id="<"/>' + RED),
    "no root": b"<!-- " + b"x" * 300_000,
    "no size": svg(RED, 'width="0" height="0" viewBox="0 0 1 1"'),
    "encoding": b'<?xml version="1.0" encoding="shift_jis"?>' + svg("<desc>\xe9</desc>" + RED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_where_browsers_may_show_more(name: str) -> None:
    with pytest.raises(RefusedError):
        draw(PreadFile(REFUSED[name]))


@pytest.mark.parametrize(
    "content",
    [
        b"<svg><rect width='100' height='80' fill='red'/></svg>",
        b"<x><svg xmlns='http://www.w3.org/2000/svg'/></x>",
    ],
)
def test_shows_nothing_of_what_browsers_refuse(content: bytes) -> None:
    found = draw(PreadFile(content))
    assert not found.broken
    with Image.open(io.BytesIO(found.contents[0])) as picture:
        assert picture.getextrema() == (255, 255)


def test_part_before_a_fault_is_drawn() -> None:
    found = draw(PreadFile(svg(RED)[:-6]))
    assert found.broken
    with Image.open(io.BytesIO(found.contents[0])) as picture:
        assert picture.convert("RGB").getpixel((50, 40)) == (255, 0, 0)


def test_dark_colours_are_drawn_too() -> None:
    style = "<style>rect { fill: red } @media (prefers-color-scheme: dark) { rect { fill: blue } }</style>"
    found = draw(PreadFile(svg(f'{style}<rect width="100" height="80"/>'))).contents
    colours = [Image.open(io.BytesIO(each)).convert("RGB").getpixel((50, 40)) for each in found]
    assert colours == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ('width="100" height="80"', (100, 80)),
        ('width="16" height="8"', (64, 32)),
        ('width="51500" height="25750" viewBox="0 0 51500 25750"', (512, 256)),
        ('viewBox="0 0 24 24"', (150, 150)),
        ('viewBox="0 0 40 10" width="100%" height="100%"', (300, 75)),
        ("", (300, 150)),
        ('width="2in" viewBox="0 0 2 1"', (192, 96)),
        ('style="width: 90px; height: 2em"', (90, 32)),
        ('width="1" height="100000" viewBox="0 0 1 100000"', (1, 512)),
    ],
)
def test_size_is_completed_as_browsers_do(more: str, size: tuple[int, int]) -> None:
    assert drawn(svg(RED, more)).size == size


def test_no_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene(1, 100, 80), "PNG"))
    monkeypatch.chdir(tmp_path)
    for target in ("a.png", f"{tmp_path}/a.png", f"file://{tmp_path}/a.png", "&#97;.png"):
        picture = np.asarray(drawn(svg(f'<image width="100" height="80" href="{target}"/>')))
        assert not picture.any()


def test_entities_end_at_a_bound() -> None:
    # The bound is on bytes, which are few elements.
    first = "<g/>" + " " * 1000
    entities = "".join(
        f'<!ENTITY a{place} "{f"&a{place - 1};" * 10}">' if place else f'<!ENTITY a0 "{first}">'
        for place in range(12)
    )
    assert draw(PreadFile(svg(f"{RED}&a11;", head=f"<!DOCTYPE svg [{entities}]>"))).broken


def test_long_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "BYTES_MAX", 10)
    with pytest.raises(RefusedError):
        draw(PreadFile(svg(RED)))
