"""Load what opens documents and mails, before the sandbox is closed; find documents behind something else."""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from hashscan.hashing.container_kinds import library_installed, openers_of
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.recognition.recogniser import Probed

if TYPE_CHECKING:
    from hashscan.hashing.archives.openers import Opener
    from hashscan.hashing.pread import PreadFile
    from hashscan.model import ContainerKind

_CODECS = (
    *("utf-16-le", "utf-16-be", "utf-7", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-8"),
    *("iso8859-9", "iso8859-15", "koi8-r", "koi8-u", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr"),
    *("shift_jis", "cp932", "cp949", "cp950", "iso2022_jp", "hz"),
)
"""Encodings of names and texts; no other can be loaded in the sandbox."""

_PIECE_SIZE, _OVERLAP = 1 << 20, 64
_OBJECT = re.compile(rb"[0-9]\s{1,9}[0-9]{1,5}\s{1,9}obj\b")
_OBJECTS = 2
"""Objects from which a file is a document: its catalogue and a page at least."""
_PDF = next(known for known in FORMATS if known.name == "PDF")


def load_openers(kinds: Collection[ContainerKind], *, by_python: bool = False) -> dict[str, Opener]:
    """Load what opens containers of these kinds, by the name of the format.

    Those whose library is not installed are missing.

    Args:
        by_python: leave out all that need a library.
    """
    for name in _CODECS:
        codecs.lookup(name)
    return {
        name: getattr(importlib.import_module(opener.module), opener.name)()
        for name, opener in openers_of(kinds).items()
        if library_installed(opener) and not (by_python and opener.library)
    }


def document_kinds(file: PreadFile) -> Iterator[Probed]:
    """Yield PDF for a file with objects of one, as MuPDF searches for without a header."""
    found, last = 0, b""
    while piece := file.read(_PIECE_SIZE):
        text = last + piece
        if b"obj" in text:
            found += sum(1 for _ in _OBJECT.finditer(text))
            if found >= _OBJECTS:
                yield Probed(_PDF, certain=True)
                return
        last = text[-_OVERLAP:]
