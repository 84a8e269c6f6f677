"""Only the recipient can open what is exported, and it is all that was kept."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from hashscan.errors import OutputError, UsageError
from hashscan.quarantine.captured_file import QuarantineSkipped
from hashscan.quarantine.export import export
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import Room

pyrage = pytest.importorskip("pyrage")


def exported(room: Room, target: Path, *keys: str) -> str:
    with Quarantine(StateDir(room.state)) as quarantine:
        return export(quarantine, list(quarantine.items().values()), keys, target)


def test_what_each_recipient_reads(room: Room, tmp_path: Path) -> None:
    contents = [b"small", b"x" * 3_000_000]
    results = room.take(*(room.file(str(n), content) for n, content in enumerate(contents)))
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    target = tmp_path / "evidence.age"
    digest = exported(room, target, *(str(identity.to_public()) for identity in identities))
    written = target.read_bytes()
    assert hashlib.sha256(written).hexdigest() == digest
    assert target.stat().st_mode & 0o777 == 0o600
    assert b"small" not in written
    for identity in identities:
        with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(written, [identity]))) as archive:
            for answer, content in zip(results, contents, strict=True):
                kept, record = (
                    archive.extractfile(f"{answer.item}/{name}") for name in ("content", "record.jsonl")
                )
                assert kept is not None
                assert record is not None
                assert kept.read() == content
                assert [json.loads(line)["type"] for line in record] == ["moving", "moved"]
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(written, [pyrage.x25519.Identity.generate()])
    log = (room.state / "quarantine" / "log.jsonl").read_text()
    assert digest in log
    assert str(identities[0].to_public()) in log
    # It changes nothing of where they are.
    assert [item.state.value for item in room.items()] == ["moved", "moved"]


def test_nothing_half_is_left(room: Room, tmp_path: Path) -> None:
    results = room.take(room.file("a"), room.file("b", b"other"))
    key = str(pyrage.x25519.Identity.generate().to_public())
    target = tmp_path / "evidence.age"
    with pytest.raises(UsageError, match="public key"):
        exported(room, target, "age1nonsense")
    with pytest.raises(OutputError):
        exported(room, tmp_path / "none" / "x", key)
    (room.state / "quarantine" / ".hashscan-quarantine" / results[1].item).unlink()
    with pytest.raises(QuarantineSkipped):
        exported(room, target, key)
    assert not target.exists()
    target.write_bytes(b"another")
    with pytest.raises(UsageError, match="exists already"):
        exported(room, target, key)
    assert target.read_bytes() == b"another"
