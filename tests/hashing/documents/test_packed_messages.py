"""Files that OpenPGP and CMS pack without hiding them are in doubt."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.pread import PreadFile
from tests.hashing.documents.drawn import JPEG

WAYS = {
    "as it is": ["-z", "0", "--store"],
    "by ZIP": ["--compress-algo", "zip", "--store"],
    "by zlib": ["--compress-algo", "zlib", "--store"],
    "armoured": ["--armor", "--store"],
}
_OID = b"\x2a\x86\x48\x86\xf7\x0d\x01"
CMS = {
    "signed": b"\x30\x80\x06\x09"
    + _OID
    + b"\7\2\xa0\x80\x30\x80\2\1\1\x31\0\x30\x80\x06\x09"
    + _OID
    + b"\7\1\xa0",
    "enveloped": b"\x30\x82ab\x06\x09" + _OID + b"\7\3\xa0\x82",
    "plain data": b"\x30\x82ab\x06\x09" + _OID + b"\7\1\xa0\x82",
    "compressed": b"\x30\x82ab\x06\x0b" + _OID + b"\x09\x10\1\x09\xa0\x82",
    "enveloped with authentication": b"\x30\x82ab\x06\x0b" + _OID + b"\x09\x10\1\x17\xa0\x82",
}
CERTIFICATES = (
    b"\x30\x82ab\x06\x09"
    + _OID
    + b"\7\2\xa0\x82ab\x30\x82ab\2\1\1\x31\0\x30\x0b\x06\x09"
    + _OID
    + b"\7\1\xa0\x82"
)
"""A chain of certificates signs nothing: what follows the type are these."""


def names(content: bytes) -> set[str]:
    return {probed.kind.name for probed in texts_with_pictures(PreadFile(content))}


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")
@pytest.mark.parametrize("way", WAYS)
def test_files_that_gpg_stores(way: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    command = [
        "gpg",
        "--homedir",
        str(tmp_path),
        "--batch",
        "-o",
        "-",
        *WAYS[way],
        str(tmp_path / "photo.jpg"),
    ]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    assert names(made) == {"other archive"}
    if way != "armoured":
        assert names(b"\xca\3PGP" + made) == {"other archive"}


@pytest.mark.parametrize("kind", CMS)
def test_messages_of_cms(kind: str) -> None:
    assert names(CMS[kind] + JPEG) == {"other archive"}


def test_certificates_and_random_bytes_are_none() -> None:
    assert names(CERTIFICATES[:-2] + bytes(99)) == set()
    others = random.Random(1)
    assert [seed for seed in range(3000) if names(b"\xa3" + others.randbytes(600))] == []
