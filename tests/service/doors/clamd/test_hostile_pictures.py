"""Sends pictures that take over, stop or end their decoder through the clamd door."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.settings.service import UnixAddress
from tests.pictures import encoded, scene
from tests.scan.hostile import LIE, MARKS
from tests.service.doors.clamd.talking import connected, settings, stream, talk
from tests.service.engine.serving import run, serving, settings_of
from tests.service.engine.test_attacks import decoding_by
from tests.service.serving import clean, make_state, planted

REFUSED = re.compile(rb"stream: hashscan\.Blocked-[0-9A-Z]{16} FOUND")


def lines(reply: bytes) -> dict[int, bytes]:
    """Return the replies of a session by number."""
    found = (line.partition(b": ") for line in reply.removesuffix(b"\0").split(b"\0"))
    return {int(number): text for number, _, text in found}


def test_a_taken_over_decoder_changes_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the attack, the decoder says of every picture that it is the attacker's."""
    make_state(tmp_path / "state")
    attack = encoded(scene(3)) + LIE
    one = b"".join(b"zINSTREAM\0" + stream(content) for content in (attack, planted(), clean()))

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            door = ClamdDoor(engine, settings(UnixAddress(tmp_path / "door.sock")))
            await door.open()
            for _ in range(6):
                session = await asyncio.to_thread(talk, door.address, [b"zIDSESSION\0", one * 2, b"zEND\0"])
                answers = lines(session)
                assert [bool(REFUSED.fullmatch(answers[number])) for number in range(1, 7)] == [
                    False, True, False, False, True, False,
                ]  # fmt: skip
                assert answers[1] == answers[3] == b"stream: OK"
                alone = await asyncio.to_thread(talk, door.address, [b"zINSTREAM\0" + stream(planted())])
                assert REFUSED.match(alone)
            await door.close(1)

    with decoding_by(monkeypatch, "tests.scan.hostile:load_liar"):
        run(test)


def test_a_client_that_leaves_ends_the_work_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decoder would loop for longer than the test may take."""
    make_state(tmp_path / "state")
    looping = encoded(scene(3)) + MARKS["loop"]

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state", workers=1)) as engine:
            door = ClamdDoor(engine, settings(UnixAddress(tmp_path / "door.sock")))
            await door.open()
            for start in (b"", b"zIDSESSION\0"):
                with connected(door.address) as client:
                    client.sendall(start + b"zINSTREAM\0" + stream(looping))
                    while not engine.pool.running:
                        await asyncio.sleep(0.01)
                while engine.pool.running or door.connections:
                    await asyncio.sleep(0.01)
            assert (engine.room.taken, engine.room.contents) == (0, 0)
            alone = await asyncio.to_thread(talk, door.address, [b"zINSTREAM\0" + stream(planted())])
            assert REFUSED.match(alone)
            await door.close(1)

    with decoding_by(monkeypatch, "tests.scan.hostile:load", seconds=1000.0):
        run(test)


def test_decoders_that_die_cost_one_answer_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_state(tmp_path / "state")
    deadly = encoded(scene(3)) + MARKS["segfault"]

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            answers = {"match": "refuse", "undecoded": "error", "trouble": "error"}
            door = ClamdDoor(engine, settings(UnixAddress(tmp_path / "door.sock"), answers=answers))
            await door.open()
            both = b"".join(b"zINSTREAM\0" + stream(content) for content in (deadly, planted()))
            session = await asyncio.to_thread(talk, door.address, [b"zIDSESSION\0", both * 8, b"zEND\0"])
            for number, answer in lines(session).items():
                expected = REFUSED if number % 2 == 0 else re.compile(rb"stream: Not checked.* ERROR")
                assert expected.fullmatch(answer), number
            await door.close(1)

    with decoding_by(monkeypatch, "tests.scan.hostile:load"):
        run(test)
