"""Office documents with one picture, made by code, that LibreOffice shows."""

from __future__ import annotations

import base64
import struct

from PIL import Image

from tests.hashing.documents.drawn import zipped
from tests.pictures import encoded

_OPC = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006"
_OASIS = "urn:oasis:names:tc:opendocument:xmlns"
_NAMESPACES = (
    f'xmlns:office="{_OASIS}:office:1.0" xmlns:text="{_OASIS}:text:1.0" xmlns:draw="{_OASIS}:drawing:1.0"'
    f' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:svg="{_OASIS}:svg-compatible:1.0"'
)
_FRAME = (
    '<office:body><office:text><text:p><draw:frame text:anchor-type="paragraph" svg:width="10cm"'
    ' svg:height="7.5cm">%s</draw:frame></text:p></office:text></office:body>'
)


def docx(name: str, content: bytes, more: dict[str, bytes] | None = None) -> bytes:
    """A document of Word whose picture is the part `word/NAME`."""
    extension = name.rpartition(".")[2]
    size = '<a:off x="0" y="0"/><a:ext cx="4000000" cy="3000000"/>'
    files = {
        "[Content_Types].xml": f'<?xml version="1.0"?><Types xmlns="{_OPC}/content-types"><Default'
        f' Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default'
        f' Extension="{extension}" ContentType="image/x"/><Override PartName="/word/document.xml"'
        ' ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/>'
        "</Types>",
        "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="{_OPC}/relationships"><Relationship'
        f' Id="rId1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<?xml version="1.0"?><Relationships xmlns="{_OPC}/relationships">'
        f'<Relationship Id="rId5" Type="{_OFFICE}/image" Target="{name}"/></Relationships>',
        "word/document.xml": '<?xml version="1.0"?><w:document'
        ' xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        f' xmlns:r="{_OFFICE}" xmlns:wp="{_DRAWING}/wordprocessingDrawing" xmlns:a="{_DRAWING}/main"'
        f' xmlns:pic="{_DRAWING}/picture"><w:body><w:p><w:r><w:drawing><wp:inline><wp:extent cx="4000000"'
        ' cy="3000000"/><wp:docPr id="1" name="x"/><a:graphic><a:graphicData'
        f' uri="{_DRAWING}/picture"><pic:pic><pic:nvPicPr><pic:cNvPr id="0" name="x"/><pic:cNvPicPr/>'
        '</pic:nvPicPr><pic:blipFill><a:blip r:embed="rId5"/><a:stretch><a:fillRect/></a:stretch>'
        f'</pic:blipFill><pic:spPr><a:xfrm>{size}</a:xfrm><a:prstGeom prst="rect"/></pic:spPr></pic:pic>'
        "</a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p></w:body></w:document>",
    }
    return zipped(
        {name: text.encode() for name, text in files.items()} | {f"word/{name}": content} | (more or {})
    )


def odt(name: str, content: bytes, more: dict[str, bytes] | None = None, entry: str = "") -> bytes:
    """A text document of OpenDocument whose picture is the part NAME.

    Args:
        entry: what the manifest says of the picture, besides its name.
    """
    return zipped(
        {
            "mimetype": b"application/vnd.oasis.opendocument.text",
            "content.xml": (
                f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {_NAMESPACES}'
                ' office:version="1.2">'
                + _FRAME % f'<draw:image xlink:href="{name}" xlink:type="simple"/>'
                + "</office:document-content>"
            ).encode(),
            name: content,
            "META-INF/manifest.xml": (
                f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="{_OASIS}:manifest:1.0"><manifest:'
                'file-entry manifest:full-path="/"'
                ' manifest:media-type="application/vnd.oasis.opendocument.text"/>'
                f'<manifest:file-entry manifest:full-path="{name}" manifest:media-type="">{entry}'
                "</manifest:file-entry></manifest:manifest>"
            ).encode(),
        }
        | (more or {})
    )


def fodt(within: str, prolog: str = '<?xml version="1.0" encoding="UTF-8"?>') -> str:
    """A text document of OpenDocument in one file of XML.

    Args:
        within: the element that holds the picture.
    """
    frame = _FRAME % f"<draw:image>{within}</draw:image>"
    return (
        f'{prolog}<office:document {_NAMESPACES} office:version="1.2"'
        f' office:mimetype="application/vnd.oasis.opendocument.text">{frame}</office:document>'
    )


def word_2003(within: str) -> str:
    """A document of Word 2003 in XML.

    Args:
        within: the element that holds the picture, with the name `wordml://1.png`.
    """
    return (
        '<?xml version="1.0"?><?mso-application progid="Word.Document"?><w:wordDocument'
        ' xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml" xmlns:v="urn:schemas-microsoft-'
        f'com:vml"><w:body><w:p><w:r><w:pict>{within}<v:shape id="a" style="width:300pt;height:225pt">'
        '<v:imagedata src="wordml://1.png"/></v:shape></w:pict></w:r></w:p></w:body></w:wordDocument>'
    )


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def wmf(picture: Image.Image, version: int = 0x300) -> bytes:
    """A Windows metafile without a header for programs, which draws a bitmap."""
    width, height = picture.size
    bitmap = encoded(picture, "BMP")[14:]
    place = 0, height, width, 0, 0, height, width, 0, 0
    body = struct.pack("<IHHHHHHHHH", 0x00CC0020, *place) + bitmap + bytes(len(bitmap) % 2)
    drawn = struct.pack("<IH", (6 + len(body)) // 2, 0x0F43) + body
    records = (
        struct.pack("<IHh", 4, 0x0103, 8)
        + struct.pack("<IHhh", 5, 0x020B, 0, 0)
        + struct.pack("<IHhh", 5, 0x020C, height, width)
        + drawn
        + struct.pack("<IH", 3, 0)
    )
    return struct.pack("<HHHIHIH", 1, 9, version, (18 + len(records)) // 2, 0, len(drawn) // 2, 0) + records


def star_view(*actions: tuple[int, bytes]) -> bytes:
    """A metafile of LibreOffice, as OpenDocument has for each chart."""
    drawn = b"".join(struct.pack("<HHI", kind, 1, len(body)) + body for kind, body in actions)
    return b"VCLMTF" + struct.pack("<HI", 1, 49) + bytes(45) + struct.pack("<I", len(actions)) + drawn


def pict(picture: Image.Image) -> bytes:
    """A picture of a Macintosh (PICT, version 2) with rows of runs."""
    width, height = picture.size
    rows, pixels = b"", picture.convert("RGB").tobytes()
    for at in range(0, len(pixels), 3 * width):
        row = pixels[at : at + 3 * width]
        planes = row[::3] + row[1::3] + row[2::3]
        runs = [planes[begin : begin + 128] for begin in range(0, len(planes), 128)]
        coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
        rows += struct.pack(">H", len(coded)) + coded
    bounds = struct.pack(">HHHH", 0, 0, height, width)
    body = (
        bounds
        + b"\0\x11\2\xff\x0c\0"
        + struct.pack(">hhII", -2, 0, 0x480000, 0x480000)
        + bounds
        + bytes(4)
        + b"\0\1\0\x0a"
        + bounds
        + struct.pack(">HIH", 0x9A, 0xFF, 0x8000 | 4 * width)
        + bounds
        + struct.pack(">HHIIIHHHHIII", 0, 4, 0, 0x480000, 0x480000, 16, 32, 3, 8, 0, 0, 0)
        + bounds * 2
        + bytes(2)
        + rows
    )
    body += bytes(len(body) % 2) + b"\0\xff"
    return bytes(512) + struct.pack(">H", (len(body) + 2) & 0xFFFF) + body
