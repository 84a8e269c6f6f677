r"""Read the pictures and objects of RTF documents (Rich Text Format 1.9.1).

They are hexadecimal digits in a group (`\pict`, `\objdata`), or bytes of a stated length (`\bin`). Programs
differ in what they pass over there: groups, control words, other characters. The digits are read as Word
does, and what is unusual besides is a member with `Reason.AMBIGUOUS`. All groups are searched, those that
programs ignore, too. A picture that a text names by its address is not in the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.documents.compound import object_of_ole_1
from hashscan.hashing.documents.metafiles import bitmap_file, in_bytes
from hashscan.hashing.documents.texts import TextOpener
from hashscan.hashing.formats import contains_pictures, sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_DATA = rb"(pict|objdata|themedata|datastore)(?![a-zA-Z])(?:-?[0-9]+)? ?"
_NEXT = re.compile(rb"\\(?:" + _DATA + rb"|bin([0-9]{1,10}) ?|[\\{}])")
"""The begin of hexadecimal digits or of bytes, wherever it is; no escaped character."""
_TOKEN = re.compile(
    rb"\\(?:" + _DATA + rb"|bin([0-9]{1,10}) ?|([a-zA-Z]+)(?:-?[0-9]+)? ?|(['*]|.))|([{}])|([^\\{}]+)",
    re.DOTALL,
)
_TOKENS_MAX = 4_000_000
"""Parts of all groups with digits; more would take more than some seconds."""
_NOT_DIGITS = bytes(set(range(256)) - set(b"0123456789abcdefABCDEF"))
_SPACES = b" \t\r\n\0"
_WITHIN = re.compile(rb"\\(?:pict|objdata)")


class RtfOpener:
    """Opens RTF documents."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the pictures and objects."""
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)
        yield from _Reader(file.read()).members()


class _Group:
    """The digits and bytes of one group."""

    def __init__(self, kind: bytes, place: int, depth: int) -> None:
        self.kind, self.place, self.depth = kind, place, depth
        self.word = b""
        """The control word that names the form of a picture."""
        self.is_odd = False
        self.ignored = 0
        """Depth of the group within it whose digits belong to something else; 0 for none."""
        self._content: list[bytes] = []
        self._digits: list[bytes] = []

    @property
    def has_begun(self) -> bool:
        return bool(self._digits or self._content)

    def add_text(self, text: bytes, depth: int) -> None:
        digits = text.translate(None, _NOT_DIGITS)
        # Spaces are between digits in each line.
        self.is_odd |= len(text.translate(None, _SPACES)) > len(digits) or bool(digits and depth > self.depth)
        if digits:
            self._digits.append(digits)

    def add_bytes(self, content: bytes) -> None:
        self._join()
        self._content.append(content)

    def _join(self) -> None:
        digits = b"".join(self._digits)
        self._digits.clear()
        self.is_odd |= len(digits) % 2 == 1
        self._content.append(bytes.fromhex(digits[: len(digits) & ~1].decode("ascii")))

    def members(self) -> Iterator[ArchiveMember]:
        name = b"%b@%d" % (self.kind, self.place)
        yield from guarded(name, self._members(name))

    def _members(self, name: bytes) -> Iterator[ArchiveMember]:
        self._join()
        content = b"".join(self._content)
        if self.is_odd:
            yield failed(name, Reason.AMBIGUOUS)
        if not content:
            return
        found = sniff(content)
        if self.kind == b"objdata":
            yield from object_of_ole_1(name, content)
        elif self.kind == b"datastore":
            # Settings of programs, none of which is shown.
            yield from in_bytes(name, content)
        elif self.word == b"dibitmap" and (found is None or found.name == "DIB"):
            yield stored(name, bitmap_file(content))
        elif self.kind != b"pict" or found is not None:
            yield stored(name, content)
        else:
            yield failed(name, Reason.UNSUPPORTED)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0
        self._tokens_left = _TOKENS_MAX

    def members(self) -> Iterator[ArchiveMember]:
        while (found := _NEXT.search(self._content, self._at)) is not None:
            self._at = found.end()
            if found[1]:
                yield from self._groups(_Group(found[1], found.start(), 0))
            elif found[2]:
                content = self._bytes(int(found[2]))
                if _WITHIN.search(content):
                    # Programs pass over them only in a picture.
                    yield failed(b"bin@%d" % found.start(), Reason.AMBIGUOUS)
        if contains_pictures(self._content, b"<"):
            # Of a mail's page, or of one that a browser shows because of its name.
            yield from guarded(b"", TextOpener().members(PreadFile(self._content)))
        if not self._content.rstrip(_SPACES).endswith(b"}"):
            raise ContainerError(Reason.CONTAINER_BROKEN)

    def _bytes(self, length: int) -> bytes:
        content = self._content[self._at : self._at + length]
        if len(content) < length:
            raise ContainerError(Reason.CONTAINER_BROKEN)
        self._at += length
        return content

    def _groups(self, group: _Group) -> Iterator[ArchiveMember]:
        """Yield what a group holds, and the groups within it."""
        open_groups, depth = [group], 0
        while open_groups:
            group = open_groups[-1]
            found = _TOKEN.match(self._content, self._at)
            self._tokens_left -= 1
            if found is None or self._tokens_left < 0:
                for each in open_groups:
                    yield from each.members()
                raise ContainerError(Reason.CONTAINER_BROKEN if found is None else Reason.CONTAINER_MEMBERS)
            self._at = found.end()
            if found[1]:
                open_groups.append(_Group(found[1], found.start(), depth))
            elif found[5] == b"{":
                depth += 1
            elif found[5]:
                # Another one that began in the same group ends with it.
                while open_groups and open_groups[-1].depth == depth:
                    yield from open_groups.pop().members()
                depth -= 1
                if open_groups and depth < open_groups[-1].ignored:
                    open_groups[-1].ignored = 0
            else:
                self._take(group, depth, found)

    def _take(self, group: _Group, depth: int, found: re.Match[bytes]) -> None:
        """Take a part of a group that is no brace, and does not begin another one."""
        _, length, word, symbol, _, text = found.groups()
        if length:
            content = self._bytes(int(length))
            group.is_odd |= _WITHIN.search(content) is not None
            if not group.ignored:
                group.add_bytes(content)
        elif group.ignored:
            return
        elif text:
            group.add_text(text, depth)
        elif symbol == b"*" and depth > group.depth:
            group.ignored = depth
        elif symbol not in {None, b"\r", b"\n", b"*"} or (word and group.has_begun):
            group.is_odd = True
        elif word in {b"dibitmap", b"wbitmap"}:
            group.word = word
