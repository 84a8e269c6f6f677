"""Tests of cases.notices.reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hashscan.cases.notices.notice import Notice
from hashscan.cases.notices.reader import NoticeError, Notices, SkipReason
from hashscan.errors import UsageError
from tests.cases.notices.examples import SPAM, V4, arf, text


def test_what_is_of_another_kind_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    path.write_bytes(text(V4, SPAM, SPAM))
    found = Notices(path)
    assert len(list(found)) == 1
    assert found.passed_over == {(SkipReason.OTHER_ABUSE, "'messaging/spam'"): 2}


def test_a_column_that_means_nothing_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    path.write_bytes(b"url,\x1b[31m\nhttps://a.example/,1\n")
    found = Notices(path)
    assert len(list(found)) == 1
    assert list(found.passed_over) == [(SkipReason.UNKNOWN_COLUMN, "'\\x1b[31m'")]


def test_notices_before_a_fault_are_good(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    path.write_bytes(b"url\nhttps://a.example/\nnothing\n")
    found = Notices(path, "csv")
    assert next(found).url == "https://a.example/"
    with pytest.raises(NoticeError, match="line 3"):
        next(found)


@pytest.mark.parametrize("name", ["missing", "folder", "pipe", "nul\0"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError):
        Notices(tmp_path / name)


@pytest.mark.integration
def test_standard_input_can_be_a_pipe() -> None:
    code = (
        "from pathlib import Path; from hashscan.cases.notices.reader import Notices\n"
        "print([notice.reference for notice in Notices(Path('-'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text(V4), capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.replace(b"'", b'"')) == [V4["report_id"]]


@pytest.mark.integration
def test_many_reports_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    line = text({**V4, "evidence": [{"content_type": "text/plain", "payload": "A" * 100_000}]})
    with path.open("wb") as stream:
        stream.writelines(line for _ in range(600))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from hashscan.cases.notices.reader import Notices\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(1 for _ in Notices(Path(sys.argv[1]))) == 600\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, check=True, timeout=60
    )
    assert int(done.stdout) < 20_000, "KiB; the file has sixty thousand"


NOTICE = Notice("R-1", "a@hotline.example", "https://a.example/x", received=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "again",
    [
        NOTICE,
        replace(NOTICE, received=datetime(2026, 1, 2, tzinfo=UTC)),
        replace(NOTICE, sender="A@Hotline.example"),
        replace(NOTICE, category="A1", deadline=datetime(2026, 1, 2, tzinfo=UTC)),
        replace(NOTICE, digests=(("md5", "0" * 32),)),
    ],
)
def test_what_is_reported_again_has_the_same_key(again: Notice) -> None:
    assert again.key == NOTICE.key


@pytest.mark.parametrize(
    "other",
    [
        replace(NOTICE, reference="R-2"),
        replace(NOTICE, sender="b@hotline.example"),
        replace(NOTICE, url="https://a.example/X"),
        replace(NOTICE, path=b"/x"),
        replace(NOTICE, reference="", digests=(("md5", "0" * 32),)),
        replace(NOTICE, reference=""),
    ],
)
def test_what_is_another_thing_has_another(other: Notice) -> None:
    assert other.key != NOTICE.key


def test_addresses_of_the_sender_are_left_out_unless_there_are_no_others(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    own = "https://www.hotline.example/about https://hotline.example:8443/"
    mail.write_text(f"From: A <a@hotline.example>\n\nhttps://nothotline.example/1 {own}\n")
    found = Notices(mail)
    assert [notice.url for notice in found] == ["https://nothotline.example/1"]
    assert found.passed_over == {(SkipReason.OWN_SITE, "'hotline.example'"): 2}
    mail.write_text(f"From: A <a@hotline.example>\n\n{own}\n")
    assert len(list(Notices(mail))) == 2


def test_a_report_of_something_else_makes_no_notice(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.write_bytes(arf("virus", "https://a.example/"))
    found = Notices(mail)
    assert list(found) == []
    assert found.passed_over == {(SkipReason.OTHER_ABUSE, "'virus'"): 1}


def test_two_mails_without_an_identifier_are_one_notice_only_if_they_name_the_same(tmp_path: Path) -> None:
    keys = []
    for place in ("https://a.example/1", "https://a.example/1", "https://a.example/2"):
        (tmp_path / "mail").write_text(f"From: a@x.example\n\n{place}\n")
        (notice,) = Notices(tmp_path / "mail")
        keys.append(notice.notice_key)
    assert keys[0] == keys[1] != keys[2]
