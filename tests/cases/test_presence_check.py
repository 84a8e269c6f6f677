from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.cases.presence_check import CheckResult, Presence, PresenceChecker
from hashscan.cases.queries import Case
from hashscan.registry import SOURCES
from hashscan.state.store.listings import wrapped
from tests.sources.objects.buckets import credentials, moto_url, stored

GONE, THERE, CHANGED, UNKNOWN = Presence.GONE, Presence.THERE, Presence.CHANGED, Presence.UNKNOWN
NEVER_SEEN = Presence.NEVER_SEEN


def case_of(path: bytes | None, content: bytes | None = b"bad", **more: object) -> Case:
    sha256 = None if content is None else hashlib.sha256(content).digest()
    case = Case(
        1, path, "", "", "", "match", "", ("A1",), "", sha256,
        "", None, None, None, None, None, None, 1, 1, 1, None, None, None, None, "", None, "", None, "", None,
    )  # fmt: skip
    return replace(case, **more)  # type: ignore[arg-type]


def known(path: Path) -> Case:
    status = path.stat()
    return case_of(
        bytes(path),
        path.read_bytes(),
        device=wrapped(status.st_dev),
        inode=wrapped(status.st_ino),
        size=status.st_size,
        mtime=status.st_mtime_ns,
        ctime=status.st_ctime_ns,
    )


def look(case: Case) -> Presence:
    return PresenceChecker(SOURCES).check(case).presence


def test_no_request_goes_to_an_endpoint_that_only_a_report_names() -> None:
    case = case_of(b"s3://bucket/key", host="http://192.0.2.1:9")
    for endpoint in (None, "http://192.0.2.2:9"):
        result = PresenceChecker({}, endpoint).check(case)
        assert (result.presence, "--endpoint" in result.reason) == (UNKNOWN, True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "file"
    path.write_bytes(b"bad")
    return path


def _touch(path: Path) -> None:
    os.utime(path, (1, 1))


def _copy(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.write_bytes(b"bad")


def _link_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(path.parent.with_name("moved"))


def _link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "presence"),
    [
        (lambda path: None, THERE),
        (_touch, THERE),
        (_copy, THERE),
        (lambda path: path.write_bytes(b"god"), CHANGED),
        (lambda path: path.write_bytes(b"longer"), CHANGED),
        (Path.unlink, GONE),
        (lambda path: path.rename(path.with_name("x")), GONE),
        (lambda path: path.parent.rename(path.parent.with_name("x")), GONE),
        (_link, GONE),
        (_link_folder, GONE),
        (_fifo, GONE),
    ],
)
def test_a_file(file: Path, change: Callable[[Path], object], presence: Presence) -> None:
    case = known(file)
    change(file)
    assert look(case) is presence


def test_a_file_whose_file_system_is_not_there_is_not_gone(file: Path) -> None:
    case = replace(known(file), device=12345)
    file.unlink()
    assert PresenceChecker(SOURCES).check(case) == CheckResult(case, UNKNOWN, "its filesystem is not mounted")


def test_of_what_only_a_notice_tells_it_is_enough_that_there_is_a_file(file: Path) -> None:
    assert look(case_of(bytes(file), None)) is THERE
    file.unlink()
    assert look(case_of(bytes(file), None)) is GONE
    assert look(case_of(None, None)) is UNKNOWN


@pytest.mark.parametrize("path", [b"/a\0b", b"relative", b"ftp://x/y", b"s3://", b"/" + b"x" * 5000, b"//"])
def test_no_path_is_too_odd_to_be_looked_at(path: bytes) -> None:
    assert PresenceChecker(SOURCES).check(case_of(path)).presence in {GONE, UNKNOWN}


@pytest.mark.integration
def test_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    with credentials() as environ:
        for key, value in environ.items():
            if key.startswith("AWS_"):
                monkeypatch.setenv(key, value)
        stored("cases", {b"same": b"bad", b"other": b"good", b"a//b?c": b"bad"})
        checker = PresenceChecker(SOURCES, moto_url())
        try:
            for key, etag, presence in (
                (b"same", "", THERE),
                (b"same", hashlib.md5(b"bad").hexdigest(), THERE),
                (b"same", "0" * 32, THERE),
                (b"a//b?c", "0" * 32, THERE),
                (b"other", "0" * 32, CHANGED),
                (b"missing", "", GONE),
            ):
                case = case_of(b"s3://cases/" + key, etag=etag)
                assert checker.check(case) == CheckResult(case, presence), key
            missing = checker.check(case_of(b"s3://no-such-bucket-here/x"))
            assert missing.presence in {GONE, UNKNOWN}
        finally:
            checker.close()


def test_a_file_on_another_machine_is_not_looked_for_on_this_one(file: Path) -> None:
    case = replace(known(file), host="web7")
    file.unlink()
    assert look(replace(case, host="")) is GONE
    found = PresenceChecker(SOURCES).check(case)
    assert (found.presence, "web7" in found.reason) == (UNKNOWN, True)


def test_a_notice_about_another_content_ends_nothing(file: Path) -> None:
    case = case_of(bytes(file), b"what the sender has hashed")
    assert look(case) is CHANGED
    found = PresenceChecker(SOURCES).check(replace(case, verdict="notice"))
    assert (found.presence, found.reason) == (UNKNOWN, "it has another content than the notice names")
    assert look(replace(known(file), verdict="notice")) is THERE


def test_a_notice_about_a_link_or_a_folder_ends_nothing_while_it_leads_somewhere(file: Path) -> None:
    link, folder = file.with_name("link"), file.parent.with_name("public")
    link.symlink_to(file)
    folder.symlink_to(file.parent)
    for path in (link, folder / file.name, file.parent):
        case = case_of(bytes(path), None)
        assert look(case) is GONE
        assert look(replace(case, verdict="notice")) is UNKNOWN
    file.unlink()
    for path in (link, folder / file.name):
        assert look(case_of(bytes(path), None, verdict="notice", witness="check")) is GONE
        assert look(case_of(bytes(path), None, verdict="notice")) is NEVER_SEEN
