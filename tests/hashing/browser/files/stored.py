"""Files that no encoder of the tests writes: JPEG XL and AVIF of more than 8 bits; and pictures in drawings.

Those in the folder `coded` were made with imagecodecs (libjxl 0.11.2, libavif 1.4.0) from
`tests.pictures.scene`, seeds 1 and 2, 96x72; `ink.jxl` and `depth.jxl` with cjxl 0.11, from
`tests.hashing.drawings.scene(48, 64)` and half of its inverted red as a channel of this kind;
`layered.avif` with avifenc 1.2.1 `--layered`, from `drawn(1, 80, 60)` and `drawn(5, 80, 60)`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from tests.hashing.browser.files.avif_boxes import box
from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn, exif
from tests.pictures import encoded

CODED = Path(__file__).with_name("coded")
_JXL_HEAD = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl ", bytes(4), b"jxl ")


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    for path in sorted(CODED.iterdir()):
        yield path.name, path.read_bytes()
    bare = (CODED / "lossy.jxl").read_bytes()
    yield "container.jxl", _JXL_HEAD + box(b"jxlc", bare)
    yield "container-exif.jxl", _JXL_HEAD + box(b"Exif", bytes(4), exif(6)) + box(b"jxlc", bare)
    pieces = box(b"jxlp", bytes(4), bare[:500]) + box(b"jxlp", b"\x80\0\0\1", bare[500:])
    yield "container-in-pieces.jxl", _JXL_HEAD + pieces
    yield "container-of-alpha.jxl", _JXL_HEAD + box(b"jxlc", (CODED / "alpha.jxl").read_bytes())
    for part in (60, 90):
        yield f"cut-{part}.jxl", bare[: len(bare) * part // 100]
    yield "behind.jxl", bare + b"what follows" * 9
    yield from _drawings()


def _drawings() -> Iterator[tuple[str, bytes]]:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
    for form in ("PNG", "JPEG", "WEBP", "GIF"):
        data = base64.b64encode(encoded(drawn(1), form)).decode()
        picture = f'<image href="data:image/{form.lower()};base64,{data}" width="{WIDTH}" height="{HEIGHT}"/>'
        drawing = f"{head}{picture}</svg>"
        yield f"picture-{form.lower()}.svg", drawing.encode()
        if form != "PNG":
            continue
        yield "picture-declared.svg", f'<?xml version="1.0"?>\n<!-- a drawing -->\n{drawing}'.encode()
        yield "picture-utf16.svg", f'<?xml version="1.0" encoding="UTF-16"?>{drawing}'.encode("utf-16")
        yield "picture-marked.svg", drawing.encode("utf-8-sig")
        yield "picture-behind-space.svg", b"\n" * 300 + drawing.encode()
        linked = picture.replace("href", "xlink:href")
        old = head.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"')
        yield "picture-linked.svg", f"{old}{linked}</svg>".encode()
        inner = base64.b64encode(drawing.encode()).decode()
        nested = f'<image href="data:image/svg+xml;base64,{inner}" width="{WIDTH}" height="{HEIGHT}"/>'
        yield "picture-nested.svg", f"{head}{nested}</svg>".encode()
        escaped = "".join(f"%{byte:02x}" for byte in encoded(drawn(1, 40, 30), "PNG"))
        spelt = (
            picture[: picture.index("data:")]
            + f"data:image/png,{escaped}"
            + picture[picture.rindex('" width') :]
        )
        yield "picture-escaped.svg", f"{head}{spelt}</svg>".encode()
        image = f'<img xmlns="http://www.w3.org/1999/xhtml" src="data:image/png;base64,{data}"/>'
        page = f'<foreignObject width="{WIDTH}" height="{HEIGHT}">{image}</foreignObject>'
        yield "picture-in-page.svg", f"{head}{page}</svg>".encode()
        pattern = f'<pattern id="p" width="1" height="1">{picture}</pattern>'
        styled = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#p)"/>{pattern}'
        yield "picture-in-pattern.svg", f"{head}{styled}</svg>".encode()
