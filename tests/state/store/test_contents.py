from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Part
from hashscan.model import StoredContentData
from hashscan.state.store.contents import CONFIRMED, HIT, LACKING, LOW, ODD, STALE, Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import pack
from hashscan.state.store.profile import Profile, from_text
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE
from tests.state.put_finding import put_finding


def kept(content: bytes, said: bytes = b"", kind: int = -1, confirmed: bool = False) -> StoredContentData:
    exact = tuple(hashlib.new(name, content).digest() for name in ("md5", "sha1", "sha256"))
    return StoredContentData(exact, kind, pack(said, ("pdq",)) if said else None, confirmed)


def reply(value: bytes) -> bytes:
    run = DigestRun(Part(), 0, (0, 1), 0, "pdq", value + bytes(32), 90, 0)
    return pack_picture(FORMATS[0], 30, 20, ("pdq",), [run])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Path]]:
    database, folder, _ = open_database(StateDir(tmp_path))
    yield database, folder
    database.close()


def test_what_was_put_in_comes_out(opened: tuple[sqlite3.Connection, Path]) -> None:
    contents = Contents(*opened, PROFILE)
    text = contents.add(kept(b"text"), 0, 5)
    said = reply(os.urandom(32))
    picture = contents.add(kept(b"picture", said, 0, confirmed=True), LOW | ODD, 6)
    recent = contents.load(text), contents.load(picture)
    contents.commit()
    contents.close()
    contents = Contents(*opened, PROFILE)
    assert (contents.load(text), contents.load(picture)) == recent
    assert contents.load(text).exact["sha256"] == hashlib.sha256(b"text").digest()
    found = contents.load(picture)
    assert (found.reply, found.kind, found.since) == (said, FORMATS[0], 6)
    assert found.flags == LOW | ODD | CONFIRMED
    assert contents.find(hashlib.sha256(b"picture").digest()) == [picture]
    assert contents.find(bytes(32)) == []
    contents.close()


def test_equal_content_is_kept_once_and_another_word_of_it_beside(
    opened: tuple[sqlite3.Connection, Path],
) -> None:
    contents = Contents(*opened, PROFILE)
    one, other = reply(bytes(range(32))), reply(bytes(range(1, 33)))
    first = contents.add(kept(b"a", one, 0), 0, 5)
    contents.commit()
    contents.close()
    contents = Contents(*opened, PROFILE)
    assert contents.add(kept(b"a", one, 0), 0, 9) == first
    second = contents.add(kept(b"a", other, 0), 0, 9)
    assert second != first
    # What only now was confirmed says more than before.
    assert contents.add(kept(b"a", one, 0, confirmed=True), 0, 9) not in {first, second}
    assert contents.load(first).reply == one
    assert contents.load(second).reply == other
    contents.close()


def test_further_digests_are_kept(opened: tuple[sqlite3.Connection, Path]) -> None:
    more = replace(PROFILE, exact=("md5/1", "sha1/1", "sha256/1", "sha512/1"))
    contents = Contents(*opened, more)
    exact = (*kept(b"a").exact, hashlib.sha512(b"a").digest())
    row = contents.add(StoredContentData(exact, -1, None, False), 0, 5)
    contents.commit()
    contents.close()
    contents = Contents(*opened, more)
    assert contents.load(row).exact["sha512"] == hashlib.sha512(b"a").digest()
    contents.close()


@pytest.mark.parametrize(
    ("wanted", "stale"),
    [
        (PROFILE, [False, False, False]),
        (replace(PROFILE, exact=("md5/1", "sha1/1", "sha256/1", "sha512/1")), [True, True, True]),
        (replace(PROFILE, exact=("md5/1", "sha1/2", "sha256/1")), [True, True, True]),
        (replace(PROFILE, pictures=("pdq/1", "phash/1")), [False, True, True]),
        (replace(PROFILE, pictures=("pdq/2",)), [False, True, True]),
        (replace(PROFILE, variants=()), [False, True, True]),
        (replace(PROFILE, max_pixels=10**7), [False, True, True]),
        (replace(PROFILE, rendering=2), [False, True, True]),
        (replace(PROFILE, formats=("JPEG/JPEG", "PNG/PNG")), [True, True, True]),
        (replace(PROFILE, extras=("heif",)), [False, False, True]),
    ],
)
def test_what_was_digested_otherwise_is_stale(
    opened: tuple[sqlite3.Connection, Path], wanted: Profile, stale: list[bool]
) -> None:
    contents = Contents(*opened, PROFILE)
    contents.add(kept(b"text"), 0, 5)
    contents.add(kept(b"picture", reply(bytes(range(32))), 0), 0, 5)
    contents.add(kept(b"heic", b"", 0), LACKING, 5)
    contents.commit()
    contents.close()
    contents = Contents(*opened, wanted)
    assert [bool(flags & STALE) for flags in contents.attention.tolist()] == stale
    contents.close()
    assert from_text(wanted.to_text()) == wanted


def test_what_was_recognised_otherwise_is_stale_but_for_plain_pictures(
    opened: tuple[sqlite3.Connection, Path],
) -> None:
    picture = kept(b"picture", reply(bytes(range(32))), 0)
    contents = Contents(*opened, PROFILE)
    contents.add(kept(b"text"), 0, 5)
    contents.add(picture, 0, 5)
    contents.add(picture._replace(members=b"what is behind it"), 0, 5)
    contents.commit()
    contents.close()
    contents = Contents(*opened, replace(PROFILE, recognises=("2",)))
    assert [bool(flags & STALE) for flags in contents.attention.tolist()] == [True, False, True]
    contents.close()


def test_a_hit_lasts(opened: tuple[sqlite3.Connection, Path]) -> None:
    contents = Contents(*opened, PROFILE)
    row = contents.add(kept(b"a"), 0, 5)
    contents.hit(row)
    contents.commit()
    contents.close()
    contents = Contents(*opened, PROFILE)
    assert contents.attention[row] == HIT
    contents.close()


@pytest.mark.parametrize("column", ["sha256", "md5", "sha1", "about", "pdq", "further"])
def test_changed_bytes_are_noticed(opened: tuple[sqlite3.Connection, Path], column: str) -> None:
    contents = Contents(*opened, PROFILE)
    row = contents.add(kept(b"a", reply(bytes(range(32))), 0), 0, 5)
    contents.commit()
    contents.close()
    path = opened[1] / column
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    contents = Contents(*opened, PROFILE)
    with pytest.raises(ValueError, match="checksum"):
        contents.load(row)
    contents.close()


def test_what_a_power_cut_took_is_stale(opened: tuple[sqlite3.Connection, Path]) -> None:
    contents = Contents(*opened, PROFILE)
    contents.add(kept(b"a"), 0, 5)
    contents.sync()
    contents.add(kept(b"b"), 0, 5)
    contents.commit()
    contents.close()
    os.truncate(opened[1] / "md5", 16)
    contents = Contents(*opened, PROFILE)
    assert contents.recover() == 1
    assert [bool(flags & STALE) for flags in contents.attention.tolist()] == [False, True]
    assert [contents.is_whole(row) for row in range(2)] == [True, False]
    contents.close()


@pytest.mark.parametrize("table", ["hits", "lost", "objects", "findings"])
def test_a_content_that_is_not_there_is_damage(opened: tuple[sqlite3.Connection, Path], table: str) -> None:
    database, _ = opened
    if table in {"hits", "lost"}:
        database.execute(f"INSERT INTO {table} VALUES (7)")
    elif table == "objects":
        database.execute("INSERT INTO objects VALUES (1, 'key', '', '', 1, 1, 7, 1, 1)")
    else:
        put_finding(database, b"path", 7)
    with pytest.raises(ValueError, match=f"{table} names content 7 of 0"):
        Contents(*opened, PROFILE)
