"""Sends pictures that take over or occupy their decoder through the ICAP door."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.service.doors.icap.door import IcapDoor
from tests.pictures import encoded, scene
from tests.scan.hostile import LIE, MARKS
from tests.service.doors.icap.sessions import REQUEST_HEAD, chunked, form, reqmod, talking
from tests.service.engine.test_attacks import decoding_by
from tests.service.serving import clean, make_state, planted, served, tcp_door
from tests.waiting import until

FORM_HEAD = REQUEST_HEAD[:-2] + b"Content-Type: multipart/form-data; boundary=b7\r\n\r\n"


@pytest.mark.parametrize("header", ["", "X-Client-Username"])
def test_a_taken_over_decoder_changes_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    """After the attack, the decoder says of every picture that it is the attacker's."""
    attack = encoded(scene(3)) + LIE
    mallory, others = (["X-Client-Username: mallory"], ["X-Client-Username: ann"]) if header else ([], [])
    door = tcp_door("icap", owner_header=header)
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load_liar"),
        served(make_state(tmp_path / "state"), IcapDoor, door) as service,
        talking(service) as talk,
    ):
        for _ in range(6):
            talk.ask(reqmod(chunked([attack]), "Allow: 204", *mallory))
            attacks = form(b"b7", [attack, clean()])
            talk.ask(reqmod(chunked([attacks]), "Allow: 204", *mallory, head=FORM_HEAD))
            assert talk.ask(reqmod(chunked([planted()]), "Allow: 204", *others)).refused
            assert talk.ask(reqmod(chunked([clean()]), "Allow: 204", *others)).status == 204
            body = form(b"b7", [clean(), planted()])
            assert talk.ask(reqmod(chunked([body]), "Allow: 204", *others, head=FORM_HEAD)).refused


def test_a_client_that_leaves_ends_the_work_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decoder would loop for longer than the test may take."""
    looping = encoded(scene(3)) + MARKS["loop"]
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load", seconds=1000.0),
        served(make_state(tmp_path / "state"), IcapDoor, tcp_door("icap")) as service,
    ):
        for session in (
            reqmod(chunked([looping]), "Allow: 204"),
            reqmod(chunked([looping])),
            reqmod(chunked([form(b"b7", [looping] * 9)]), "Allow: 204", head=FORM_HEAD),
            reqmod(chunked([form(b"b7", [looping] * 9)])[:-9], "Allow: 204", head=FORM_HEAD),
        ):
            with talking(service) as talk:
                talk.socket.sendall(session)
                until(lambda: service.engine.pool.running)
            until(lambda: not service.engine.pool.running and service.is_idle())
        with talking(service) as talk:
            assert talk.ask(reqmod(chunked([planted()]), "Allow: 204")).refused
