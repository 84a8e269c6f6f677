"""Say which parts of an office document in a ZIP archive a viewer may show although nothing was seen in them.

A ZIP archive is read as one, member by member. Office documents in such archives are OPC packages (Office
from 2007 on, XPS; ECMA-376, part 2) and OpenDocument (OASIS, part 2). What programs show of them is named in
their XML by any name and of any type: LibreOffice shows Targa, PICT and X bitmaps, which have no signature.
So of such a document all parts are in doubt that are neither recognised nor proven to be none, but for those
that have a use of their own; and all of it is where a part is encrypted.
"""

from __future__ import annotations

import re

from hashscan.model import Reason

_MANIFEST, _RELATIONS, _RIGHTS = b"meta-inf/manifest.xml", b"_rels/.rels", b"meta-inf/encryption.xml"
_ENCRYPTED_WHOLE = b"encrypted-package"
_OFFICE_TYPE = re.compile(rb"officeDocument|fixedrepresentation|/visio/|&", re.IGNORECASE)
"""A relation to the main part of a document; of one with references in its XML, that can't be said."""
_ENCRYPTED = re.compile(rb"encryption-data|<!ENTITY")
_ALGORITHM = re.compile(rb"EncryptionMethod[^>]*Algorithm\s*=\s*[\"']([^\"']*)")
_FONT_ALGORITHMS = frozenset(
    {
        b"http://www.idpf.org/2008/embedding",
        b"http://ns.adobe.com/pdf/enc#RC",
        b"http://ns.adobe.com/pdf/enc#rc",
    }
)
"""E-books have fonts that are stored so that other programs do not read them."""
_OF_USE = re.compile(
    rb"(?:^|/)(?:printersettings[0-9]*\.bin|layout-cache|fonts/[^/]+\.(?:odttf|fntdata|ttf|otf))\Z",
    re.IGNORECASE,
)
"""Settings of printers, positions of pages, fonts."""
_SOUND = re.compile(rb"RIFF.{4}WAVE|FORM.{4}AIF|MThd|\xff[\xe2-\xff]", re.DOTALL)
_WORKBOOK = re.compile(rb"xl/.*\.bin\Z", re.IGNORECASE | re.DOTALL)
_BINARY_RECORD = re.compile(rb"[\x80-\xff][\x01-\x7f][\0-\x7f]", re.DOTALL)
"""Begin of a part of a binary workbook (.xlsb): the number of a record of two bytes, and its length."""
_TEXT_PICTURE = re.compile(rb"#define\s+\S*width\b|/\*\s*XPM\s*\*/", re.IGNORECASE)
_TEXT_SEARCHED = 4096
_DOUBTS_MAX = 1000
"""Parts that are named as in doubt; the others are not, since one is enough."""


class OfficeParts:
    """The parts of one archive, which may be an office document."""

    def __init__(self) -> None:
        self._doubts: list[tuple[bytes, Reason]] = []
        self._encrypted: list[bytes] = []
        self._is_office = False

    def add(self, name: bytes, content: bytes, *, is_text: bool, is_seen: bool) -> None:
        """Take one part, whose bytes are empty if they are not held. `is_text`: it is proven to be text;
        `is_seen`: it was recognised as something."""
        known = name.lower().lstrip(b"/")
        if known == _ENCRYPTED_WHOLE:
            self._encrypted.append(name)
        elif known in {_MANIFEST, _RELATIONS, _RIGHTS}:
            self._read(name, known, content.replace(b"\0", b""))
        elif content and not is_seen and _is_in_doubt(name, content, is_text):
            self._doubts = [*self._doubts[:_DOUBTS_MAX], (name, Reason.UNSUPPORTED)]

    def _read(self, name: bytes, known: bytes, text: bytes) -> None:
        if known == _RELATIONS:
            self._is_office |= _OFFICE_TYPE.search(text) is not None
        elif known == _MANIFEST:
            self._is_office = True
            if _ENCRYPTED.search(text):
                self._encrypted.append(name)
        elif not _FONT_ALGORITHMS.issuperset(_ALGORITHM.findall(text)):
            self._encrypted.append(name)

    def doubts(self) -> list[tuple[bytes, Reason]]:
        """Return the names of parts that a viewer may show, and the reason why each was not checked."""
        encrypted = [(name, Reason.ENCRYPTED) for name in self._encrypted]
        return encrypted + (self._doubts if self._is_office else [])


_CONTROLS = re.compile(
    rb"(?:[\x10-\x60]\x1d\xd2\x8b\x42\xec\xce\x11\x9e\x0d\0\xaa\0\x60\x02\xf3"
    rb"|\x40\x32\x05\xd7\x69\xce\xcd\x11\xa7\x77\0\xdd\x01\x14\x3c\x57"
    rb"|\x23\x9e\x8c\x97\xb0\xd4\xce\x11\xbf\x2d\0\xaa\0\x3f\x40\xd0"
    rb"|\xe0\x81\xd1\xdf\x2f\x5e\xce\x11\xa4\x49\0\xaa\0\x4a\x80\x3d"
    rb"|\xb0\x6f\x17\x79\xf2\xb7\xce\x11\x97\xef\0\xaa\0\x6d\x27\x76)"
)
"""Classes of controls (ActiveX, MS-OFORMS): a text or list field, a box to check or a toggle; a button; a
label; a scroll bar; a spin button. They have pictures only behind the class of a picture."""
_CONTROL_PICTURE = b"\x04\x52\xe3\x0b\x91\x8f\xce\x11\x9d\xe3\0\xaa\0\x4b\xb8\x51"
_DATA_MODEL = "\ufeffSTREAM_STORAGE_SIGNATURE_)!@#$%^&*(".encode("utf-16-le")
"""Begin of the tables of Power Pivot."""
_QUICKDRAW = (b"\0\x11\2\xff", b"\x11\1")
_QUICKDRAW_PLACE = 522
"""Offset of the version of a QuickDraw picture, which any bytes may precede."""


def _is_of_use(content: bytes) -> bool:
    """Return True for controls without a picture, tables of Power Pivot, text in UTF-16, and padding."""
    if _CONTROLS.match(content) is not None:
        return _CONTROL_PICTURE not in content
    if content.startswith(_DATA_MODEL) or not content.strip(content[:1]):
        return True
    narrow = content.removeprefix(b"\xff\xfe")[::2]
    is_wide = not any(content[1 + 2 * content.startswith(b"\xff\xfe") :: 2])
    return is_wide and narrow.isascii() and not _CONTROL.search(narrow) and not _TEXT_PICTURE.search(narrow)


_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")


def _is_in_doubt(name: bytes, content: bytes, is_text: bool) -> bool:
    if is_text:
        return _TEXT_PICTURE.search(content, 0, _TEXT_SEARCHED) is not None
    if content.startswith(_QUICKDRAW, _QUICKDRAW_PLACE):
        return True
    if _is_of_use(content) or _OF_USE.search(name) is not None or _SOUND.match(content) is not None:
        return False
    return _WORKBOOK.search(name) is None or _BINARY_RECORD.match(content) is None
