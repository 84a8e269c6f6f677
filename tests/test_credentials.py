from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.lists.pulling.origin import checked_origin
from hashscan.secret_files import CredentialSources, read_credentials


def private(path: Path, data: bytes) -> str:
    path.touch(0o600)
    path.write_bytes(data)
    return str(path)


def test_a_token(tmp_path: Path) -> None:
    places = CredentialSources(token_file=private(tmp_path / "t", b"abc.DEF-123~+/=\r\nmore\n"))
    assert read_credentials(places, {}).authorization == "Bearer abc.DEF-123~+/="
    places = CredentialSources(token_variable="LIST_TOKEN")
    assert read_credentials(places, {"LIST_TOKEN": "abc"}).authorization == "Bearer abc"


def test_a_login(tmp_path: Path) -> None:
    places = CredentialSources(login_file=private(tmp_path / "l", b"Aladdin:open sesame\n"))
    assert read_credentials(places, {}).authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    places = CredentialSources(login_variable="LIST_LOGIN")
    assert read_credentials(places, {"LIST_LOGIN": "a:b:c"}).authorization == "Basic YTpiOmM="


def test_none_at_all() -> None:
    assert read_credentials(CredentialSources(), {"LIST_TOKEN": "abc"}).authorization is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"b\xc3\xa4r", b"x" * 8193, b"x" * 70_000, b"a\0"]
)
def test_what_is_no_token(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError):
        read_credentials(CredentialSources(token_file=private(tmp_path / "t", content)), {})


@pytest.mark.parametrize("content", [b"", b"user", b":password", b"user:"])
def test_what_is_no_login(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="not a user, a colon and a password"):
        read_credentials(CredentialSources(login_file=private(tmp_path / "t", content)), {})


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o660, 0o666, 0o601])
def test_files_that_others_may_use_are_refused(tmp_path: Path, mode: int) -> None:
    path = Path(private(tmp_path / "secret", b"hunter2"))
    path.chmod(mode)
    for places in (
        CredentialSources(token_file=str(path)),
        CredentialSources(login_file=str(path)),
        CredentialSources(certificate=str(path)),
        CredentialSources(certificate="c", key=str(path)),
    ):
        with pytest.raises(UsageError, match="others than its owner") as caught:
            read_credentials(places, {})
        assert f"chmod 600 {path}" in caught.value.remedy
        assert "hunter2" not in str(caught.value)


def test_what_cant_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "none", tmp_path / "fifo", tmp_path):
        with pytest.raises(UsageError):
            read_credentials(CredentialSources(token_file=str(path)), {})
    with pytest.raises(UsageError, match="LIST_TOKEN, which is not set"):
        read_credentials(CredentialSources(token_variable="LIST_TOKEN"), {})
    # Only pulls need it.
    checked_origin("https://lists.example/", credentials=CredentialSources(token_variable="LIST_TOKEN"))


def test_what_cant_be_meant() -> None:
    with pytest.raises(UsageError, match="two tokens or logins"):
        CredentialSources(token_file="a", login_file="b")
    with pytest.raises(UsageError, match="no certificate"):
        CredentialSources(key="k")
    with pytest.raises(UsageError) as caught:
        CredentialSources(token_variable="the-secret-itself")
    assert "the-secret-itself" not in str(caught.value) + caught.value.remedy


@given(st.binary(max_size=100))
def test_any_content_is_credentials_or_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = private(tmp_path_factory.mktemp("any") / "file", content)
    for places in (CredentialSources(token_file=path), CredentialSources(login_file=path)):
        try:
            header = read_credentials(places, {}).authorization
        except UsageError:
            continue
        assert header is not None
        assert header.isascii()
        assert header.isprintable()
