"""Tests of reports.records."""

from __future__ import annotations

import base64
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import (
    Action,
    Digest,
    FileResult,
    FileStat,
    Item,
    Match,
    Picture,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.reports.records import (
    RecordLines,
    path_bytes,
    path_text,
    result_record,
    sandbox_fields,
)
from hashscan.text import path_fields, printable

STAT = FileStat(
    device=1, inode=2**64 - 1, size=3, mtime_ns=-(10**18), ctime_ns=13_569_465_600 * 10**9, links=1, uid=0
)


def finding() -> FileResult:
    return FileResult(
        b"f",
        STAT,
        Verdict.MATCH,
        because="pdq",
        action=Action.REPORT,
        matches=(Match("list", "e1", "pdq", "A1", 4, 31),),
        digests=(Digest("sha256", bytes(32)), Digest("pdq", bytes(32), 88)),
        picture=Picture("jpeg", 3, 4),
    )


@given(st.binary(max_size=300))
def test_any_path_comes_back(path: bytes) -> None:
    fields = json.loads(json.dumps(path_fields(path)))
    if "path_b64" in fields:
        assert base64.b64decode(fields["path_b64"]) == path
    else:
        assert fields["path"].encode() == path


@given(st.binary(max_size=300))
def test_a_line_is_one_line_of_printable_ascii(path: bytes) -> None:
    stream = io.BytesIO()
    RecordLines(stream).write(result_record(path, finding(), with_digests=True))
    line = stream.getvalue()
    assert line.endswith(b"\n")
    assert all(32 <= byte < 127 for byte in line[:-1])


def test_a_finding_says_what_the_report_promises() -> None:
    record = result_record(b"/t/f", finding(), with_digests=False)
    assert record["type"] == "finding"
    assert {
        "path",
        "size",
        "mtime_ns",
        "ctime_ns",
        "uid",
        "links",
        "matches",
        "verdict",
        "because",
        "action",
    } <= set(record)
    assert "digests" not in record
    assert record["matches"] == [
        {
            "list": "list",
            "entry": "e1",
            "algorithm": "pdq",
            "variant": "as stored",
            "distance": 4,
            "threshold": 31,
            "category": "A1",
        }
    ]


def test_digests_only_when_asked_for() -> None:
    record = result_record(b"/t/f", finding(), with_digests=True)
    assert record["digests"] == {"sha256": "00" * 32, "pdq": "00" * 32}
    assert record["quality"] == {"pdq": 88}


def test_others_carry_their_reason_and_no_action() -> None:
    result = FileResult(b"f", STAT, Verdict.UNREADABLE, Reason.VANISHED, "gone")
    record = result_record(b"/t/f", result, with_digests=False)
    assert (record["type"], record["reason"], record["detail"]) == ("unreadable", "vanished", "gone")
    assert "action" not in record


def test_the_sandbox_level_in_words() -> None:
    full = SandboxLevel("auto", 7, seccomp=True, uid_dropped=True, capabilities_dropped=True, limits=True)
    assert sandbox_fields(full)["level"] == "full"
    assert sandbox_fields(SandboxLevel("auto", 0, limits=True))["level"] == "partial"
    assert sandbox_fields(SandboxLevel("off"))["level"] == "off"


OBJECT = FileStat(device=0, inode=0, size=3, mtime_ns=5, ctime_ns=0, links=1, uid=2**62)


def test_of_an_object_only_what_means_something() -> None:
    result = FileResult(b"k", OBJECT, Verdict.UNREADABLE, Reason.VANISHED)
    item = Item(b"k", OBJECT, '"abc"', "v1")
    record = result_record(b"s3://b/k", result, with_digests=False, item=item)
    assert record == {
        "type": "unreadable", "schema": 1, "path": "s3://b/k", "verdict": "unreadable", "size": 3,
        "mtime_ns": 5, "etag": '"abc"', "version": "v1", "reason": "vanished",
    }  # fmt: skip


def test_an_unknown_size_is_left_out() -> None:
    stat = OBJECT._replace(size=-1)
    result = FileResult(b"k", stat, Verdict.UNREADABLE, Reason.VANISHED)
    record = result_record(b"s3://b/k", result, with_digests=False, item=Item(b"k", stat))
    assert not record.keys() & {"size", "etag", "version"}


@given(st.binary())
def test_a_name_comes_back_byte_for_byte(path: bytes) -> None:
    record = {"type": "finding", **path_fields(path)}
    assert path_bytes(record) == path
    assert path_text(record).encode("utf-8", errors="surrogateescape") == path


def test_half_a_character_in_a_report_that_we_did_not_write() -> None:
    record = {"type": "finding", "path": "/srv/\ud800"}
    assert path_bytes(record) == b"/srv/\xed\xa0\x80"
    assert printable(path_text(record)) == "/srv/\\ud800"
