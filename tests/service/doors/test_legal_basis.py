"""A door whose legal basis has ended checks nothing, and answers as its settings say of unchecked uploads."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.service.doors.http.app import HttpDoor
from hashscan.service.doors.icap.door import IcapDoor
from hashscan.settings.legal_basis import LegalBasis
from hashscan.settings.service import AnswerWith
from tests.service.doors.clamd.talking import stream, talk
from tests.service.doors.http.serving import ask
from tests.service.doors.icap.sessions import chunked, reqmod
from tests.service.serving import STRICT, make_state, planted, served, tcp_door

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("answer", ["allow", "refuse", "error"])
@pytest.mark.parametrize("protocol", ["clamd", "icap", "http"])
def test_a_door_without_a_legal_basis_checks_nothing(
    tmp_path: Path, protocol: str, answer: AnswerWith
) -> None:
    makers = {"clamd": ClamdDoor, "icap": IcapDoor, "http": HttpDoor}
    door = tcp_door(protocol, answers={**STRICT, "trouble": answer})  # type: ignore[arg-type]
    with served(make_state(tmp_path), makers[protocol], door) as service:  # type: ignore[arg-type]

        def asked() -> bytes:
            if protocol == "http":
                found = ask(service.address.port, "POST", "/v1/scan?status=true", planted())
                return f"{found.status} ".encode() + found.body
            icap = reqmod(chunked([planted()]), "Allow: 204", "Connection: close")
            data = icap if protocol == "icap" else b"zINSTREAM\0" + stream(planted())
            return talk(service.address, [data])

        def set_basis(until: date, after: str = "not_checked", of: str = protocol) -> None:
            one = LegalBasis("law", until, door=of, after_legal_basis=after)  # type: ignore[arg-type]
            service.engine.settings = replace(service.engine.settings, bases=(one,))

        found = asked()
        for until, after, of in (
            (date(2999, 1, 1), "not_checked", protocol),
            (date(2020, 1, 1), "continue", protocol),
            (date(2020, 1, 1), "not_checked", "http" if protocol != "http" else "icap"),
        ):
            set_basis(until, after, of)
            assert _kind(asked()) == _kind(found) == "refuse"
        set_basis(date(2020, 1, 1))
        after_end = asked()
        assert _kind(after_end) == answer, after_end
        if (protocol, answer) == ("http", "error"):
            assert b'"legal_basis"' in after_end


def _kind(reply: bytes) -> str:
    """Return the answer of a reply of any of the protocols."""
    if reply.startswith((b"200", b"ICAP/1.0 204")) or b": OK" in reply:
        return "allow"
    if reply.startswith((b"403", b"ICAP/1.0 200")) or b"FOUND" in reply:
        return "refuse"
    return "error"
