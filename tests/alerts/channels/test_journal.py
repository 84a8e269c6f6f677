"""Lines to a real socket in the place of the system's log."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.channel import DeliveryError
from hashscan.alerts.channels.journal import SyslogChannel, line_of


@pytest.mark.parametrize(("kind", "priority"), [(Kind.FOUND, 82), (Kind.OVERDUE, 81), (Kind.DONE, 86)])
def test_a_line_has_the_severity_of_its_kind(tmp_path: Path, kind: Kind, priority: int) -> None:
    document = Alert(kind, ("k",), 'two "new" cases', cases=(7, 8), counts={"match": 2}).document(
        "web1", "now"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.settimeout(30)
        log.bind(str(tmp_path / "log"))
        SyslogChannel(str(tmp_path / "log")).deliver({**document, "id": 12}, 5)
        line = log.recv(10_000).decode()
    assert re.fullmatch(
        rf'<{priority}>hashscan\[\d+\]: alert={kind.value} id=12 cases=7,8 match=2 '
        r'msg="hashscan on web1: two \\"new\\" cases"',
        line,
    )  # fmt: skip


def test_where_nobody_listens_it_has_failed(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="no system log"):
        SyslogChannel(str(tmp_path / "log")).deliver(Alert(Kind.TEST, (), "x").document("web1", "now"), 5)


@given(st.text(), st.text())
def test_nothing_in_it_begins_another_line_or_pair(subject: str, host: str) -> None:
    line = line_of(Alert(Kind.FOUND, ("k",), subject).document(host, "now"))
    assert line.isprintable()
    head, quote, message = line.partition('msg="')
    assert head == "alert=found id=- cases=- "
    assert quote
    assert re.fullmatch(r'(?:[^"\\]|\\.)*"', message)
