"""Choose which documents are opened, and load what opens them.

Mails are opened on request only, since the secrecy of communications differs by country; a message of Outlook
is a mail. A mail in an archive or in a document is opened on the same terms.
"""

from __future__ import annotations

import codecs
import importlib
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hashscan.hashing.formats import TEXT

if TYPE_CHECKING:
    from hashscan.hashing.archives.openers import Opener
    from hashscan.hashing.format_signatures import FileFormat

_HERE = "hashscan.hashing.documents"
_DOCUMENTS = {
    TEXT.name: (f"{_HERE}.texts", "TextOpener"),
    "uuencoded file": (f"{_HERE}.mail", "UuOpener"),
    "PDF": (f"{_HERE}.pdf", "PdfOpener"),
    "compound file": (f"{_HERE}.compound", "CompoundOpener"),
}
_MAILS = {
    "mail": (f"{_HERE}.mail", "MailOpener"),
    "mailbox": (f"{_HERE}.mail", "MailboxOpener"),
    "compound file": (f"{_HERE}.compound", "CompoundMailOpener"),
}
"""Module and class of the openers, by the name of their format: those always used, and those where mails are
opened, too."""

_LIBRARIES = {"PDF": "pypdfium2_raw", "compound file": "olefile"}
"""The modules that some formats need, of the extra `document`."""

_CODECS = (
    *("utf-16-le", "utf-16-be", "utf-7", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-8"),
    *("iso8859-9", "iso8859-15", "koi8-r", "koi8-u", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr"),
    *("shift_jis", "cp932", "cp949", "cp950", "iso2022_jp", "hz"),
)
"""Encodings of names and texts; no other can be loaded in the sandbox."""


def is_opened(kind: FileFormat, *, mail: bool) -> bool:
    """Return True if documents of this kind are opened; the library for it may not be installed.

    Args:
        mail: True if mails are opened, too.
    """
    return kind.name in _wanted(mail=mail)


def load_openers(*, mail: bool) -> dict[str, Opener]:
    """Load the openers, by the name of the format; do it once, before the sandbox is closed.

    Those whose library is not installed are missing.

    Args:
        mail: True to open mails, too.
    """
    for name in _CODECS:
        codecs.lookup(name)
    return {
        name: getattr(importlib.import_module(module), opener)()
        for name, (module, opener) in _wanted(mail=mail).items()
    }


@cache
def _wanted(*, mail: bool) -> dict[str, tuple[str, str]]:
    """Return the rows of the openers whose library is installed."""
    return {
        name: row
        for name, row in (_DOCUMENTS | (_MAILS if mail else {})).items()
        if name not in _LIBRARIES or find_spec(_LIBRARIES[name]) is not None
    }
