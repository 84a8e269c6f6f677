"""Bits that have changed in a store or on the way are found by the checksums that stores keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.model import Reason
from tests.object_server import object_server, statistics
from tests.pictures import encoded, scene
from tests.sources.objects.buckets import KEY_ID, SECRET
from tests.sources.objects.scanning import UPLOADS, Scanned, scan

CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(scene(1), "JPEG"))
    return path


def scanned(url: str, *options: str) -> Scanned:
    return scan("s3://bucket", environment=CREDENTIALS, options=("--endpoint", url, *options))


def unreadable(found: Scanned) -> dict[str, str]:
    return {
        name: record["reason"]
        for name, record in found.by_path("s3://bucket/").items()
        if record["verdict"] == "unreadable"
    }


def test_etags_and_crcs(picture: Path) -> None:
    keys = [
        b"md5/fine",
        b"md5/flipped/p",
        b"md5/flipped1/p",
        b"crc/fine",
        b"crc/flipped/p",
        b"crc/flipped1/p",
    ]
    with object_server(
        "md5/:3:2000", "parts/:2:2000", "kms/:2:2000", files=dict.fromkeys(keys, picture)
    ) as url:
        found = scanned(url)
        reads = statistics(url)["reads"]
    assert unreadable(found) == {
        "md5/flipped/p": Reason.CHECKSUM.value,
        "crc/flipped/p": Reason.CHECKSUM.value,
    }
    assert found.code == 3
    assert found.summary["checksums"] == {"compared": 9, "not_compared": 4}
    # One more of each object that differs; four questions about encryption.
    assert reads == 13 + 4 + 4


def test_a_store_whose_etags_are_something_else(picture: Path) -> None:
    """As long as no object has shown that they are MD5s, nothing is said of those that differ."""
    with object_server("kms/:5:2000", files={b"md5/flipped/p": picture}) as url:
        found = scanned(url)
        assert statistics(url)["reads"] == 6
    assert (found.code, unreadable(found)) == (0, {})
    assert found.summary["checksums"] == {"compared": 0, "not_compared": 6}


@pytest.mark.parametrize("kind", ["crc", "sha"])
def test_objects_in_one_part_whose_etags_are_no_md5(picture: Path, kind: str) -> None:
    """By keys of KMS: the other checksum is asked for once, and then stated as each is read."""
    keys = [f"kms/{kind}/{name}".encode() for name in ("fine", "flipped/p", "flipped1/p")]
    with object_server(f"kms/{kind}/:2:2000", files=dict.fromkeys(keys, picture)) as url:
        found = scanned(url)
        reads = statistics(url)["reads"]
    assert unreadable(found) == {f"kms/{kind}/flipped/p": Reason.CHECKSUM.value}
    assert found.code == 3
    assert found.summary["checksums"] == {"compared": 5, "not_compared": 0}
    assert reads == 5 + 5 + 2


def test_an_etag_that_differs_where_the_bytes_have_another_checksum(picture: Path) -> None:
    """As in a store that makes ETags in a way of its own, and does not say so."""
    with object_server(
        "md5/:1:2000", files={b"wrong/crc/p": picture, b"wrong/crc/flipped/p": picture}
    ) as url:
        found = scanned(url)
    assert unreadable(found) == {"wrong/crc/flipped/p": Reason.CHECKSUM.value}
    assert found.summary["checksums"] == {"compared": 3, "not_compared": 0}


def test_a_large_object_that_is_resumed(picture: Path) -> None:
    with object_server("md5/:1:2000", "md5/cut1/:1:3000000", "crc/cut1/:1:3000000") as url:
        found = scanned(url)
    assert (found.code, unreadable(found)) == (0, {})
    assert found.summary["checksums"] == {"compared": 3, "not_compared": 0}


def test_a_listed_file_is_found_all_the_same() -> None:
    """Some stores let customers state the checksum; nobody hides a file by a wrong one."""
    files = {
        b"wrong/listed.png": UPLOADS / "bob/shop/mug.png",
        b"wrong/other.png": UPLOADS / "bob/shop/plant.png",
    }
    with object_server("md5/:1:10", files=files) as url:
        found = scanned(url)
    verdicts = {name: record["verdict"] for name, record in found.by_path("s3://bucket/").items()}
    assert verdicts == {"wrong/listed.png": "match", "wrong/other.png": "unreadable"}
    assert found.code == 4
