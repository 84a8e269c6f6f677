"""Checks the parser of clamd's protocol with any bytes, in any pieces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.service.doors.clamd.protocol import (
    COMMAND_MAX,
    Chunk,
    Command,
    Data,
    Descriptor,
    Event,
    Parser,
    Refused,
    StreamEnd,
)
from tests.service.doors.clamd.talking import END, chunk, stream

WORDS = st.sampled_from(
    [
        b"zPING\0", b"nPING\n", b"PING\n", b"zIDSESSION\0", b"nIDSESSION\n", b"zINSTREAM\0", b"nINSTREAM\n",
        b"zFILDES\0\0", b"zEND\0", b"zSCAN /x\0", b"nCONTSCAN /x\n", b"zSTATS\0", b"z", b"n", b"\0", b"\n",
        b"PI", b" ", END, b"\0\0\0\5hello", b"\xff\xff\xff\xff", b"\0\0", b"zFILDES\0",
    ]
)  # fmt: skip
INPUT = st.lists(WORDS | st.binary(max_size=20), max_size=30).map(b"".join)


def parsed(pieces: Iterable[bytes]) -> list[Event | bytes]:
    """Return all events; bytes of a stream that follow each other are joined."""
    parser = Parser()
    found: list[Event | bytes] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Data):
                last = found[-1]
                data = bytes(event.data)
                if isinstance(last, bytes):
                    found[-1] = last + data
                else:
                    found.append(data)
            else:
                found.append(event)
    return found


def is_bare(data: bytes) -> bool:
    """Return True if the input begins with a command without prefix, which ends where a piece ends."""
    return data[:1] not in (b"z", b"n")


@given(INPUT, st.data())
def test_pieces_make_no_difference(data: bytes, draw: st.DataObject) -> None:
    whole = parsed([data])
    if is_bare(data):
        return
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    assert parsed(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)) == whole
    assert parsed(data[at : at + 1] for at in range(len(data))) == whole


@given(INPUT)
def test_events_are_in_order(data: bytes) -> None:
    """A stream's bytes are those of its chunks, and nothing follows what ends the connection."""
    left: int | None = None
    passing = ended = session = False
    numbers: list[int] = []
    for event in parsed([data]):
        assert not ended
        if isinstance(event, Command):
            assert left is None
            assert not passing
            numbers.append(event.number)
            session = event.number > 0
            left = 0 if event.name == b"INSTREAM" else None
            passing = event.name == b"FILDES"
            ended = not session and left is None and not passing
        elif isinstance(event, Chunk):
            assert left == 0
            left = event.length
        elif isinstance(event, bytes):
            assert left is not None
            left -= len(event)
            assert left >= 0
        elif isinstance(event, StreamEnd):
            assert left == 0
            left, ended = None, not session
        elif isinstance(event, Descriptor):
            assert passing
            assert data[event.position : event.position + 1]
            passing, ended = False, not session
        else:
            assert isinstance(event, Refused)
            ended = True
    assert numbers in ([0] * len(numbers), list(range(1, len(numbers) + 1)))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_stream_is_all_of_its_chunks(chunks: list[bytes]) -> None:
    data = b"zINSTREAM\0" + b"".join(map(chunk, chunks)) + END + b"zPING\0"
    found = parsed([data])
    assert b"".join(event for event in found if isinstance(event, bytes)) == b"".join(chunks)
    assert isinstance(found[-1], StreamEnd)


def test_positions_of_descriptors() -> None:
    data = b"zIDSESSION\0zFILDES\0xzINSTREAM\0" + stream(b"zFILDES\0y") + b"nFILDES\nz"
    found = [event.position for event in parsed([data]) if isinstance(event, Descriptor)]
    assert [data[at : at + 1] for at in found] == [b"x", b"z"]
    assert found == [data.index(b"x"), len(data) - 1]


@pytest.mark.parametrize("start", [b"z", b"n", b"zIDSESSION\0z", b"zIDSESSION\0PING\n"])
def test_commands_are_limited(start: bytes) -> None:
    parser = Parser()
    events = list(parser.feed(start))
    for _ in range(2 * COMMAND_MAX // 100):
        events += parser.feed(b"x" * 100)
        if parser.ended:
            break
    assert [type(event) for event in events] == [Refused]
    assert not list(parser.feed(b"zPING\0"))
