"""Take a form apart as its bytes arrive: each file, inner multiparts, and parts in base64.

A part in base64 is checked as it came and decoded, since applications differ in which of them they store; an
inner multipart as it came and taken apart. Where programs may divide the form differently, taking it apart
goes on as far as possible.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator

from hashscan.locking import ClosedOnExit
from hashscan.service.doors.multipart import (
    MultipartError,
    MultipartParser,
    Part,
    PartEnd,
    TooManyPartsError,
    any_boundary_of,
)
from hashscan.service.engine.contents import Receiving

FILES_MAX = 1000
"""Files of a form, with those of inner multiparts and decoded ones. Django and PHP accept as many fields."""
DEPTH_MAX = 3
"""Multiparts that lie in one another."""


class Base64Decoder:
    """A decoder that accepts only what all decoders read alike: full lines or not, nothing behind the end."""

    def __init__(self) -> None:
        self._left = b""
        self._padded = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that more text completes."""
        text = self._left + data.translate(None, b"\r\n")
        whole = len(text) - len(text) % 4
        self._left = text[whole:]
        if not text[:whole]:
            return b""
        if self._padded:
            raise MultipartError("there is text behind the end of base64")
        self._padded = text[:whole].endswith(b"=")
        try:
            return binascii.a2b_base64(text[:whole], strict_mode=True)
        except binascii.Error as error:
            raise MultipartError(f"not base64: {error}") from error

    def finish(self) -> None:
        if self._left:
            raise MultipartError("base64 ends too early")


class Form(ClosedOnExit):
    """One multipart body, taken apart."""

    def __init__(
        self,
        boundary: bytes,
        receive: Callable[[], Receiving],
        check: Callable[[Receiving, bytes, bool], None],
        depth: int = 1,
    ) -> None:
        """Begin to take a body apart. The boundary is as its `Content-Type` has it; `receive` begins to
        receive a file, and may raise TooManyPartsError; `check` takes over a complete file with its name, and
        True if what it holds is handed over, too; the depth is 1 for a body, 2 for a multipart in it."""
        self.is_certain = True
        """True if all programs find the files that were handed over."""
        self._parser: MultipartParser | None = MultipartParser(boundary, FILES_MAX, inner=True)
        self._receive = receive
        self._check = check
        self._depth = depth
        self._file: _File | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def feed(self, data: bytes) -> Iterator[None]:
        """Take more bytes apart; yield after each part, so that the caller can wait before the next one."""
        if self._parser is None:
            return
        try:
            for event in self._parser.feed(data):
                match event:
                    case Part():
                        self._file = _File(self, event)
                    case PartEnd():
                        assert self._file is not None
                        self._file.finish()
                        self._file = None
                        yield
                    case _:
                        assert self._file is not None
                        yield from self._file.feed(event)
        except MultipartError:
            self._give_up()

    def finish(self) -> None:
        if self._parser is not None:
            try:
                self._parser.finish()
            except MultipartError:
                self._give_up()

    def _give_up(self) -> None:
        self.is_certain = False
        self._parser = None
        self.close()

    def receive(self) -> Receiving:
        return self._receive()

    def check(self, receiving: Receiving, name: bytes, *, taken_apart: bool = False) -> None:
        self._check(receiving, name, taken_apart)

    def inner(self, content_type: bytes) -> Form | None:
        """Begin to take an inner multipart apart; None if its boundary is not clear."""
        try:
            if self._depth == DEPTH_MAX:
                raise TooManyPartsError("multiparts lie too deep in one another")
            boundary = any_boundary_of(content_type.decode("latin-1"))
            assert boundary is not None
        except MultipartError:
            self.is_certain = False
            return None
        return Form(boundary, self._receive, self._check, self._depth + 1)


class _File(ClosedOnExit):
    """One part that arrives: as it came, and decoded or taken apart."""

    def __init__(self, form: Form, part: Part) -> None:
        self._form = form
        self._name = part.filename
        self._raw = form.receive()
        self._decoder: Base64Decoder | None = None
        self._decoded: Receiving | None = None
        self._inner: Form | None = None
        try:
            if part.encoding == b"base64" and not part.content_type:
                self._decoder = Base64Decoder()
                self._decoded = form.receive()
            elif part.encoding:
                form.is_certain = False
            elif part.content_type:
                self._inner = form.inner(part.content_type)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for open_one in (self._raw, self._decoded, self._inner):
            if open_one is not None:
                open_one.close()

    def feed(self, data: bytes) -> Iterator[None]:
        """Append bytes; yield after each part of an inner multipart."""
        self._raw.write(data)
        if self._inner is not None:
            yield from self._inner.feed(data)
        if self._decoder is not None and self._decoded is not None:
            try:
                self._decoded.write(self._decoder.feed(data))
            except MultipartError:
                self._stop_decoding()

    def finish(self) -> None:
        """Hand over the part's files."""
        taken_apart = False
        if self._inner is not None:
            self._inner.finish()
            taken_apart = self._inner.is_certain
            if not taken_apart:
                self._form.is_certain = False
        if self._decoder is not None and self._decoded is not None:
            try:
                self._decoder.finish()
            except MultipartError:
                self._stop_decoding()
            else:
                taken_apart = True
                self._form.check(self._decoded, self._name)
        self._form.check(self._raw, self._name, taken_apart=taken_apart)

    def _stop_decoding(self) -> None:
        self._form.is_certain = False
        if self._decoded is not None:
            self._decoded.close()
        self._decoder = None
