"""Parse the protocol of ClamAV's clamd, without input and output; clamd 1.4 is the model.

A connection carries one command, or a session of many:

    z COMMAND \\0      n COMMAND \\n      COMMAND \\n     (the last for old commands; its end may be missing)
    zIDSESSION\\0 zCOMMAND\\0 zCOMMAND\\0 ... zEND\\0     replies begin with the command's number

INSTREAM is followed by chunks, each a length of four bytes (most significant first) and as many bytes, and by
a length of 0. FILDES is followed by one byte, with which one descriptor is passed.

A client decides alone what its connection carries, so what it could gain by malformed input is that another
content is checked than it stores. All bytes of a stream go into one content in their order, a stream without
its end is never checked, and a descriptor counts only if it came with the byte that FILDES expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

COMMAND_MAX = 8192
"""Most bytes of a command with its argument, a path."""

LENGTH_BYTES = 4
"""Bytes of the length before each chunk."""


class _Form(Struct, frozen=True):
    """The forms in which a command may be given."""

    argument: bool = False
    old: bool = False
    """True if it may be given without z or n."""
    session: bool = False
    """True if it may be given within a session."""


_COMMANDS = {
    b"PING": _Form(old=True, session=True),
    b"VERSION": _Form(old=True, session=True),
    b"VERSIONCOMMANDS": _Form(session=True),
    b"STATS": _Form(session=True),
    b"RELOAD": _Form(old=True),
    b"SCAN": _Form(argument=True, old=True, session=True),
    b"CONTSCAN": _Form(argument=True, old=True),
    b"MULTISCAN": _Form(argument=True, old=True),
    b"ALLMATCHSCAN": _Form(argument=True, session=True),
    b"INSTREAM": _Form(session=True),
    b"FILDES": _Form(old=True, session=True),
    b"IDSESSION": _Form(),
    b"END": _Form(session=True),
}
PATH_COMMANDS = frozenset(name for name, form in _COMMANDS.items() if form.argument)


class Command(Struct, frozen=True):
    """A command in whole; INSTREAM is followed by its stream, FILDES by its descriptor."""

    name: bytes
    argument: bytes
    """The path of commands that have one."""
    end: bytes
    """The byte that ends the reply."""
    number: int
    """Its number in the session; 0 outside of a session."""

    def reply(self, text: bytes) -> bytes:
        return b"%d: %b%b" % (self.number, text, self.end) if self.number else text + self.end


class Chunk(Struct, frozen=True):
    """The announcement of a chunk of a stream."""

    length: int


class Data(Struct, frozen=True):
    """Bytes of the current chunk."""

    data: memoryview


class StreamEnd(Struct, frozen=True):
    """The end of a stream."""


class Descriptor(Struct, frozen=True):
    """The byte with which a descriptor is passed."""

    position: int
    """Its position among all bytes of the connection, from 0."""


class Refused(Struct, frozen=True):
    """A command that is not valid; it ends the connection."""

    reply: bytes


Event = Command | Chunk | Data | StreamEnd | Descriptor | Refused


class _State(Enum):
    COMMAND = auto()
    LENGTH = auto()
    CHUNK = auto()
    DESCRIPTOR = auto()
    ENDED = auto()


class Parser:
    """The parser of what one client sends. It holds at most one command that is not complete."""

    def __init__(self) -> None:
        self.session = False
        self._number = 0
        self._state = _State.COMMAND
        self._pending = bytearray()
        self._left = 0
        self._fed = 0
        """Bytes that were fed before."""

    @property
    def ended(self) -> bool:
        """True if nothing more is read from the connection."""
        return self._state is _State.ENDED

    @property
    def between(self) -> bool:
        """True between two commands of a session, and before the first."""
        return self._state is _State.COMMAND and not self._pending

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete; the iterator must be used up before the next call."""
        view = memoryview(data)
        while view and self._state is not _State.ENDED:
            if self._state is _State.CHUNK:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if not self._left:
                    self._state = _State.LENGTH
                yield Data(piece)
            elif self._state is _State.LENGTH:
                missing = LENGTH_BYTES - len(self._pending)
                self._pending += view[:missing]
                view = view[missing:]
                if len(self._pending) == LENGTH_BYTES:
                    yield self._length()
            elif self._state is _State.DESCRIPTOR:
                position = self._fed + len(data) - len(view)
                view = view[1:]
                self._next()
                yield Descriptor(position)
            else:
                view, event = self._command(view)
                if event is not None:
                    yield event
        self._fed += len(data)

    def _next(self) -> None:
        """Go on after a command: within a session with the next, else not at all."""
        self._state = _State.COMMAND if self.session else _State.ENDED

    def _length(self) -> Event:
        self._left = int.from_bytes(self._pending, "big")
        self._pending.clear()
        if self._left:
            self._state = _State.CHUNK
            return Chunk(self._left)
        self._next()
        return StreamEnd()

    def _command(self, view: memoryview) -> tuple[memoryview, Event | None]:
        """Take bytes of a command; return the rest, and the event if the command is complete."""
        first = self._pending[0] if self._pending else view[0]
        prefixed = first in b"zn"
        end = b"\0" if first == ord("z") else b"\n"
        # One byte more than the limit shows that a command is too long.
        room = COMMAND_MAX + 1 - len(self._pending)
        taken = bytes(view[:room])
        # Within a session, clamd waits until the end of time for a command that has no prefix.
        where = taken.find(end) if prefixed or not self.session else -1
        if where >= 0:
            taken = taken[: where + 1]
        rest = view[len(taken) :]
        self._pending += taken
        if where < 0 and (prefixed or self.session):
            if len(self._pending) <= COMMAND_MAX:
                return rest, None
            self._state = _State.ENDED
            return rest, Refused(b"Error processing command. ERROR" + end)
        line = bytes(self._pending[1:] if prefixed else self._pending).removesuffix(end)
        self._pending.clear()
        if end == b"\n":
            line = line.partition(b"\0")[0].rstrip(b"\r\n")
        return rest, self._parsed(line, end, old=not prefixed)

    def _parsed(self, line: bytes, end: bytes, *, old: bool) -> Event | None:
        name, space, argument = line.partition(b" ")
        form = _COMMANDS.get(name)
        if self.session:
            self._number += 1
        if form is None or form.argument != bool(space) or (old and not form.old):
            return self._refused(b"UNKNOWN COMMAND", end)
        if self.session and not form.session:
            return self._refused(b"", end)
        if name == b"IDSESSION":
            self.session = True
            return None
        if name == b"END":
            if not self.session:
                return self._refused(b"UNKNOWN COMMAND", end)
            self._state = _State.ENDED
            return None
        if name == b"INSTREAM":
            self._state = _State.LENGTH
        elif name == b"FILDES":
            self._state = _State.DESCRIPTOR
        else:
            self._next()
        return Command(name, argument, end, self._number)

    def _refused(self, text: bytes, end: bytes) -> Refused:
        self._state = _State.ENDED
        if self.session:
            text = b"%d: Command invalid inside IDSESSION. ERROR" % self._number
        return Refused(text + end)
