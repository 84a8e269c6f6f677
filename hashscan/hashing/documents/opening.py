"""Load what opens documents and mails, before the sandbox is closed."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from hashscan.hashing.container_kinds import library_installed, openers_of

if TYPE_CHECKING:
    from hashscan.hashing.archives.openers import Opener
    from hashscan.model import ContainerKind

_CODECS = (
    *("utf-16-le", "utf-16-be", "utf-7", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-8"),
    *("iso8859-9", "iso8859-15", "koi8-r", "koi8-u", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr"),
    *("shift_jis", "cp932", "cp949", "cp950", "iso2022_jp", "hz"),
)
"""Encodings of names and texts; no other can be loaded in the sandbox."""


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
