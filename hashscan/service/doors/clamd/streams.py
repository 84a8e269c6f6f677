"""Hold streams that arrive, and contents until their check begins; recognize clients that cut files."""

from __future__ import annotations

from hashscan.service.doors.clamd.protocol import LENGTH_BYTES, Command
from hashscan.service.engine.contents import Content, Receiving

_NEXTCLOUD_BYTES = 26_214_400
"""Nextcloud's default av_stream_max_length. It begins another stream before the one that it sends, with the
lengths of all chunks, would be longer."""
_CUTS = {
    _NEXTCLOUD_BYTES: "25 MiB, the example of StreamMaxLength in clamd.conf",
    10_485_760: "10 MiB",
    100_000_000: "100 MB",
    104_857_600: "100 MiB, clamd's default StreamMaxLength",
}
"""Lengths at which clients are known to cut files; OpenCloud's default ANTIVIRUS_MAX_SCAN_SIZE is 100MB."""


class Stream:
    """A stream that arrives."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.receiving: Receiving | None = None
        self.refusal = b""
        """The text that it will be answered by, since it is not taken; its bytes are dropped."""
        self.dropped = 0
        self._chunks = self._longest = 0

    def announced(self, length: int) -> None:
        self._chunks += 1
        self._longest = max(self._longest, length)

    def cut(self, size: int) -> str:
        """Return the limit at which the client seems to have cut a file; empty if it doesn't seem so."""
        sent = size + LENGTH_BYTES * self._chunks
        if sent <= _NEXTCLOUD_BYTES < sent + self._longest + LENGTH_BYTES:
            return "Nextcloud's default av_stream_max_length"
        return _CUTS.get(size, "")

    def refuse(self, text: bytes) -> None:
        """Drop what has arrived and what follows."""
        if self.receiving is not None:
            self.receiving.close()
            self.receiving = None
        self.refusal = text


class Held:
    """A content until its check begins."""

    def __init__(self, content: Content) -> None:
        self._content: Content | None = content

    def take(self) -> Content:
        """Return the content, which is the caller's to close."""
        content, self._content = self._content, None
        assert content is not None
        return content

    def close(self) -> None:
        """Close the content, unless it was taken."""
        if self._content is not None:
            self.take().close()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()
