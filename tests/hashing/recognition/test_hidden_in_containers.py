"""Archives and streams in videos and documents, where nothing but 7z, GNU tar and FFmpeg looks for them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import TAR_SEARCHED, archives_beside
from hashscan.model import ContainerKind, Entry, MemberLimits, Verdict
from tests.hashing.recognition.disguises import tar_of
from tests.hashing.recognition.videos import Form, drawn
from tests.hashing.recognition.videos import encoded as encoded_video
from tests.pictures import counts_faults, encoded, scene
from tests.scan.workers.test_worker import check, worker_with

pytestmark = pytest.mark.integration

SHOWN = scene(7)
LIMITS = MemberLimits(seconds=60.0, kinds=tuple(ContainerKind))
HOSTS = {
    "mp4": Form("mp4", "libx264"),
    "mkv": Form("matroska", "libx264"),
    "avi": Form("avi", "mpeg4"),
    "ts": Form("mpegts", "libx264"),
}


def pdf() -> bytes:
    return encoded(scene(9, 200, 150), "PDF")


def hidden(listed: bytes, host: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a video or document with a picture in it, packed by each program, where it shows nothing."""
    packed = {
        "gzip": gzip.compress(listed),
        "bzip2": bz2.compress(listed),
        "xz": lzma.compress(listed),
        "tar": tar_of(listed),
    }
    for name, archive in packed.items():
        yield f"{host} {name} behind", content + bytes(-len(content) % 512) + archive
        if host == "mp4":
            yield (
                f"{host} {name} in a box",
                content + struct.pack(">I4s", 8 + len(archive), b"free") + archive,
            )
            yield f"{host} {name} in the last box", content + struct.pack(">I4s", 0, b"mdat") + archive
        elif host == "mkv":
            yield f"{host} {name} in Void", content + b"\xec\x01" + len(archive).to_bytes(7) + archive
        elif host == "avi":
            chunk = b"JUNK" + struct.pack("<I", len(archive)) + archive + bytes(len(archive) % 2)
            size = struct.pack("<I", len(content) + len(chunk) - 8)
            yield f"{host} {name} in a chunk", content[:4] + size + content[8:12] + chunk + content[12:]
        elif host == "pdf":
            end = content.rfind(b"startxref")
            yield f"{host} {name} in a comment", content[:end] + b"%" + archive + b"\n" + content[end:]


def verdicts(tmp_path: Path, files: dict[str, bytes], *shown: object) -> dict[str, Verdict]:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, content in enumerate(files.values()):
        (folder / f"{number:03}").write_bytes(content)
    digest, _ = PDQ().digest(np.asarray(shown[0]))
    with worker_with(tmp_path, Entry("a", "pdq", digest, "A1"), containers=LIMITS) as worker:
        found = check(worker, folder)
    return {name: found[f"{number:03}"].verdict for number, name in enumerate(files)}


@pytest.mark.slow
@counts_faults
def test_an_archive_in_a_video_or_document_is_found(tmp_path: Path) -> None:
    hosts = {**{name: encoded_video(form) for name, form in HOSTS.items()}, "pdf": pdf()}
    listed = encoded(SHOWN, "JPEG")
    files = dict(each for host, content in hosts.items() for each in hidden(listed, host, content))
    found = verdicts(tmp_path, hosts | files, SHOWN.convert("L"))
    assert {name for name in files if found[name] is not Verdict.MATCH} == set()
    assert {found[host] for host in hosts} == {Verdict.CLEAN}


@counts_faults
def test_jpegs_that_players_show_of_a_document_are_found(tmp_path: Path) -> None:
    """FFmpeg takes a document with JPEGs for Motion JPEG, wherever in it they are."""
    document = pdf()
    end = document.rfind(b"startxref")
    files = {"pdf": document}
    for form in (Form("mjpeg", "mjpeg", "yuvj420p"), Form("avi", "mjpeg", "yuvj420p")):
        video = encoded_video(form)
        files[f"{form.muxer} behind"] = document + video
        files[f"{form.muxer} in a comment"] = document[:end] + b"%" + video + b"\n" + document[end:]
    found = verdicts(tmp_path, files, drawn((176, 144)).convert("L"))
    assert found.pop("pdf") is Verdict.CLEAN
    assert set(found.values()) == {Verdict.MATCH}


@pytest.mark.parametrize("start", [TAR_SEARCHED - 512, TAR_SEARCHED])
def test_a_tar_archive_is_looked_for_up_to_a_bound(start: int, tmp_path: Path) -> None:
    """A longer video is not read again to its end."""
    with open(tmp_path / "file", "w+b") as file:
        file.seek(start)
        file.write(tar_of(b"harmless"))
        file.flush()
        places = [probed.start for probed in archives_beside(PreadFile(file.fileno()))]
    assert places == ([start] if start < TAR_SEARCHED else [])
