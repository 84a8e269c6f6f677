from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.secret_files import SECRET_MAX, read_secret, secret_lines


def secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file with these permissions."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o610, 0o660, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path / "secret", b"hunter2", mode)
    with pytest.raises(UsageError, match="others than its owner") as caught:
        read_secret(path, "the token")
    assert f"chmod 600 {path}" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_a_group_may_read_the_files_of_root_only(tmp_path: Path) -> None:
    path = secret(tmp_path / "secret", b"hunter2", 0o640)
    if os.geteuid() == 0:
        assert read_secret(path, "the token") == b"hunter2"
        return
    with pytest.raises(UsageError, match="others than its owner"):
        read_secret(path, "the token")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of another user: run as root")
def test_root_reads_no_file_of_another_user(tmp_path: Path) -> None:
    """A customer could put one in the place of root's."""
    path = secret(tmp_path / "secret", b"hunter2")
    assert read_secret(path, "the token") == b"hunter2"
    os.chown(path, 54321, 0)
    with pytest.raises(UsageError, match="54321"):
        read_secret(path, "the token")


def test_what_is_read_is_what_was_checked(tmp_path: Path) -> None:
    """The name leads by turns to a private file, and to one that others may write."""
    private = secret(tmp_path / "private", b"private")
    exposed = secret(tmp_path / "exposed", b"exposed", 0o666)
    name, link = tmp_path / "name", tmp_path / "link"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (private, exposed):
                link.symlink_to(target)
                link.replace(name)

    name.symlink_to(private)
    thread = threading.Thread(target=swap)
    thread.start()
    found: Counter[bytes] = Counter()
    try:
        while found.total() < 2000 or len(found) < 2:
            try:
                found[read_secret(name, "the token")] += 1
            except UsageError:
                found[b"refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert found.keys() == {b"private", b"refused"}


def test_a_file_that_is_opened_to_others_while_it_is_read_is_still_the_one_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others can write only after the check, and only into another file if it is replaced."""
    path = secret(tmp_path / "secret", b"hunter2")
    check = os.fstat

    def replaced(descriptor: int) -> os.stat_result:
        status = check(descriptor)
        path.unlink(missing_ok=True)
        secret(path, b"another", 0o666)
        return status

    monkeypatch.setattr(os, "fstat", replaced)
    assert read_secret(path, "the token") == b"hunter2"


def test_nothing_but_a_file_of_a_secret_s_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    secret(tmp_path / "long", bytes(SECRET_MAX + 1))
    for name in ("fifo", "long", "none", "."):
        with pytest.raises(UsageError):
            read_secret(tmp_path / name, "the token")
    assert len(read_secret(secret(tmp_path / "most", bytes(SECRET_MAX)), "the token")) == SECRET_MAX


def test_lines_of_secrets(tmp_path: Path) -> None:
    path = secret(tmp_path / "urls", b"# mail\n\n mailto://a \r\njson://b")
    assert secret_lines(path, "--notify") == ("mailto://a", "json://b")
    with pytest.raises(UsageError, match="not a text file"):
        secret_lines(secret(tmp_path / "binary", b"\xff"), "--notify")
