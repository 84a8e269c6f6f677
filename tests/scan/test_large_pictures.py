"""Pictures over the pixel limit of ordinary decoders: decoded later, one at a time, with more memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from msgspec import structs
from PIL import Image

from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup, algorithms_to_compute, asked_algorithms
from hashscan.model import Batch, Entry, FileResult, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers import worker as worker_module
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.hashing.drawings import clouds, mirrored, scene

pytestmark = pytest.mark.usefixtures("forked_zygotes")

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions("auto"),
    algorithms=("md5", "sha256", "pdq"),
    max_pixels=1_000_000,
    with_digests=True,
)
SIZE = 2504, 1803
"""Over the limit of this set-up, and not of decoders for large pictures."""


def drawn(size: tuple[int, int]) -> Image.Image:
    bands = [Image.fromarray(made(226, 313)) for made in (clouds, scene, mirrored)]
    return Image.merge("RGB", bands).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def large() -> bytes:
    return saved(drawn(SIZE), "PNG", compress_level=1)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def batches(folder: Path) -> list[Batch]:
    options = ListingOptions(exclude=Patterns.compile((), None))
    found = FilesystemSource([os.fsencode(folder)], options).listings()
    return [listing for listing in found if isinstance(listing, Batch)]


def check(setup: WorkerSetup, folder: Path) -> dict[str, FileResult]:
    with Worker(setup) as worker:
        results = [result for batch in batches(folder) for result in worker.check(batch).results]
    return {os.fsdecode(result.name): result for result in results}


def pdq(result: FileResult) -> int:
    return next(int.from_bytes(digest.value) for digest in result.digests if digest.algorithm == "pdq")


def test_is_decoded_as_its_smaller_copy(files: Path, large: bytes) -> None:
    (files / "large").write_bytes(large)
    (files / "small").write_bytes(saved(drawn((626, 450)), "PNG"))
    found = check(SETUP, files)
    assert {result.verdict for result in found.values()} == {Verdict.CLEAN}
    picture = found["large"].picture
    assert picture is not None
    assert (picture.width, picture.height) == SIZE
    assert (pdq(found["large"]) ^ pdq(found["small"])).bit_count() <= 10


def test_a_match_is_confirmed(files: Path, large: bytes, tmp_path: Path) -> None:
    (files / "large").write_bytes(large)
    value = pdq(check(SETUP, files)["large"]).to_bytes(32)
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [Entry("e", "pdq", value, "A1")], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        setup = replace(
            SETUP, lists=opened.handles, algorithms=algorithms_to_compute(asked_algorithms(opened.handles))
        )
        found = check(setup, files)["large"]
    assert (found.verdict, found.reason) == (Verdict.MATCH, None)


def test_is_deferred_while_others_are_checked(files: Path, large: bytes) -> None:
    (files / "large").write_bytes(large)
    (files / "small").write_bytes(saved(drawn((626, 450)), "PNG"))
    (batch,) = batches(files)
    with Worker(SETUP) as worker:
        answer = worker.check(structs.replace(batch, defer=True))
        names = [answer.results[place].name for place, _ in answer.deferred]
        assert names == [b"large"]
        assert [r.verdict for r in answer.results if r.name == b"small"] == [Verdict.CLEAN]


def test_without_more_memory_it_is_over_the_limit(files: Path, large: bytes) -> None:
    (files / "large").write_bytes(large)
    setup = replace(SETUP, sandbox=structs.replace(SETUP.sandbox, large_memory_bytes=1))
    found = check(setup, files)["large"]
    assert (found.verdict, found.reason) == (Verdict.UNDECODED, Reason.TOO_LARGE)
    assert {digest.algorithm for digest in found.digests} == {"md5", "sha256"}


def test_too_little_free_memory_is_no_property_of_the_file(
    files: Path, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is not stored, and the scan is incomplete."""
    (files / "large").write_bytes(large)
    monkeypatch.setattr(worker_module, "granted_memory", lambda usable: 16 << 20)
    found = check(SETUP, files)["large"]
    assert (found.verdict, found.reason) == (Verdict.UNDECODED, Reason.STARVED)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two owners")
def test_an_owner_of_many_uses_up_his_own_time(files: Path, large: bytes) -> None:
    """Each is small as a file, and takes long to decode."""
    for number in range(6):
        (files / f"bomb-{number}").write_bytes(large + bytes([number]))
        os.chown(files / f"bomb-{number}", 1001, 1001)
    (files / "victim").write_bytes(large)
    os.chown(files / "victim", 1002, 1002)
    setup = replace(SETUP, sandbox=structs.replace(SETUP.sandbox, owner_large_seconds=1e-6))
    found = check(setup, files)
    assert found["victim"].verdict is Verdict.CLEAN
    reasons = [result.reason for name, result in sorted(found.items()) if name != "victim"]
    assert sorted(map(str, reasons)) == sorted(map(str, [None, *[Reason.OVER_BUDGET] * 5]))


def scanned(folder: Path, state: Path, *options: str) -> list[dict]:
    ListStore(state / "lists").import_entries("ours", [Entry("e", "pdq", bytes(32), "A1")], "test")
    command = [sys.executable, "-m", "hashscan", "scan", str(folder), "--state", str(state), "--report", "-"]
    done = subprocess.run([*command, *options], capture_output=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_file_of_a_scan_has_a_verdict(files: Path, large: bytes, tmp_path: Path) -> None:
    """Two workers take turns; a broken one costs its own verdict."""
    for number in range(3):
        (files / f"large-{number}").write_bytes(large + bytes([number]))
    (files / "cut").write_bytes(large[: len(large) // 2])
    (files / "small").write_bytes(saved(drawn((626, 450)), "PNG"))
    records = scanned(files, tmp_path / "state", "--max-pixels", "1000000", "--workers", "2")
    summary = records[-1]
    assert summary["files"] == 5
    assert sum(summary["verdicts"].values()) == 5
    assert summary["verdicts"]["clean"] >= 4


@pytest.mark.slow
def test_a_picture_over_the_limit_is_tried_again_with_another_limit(
    files: Path, large: bytes, tmp_path: Path
) -> None:
    (files / "large").write_bytes(large)
    options = "--max-pixels", "1000000"
    before = scanned(files, tmp_path / "state", *options, "--large-decoder-memory", "1")[-1]
    assert before["reasons"] == {"undecoded": {Reason.TOO_LARGE.value: 1}}
    after = scanned(files, tmp_path / "state", *options)[-1]
    assert after["verdicts"]["clean"] == 1


@pytest.fixture(scope="module")
def fifty_megapixels() -> tuple[Image.Image, bytes]:
    """A picture, and a file of its copy of a quarter of the side."""
    whole = drawn((8160, 6120))
    return whole, saved(whole.reduce(4), "PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP"])
def test_fifty_megapixels(name: str, fifty_megapixels: tuple[Image.Image, bytes], tmp_path: Path) -> None:
    """Hashed as a copy of a quarter of the side; a GIF has 256 colours."""
    if name == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
    options = {
        "PNG": {"compress_level": 1},
        "WEBP": {"method": 0},
        "AVIF": {"speed": 10, "max_threads": 1},
        "HEIF": {"quality": 30, "enc_params": {"preset": "ultrafast"}},
    }.get(name, {})
    folder = tmp_path / "files"
    folder.mkdir()
    whole, small = fifty_megapixels
    (folder / "large").write_bytes(saved(whole, name, **options))
    (folder / "small").write_bytes(small)
    found = check(replace(SETUP, max_pixels=64_000_000), folder)
    assert {n: (r.verdict, r.reason) for n, r in found.items()} == dict.fromkeys(
        ("large", "small"), (Verdict.CLEAN, None)
    )
    assert (pdq(found["large"]) ^ pdq(found["small"])).bit_count() <= (31 if name == "GIF" else 10)
