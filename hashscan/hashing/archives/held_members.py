"""Hold the bytes of a member, or search those of one that is too large to be held, while they are read."""

from __future__ import annotations

from hashscan.hashing.containers import ARCHIVES_SEARCHED
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import SEARCHED_BEHIND, TarSearch
from hashscan.hashing.recognition.recogniser import Recogniser
from hashscan.hashing.recognition.text_proof import TextProof

_BEGIN_SIZE = ARCHIVES_SEARCHED + SEARCHED_BEHIND
"""Bytes of a large member that are asked about: as many as 7-Zip looks at."""
_WINDOW, _OVERLAP = 8 << 20, 1 << 20
"""Bytes of a large member that are searched for texts at once, and of these with the next, too."""


class HeldMember:
    """The bytes of a member; of a large one, the begin, and what is found in the rest while it is read."""

    def __init__(self, most: int, recogniser: Recogniser | None) -> None:
        """Hold none; a member of `most` bytes is large, and searched by the recogniser, if there is one."""
        self._most, self._recogniser = most, recogniser
        # Most members are one piece, which is not copied.
        self._pieces: list[bytes] = []
        self._size = 0
        self._proof, self._tar = TextProof(), TarSearch()
        self._window = b""
        self.begin = b""
        """The bytes of a large one that programs look at to tell what a file is."""
        self.has_pictures = False
        """True for a large one with texts or documents that show pictures."""
        self.has_tar = False
        """True for a large one in which GNU tar finds an archive."""

    @property
    def is_large(self) -> bool:
        """True if it is not held."""
        return self._size > self._most

    @property
    def is_text(self) -> bool:
        """True for a large one that is text without a picture to its end."""
        return self._proof.holds

    def take(self, piece: bytes) -> None:
        was_large = self.is_large
        self._size += len(piece)
        if not self.is_large:
            self._pieces.append(piece)
            return
        if not was_large:
            piece = b"".join((*self._pieces, piece))
            self._pieces.clear()
        if self._recogniser is not None:
            self.begin += piece[: _BEGIN_SIZE - len(self.begin)]
            self.has_tar = self.has_tar or self._tar.feed(piece) is not None
            self._search(piece, self._recogniser)

    def _search(self, piece: bytes, recogniser: Recogniser) -> None:
        if self._proof.feed(piece):
            self._window = piece[-_OVERLAP:]
            return
        self._window += piece
        if len(self._window) >= _WINDOW:
            self._ask(recogniser)

    def _ask(self, recogniser: Recogniser) -> None:
        if not self.has_pictures:
            self.has_pictures = any(True for _ in recogniser.read(PreadFile(self._window)))
        self._window = self._window[-_OVERLAP:]

    def content(self) -> bytes:
        """Return all bytes, and hold them no longer; empty for a large one, which ends here."""
        if self.is_large and not self.is_text and self._recogniser is not None:
            self._ask(self._recogniser)
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content
