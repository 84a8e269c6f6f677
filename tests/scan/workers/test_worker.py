"""One worker over real files, with real decoders, honest and taken over."""

from __future__ import annotations

import base64
import gzip
import io
import os
import resource
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PIL import Image, ImageDraw, ImageOps

from hashscan.hashing.records import DIGESTS_MAX
from hashscan.hashing.variants import VARIANTS
from hashscan.lists.exceptions import made_exception
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import FileTask
from hashscan.matching.policy import judge
from hashscan.matching.worker_setup import WorkerSetup, algorithms_to_compute, asked_algorithms
from hashscan.model import (
    MATCHES_MAX,
    Batch,
    Entry,
    ExceptedEntry,
    FileResult,
    MemberLimits,
    Reason,
    Verdict,
)
from hashscan.sandbox.client import PendingFile, Sandbox, SandboxOptions
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.single_checks import match_digest
from hashscan.scan.workers.batch_queues import LARGE_BYTES, SPARSE_BYTES
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions, OpenFolder
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from hashscan.state.store.members import unpack_members
from tests.examples import quick_first
from tests.forked_zygote import zygotes_forked
from tests.pictures import encoded, scene
from tests.scan.hostile import LIE, MARKS, value_of_frame

pytestmark = pytest.mark.usefixtures("forked_zygotes")

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions("auto", seconds=5.0),
    algorithms=("md5", "sha1", "sha256", "pdq"),
    max_pixels=10**7,
    with_digests=True,
)


LARGE = 300_000
"""More bytes than a worker reads at once."""


def zip_of(content: bytes, mark: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("member"), content)
        archive.comment = mark
    return made.getvalue()


def batches(folder: Path) -> list[Batch]:
    options = ListingOptions(exclude=Patterns.compile((), None))
    found = FilesystemSource([os.fsencode(folder)], options).listings()
    return [
        structs.replace(listing, items=tuple(sorted(listing.items, key=lambda item: item.name)))
        for listing in found
        if isinstance(listing, Batch)
    ]


def check(worker: Worker, folder: Path) -> dict[str, FileResult]:
    results = [result for batch in batches(folder) for result in worker.check(batch).results]
    return {os.fsdecode(result.name): result for result in results}


def digest_of(content: bytes, algorithm: str, tmp_path: Path) -> bytes:
    folder = tmp_path / "digest-of"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(content)
    with Worker(replace(SETUP, algorithms=(algorithm,))) as worker:
        (digest,) = check(worker, folder)["file"].digests
    return digest.value


@contextmanager
def worker_with(
    tmp_path: Path,
    *entries: Entry,
    decoder: str | None = None,
    excepted: tuple[ExceptedEntry, ...] = (),
    containers: MemberLimits | None = None,
    sandbox: SandboxOptions = SETUP.sandbox,
    forked: bool = True,
) -> Iterator[Worker]:
    """A worker with a list of these entries; its zygotes are forked from here unless `forked` is False."""
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", entries, "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        setup = replace(
            SETUP,
            lists=opened.handles,
            algorithms=algorithms_to_compute(asked_algorithms(opened.handles)),
            excepted=excepted,
            containers=containers,
            sandbox=sandbox,
        )
        if decoder is not None:
            setup = replace(setup, decoder=decoder)
        with zygotes_forked() if forked else nullcontext(), Worker(setup) as worker:
            yield worker


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def test_a_taken_over_decoder_accuses_nobody(tmp_path: Path, files: Path) -> None:
    """The first picture takes the decoder over and makes it say that all others are the listed one."""
    listed = encoded(scene(1))
    (files / "0-attack.jpg").write_bytes(listed + LIE)
    for number in range(1, 5):
        (files / f"{number}-innocent.jpg").write_bytes(encoded(scene(10 + number)))
    value = digest_of(listed, "pdq", tmp_path)
    with worker_with(
        tmp_path, Entry("e", "pdq", value, "A1"), decoder="tests.scan.hostile:load_liar"
    ) as worker:
        found = check(worker, files)
    assert found.pop("0-attack.jpg").verdict is Verdict.MATCH
    assert len(found) == 4
    for result in found.values():
        assert (result.verdict, result.reason, result.matches) == (
            Verdict.UNDECODED,
            Reason.UNCONFIRMED,
            (),
        )


def test_a_decoder_that_babbles_costs_verdicts_only(tmp_path: Path, files: Path) -> None:
    (files / "a.jpg").write_bytes(encoded(scene(1)))
    (files / "b.txt").write_bytes(b"text")
    with worker_with(
        tmp_path, Entry("e", "md5", bytes(16), "A1"), decoder="tests.scan.hostile:load_babbler"
    ) as worker:
        found = check(worker, files)
    assert (found["a.jpg"].verdict, found["a.jpg"].reason) == (Verdict.UNDECODED, Reason.DECODER_DIED)
    assert found["b.txt"].verdict is Verdict.CLEAN
    assert {digest.algorithm for digest in found["a.jpg"].digests} == {"md5", "sha1", "sha256"}


def test_a_poor_picture_is_not_matched_but_counted(tmp_path: Path, files: Path) -> None:
    flat = encoded(scene(1).convert("L").point(lambda value: 128 + value // 64), "PNG")
    (files / "flat.png").write_bytes(flat)
    value = digest_of(flat, "pdq", tmp_path)
    with worker_with(tmp_path, Entry("e", "pdq", value, "A1")) as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.CLEAN
    assert result.low_quality


def test_64_bit_hashes_are_for_review(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1), "PNG")
    (files / "a.png").write_bytes(content)
    for algorithm in ("phash", "dhash", "ahash", "whash"):
        value = digest_of(content, algorithm, tmp_path)
        with worker_with(tmp_path, Entry("e", algorithm, value, "A1")) as worker:
            (result,) = check(worker, files).values()
        assert result.verdict is Verdict.REVIEW, algorithm
        assert result.matches[0].algorithm == algorithm


def test_known_good_content_is_held(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1))
    (files / "a.jpg").write_bytes(content)
    entries = (
        Entry("bad", "pdq", digest_of(content, "pdq", tmp_path), "A1"),
        Entry("good", "sha256", digest_of(content, "sha256", tmp_path), "known-good"),
    )
    with worker_with(tmp_path, *entries) as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.HELD


def test_an_exception_is_of_one_entry_as_it_was(tmp_path: Path, files: Path) -> None:
    """Its list, its id and its value: whatever else has the id still matches."""
    content = encoded(scene(1))
    (files / "a.jpg").write_bytes(content)
    entry = Entry("e", "sha256", digest_of(content, "sha256", tmp_path), "A1")
    until, now = datetime(2999, 1, 1, tzinfo=UTC), datetime.now(UTC)
    excepted = made_exception("ours", entry, "a logo", until, "root", now)
    corrected = made_exception("ours", structs.replace(entry, value=bytes(32)), "a logo", until, "root", now)
    for exception, verdict in (
        (excepted, Verdict.HELD),
        (structs.replace(excepted, list_name="theirs"), Verdict.MATCH),
        (structs.replace(excepted, entry_id="e2"), Verdict.MATCH),
        (corrected, Verdict.MATCH),
    ):
        with worker_with(tmp_path, entry, excepted=(exception,)) as worker:
            (result,) = check(worker, files).values()
            assert result.verdict is verdict
            (match,) = match_digest(worker, "sha256", entry.value)
            assert (match.excepted is not None) == (verdict is Verdict.HELD)
    assert "a logo" not in result.because


def test_an_excepted_likeness_is_confirmed_and_held(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1))
    (files / "a.jpg").write_bytes(content)
    entry = Entry("e", "pdq", digest_of(content, "pdq", tmp_path), "A1")
    excepted = made_exception(
        "ours", entry, "a logo", datetime(2999, 1, 1, tzinfo=UTC), "root", datetime.now(UTC)
    )
    with worker_with(tmp_path, entry, excepted=(excepted,)) as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.HELD
    assert result.matches[0].excepted == excepted
    assert result.because.endswith("excepted here until 2999-01-01T00:00:00Z: a logo")


def test_many_excepted_entries_do_not_hide_the_one_that_is_not(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1))
    (files / "a.jpg").write_bytes(content)
    value = digest_of(content, "sha256", tmp_path)
    entries = [Entry(f"e{number:03}", "sha256", value, "A1") for number in range(3 * MATCHES_MAX)]
    until, now = datetime(2999, 1, 1, tzinfo=UTC), datetime.now(UTC)
    excepted = [made_exception("ours", entry, "a logo", until, "root", now) for entry in entries]
    with worker_with(tmp_path, *entries, excepted=tuple(excepted[:-1])) as worker:
        (result,) = check(worker, files).values()
        matches = match_digest(worker, "sha256", value)
    assert result.verdict is Verdict.MATCH
    assert result.matches[0].entry_id == entries[-1].id
    assert judge(matches, None) == (Verdict.MATCH, result.because, result.action)


def test_a_thousand_equal_entries_do_not_swell_a_finding(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1))
    (files / "a.jpg").write_bytes(content)
    value = digest_of(content, "sha256", tmp_path)
    entries = [Entry(f"e{number}", "sha256", value, "A1") for number in range(1000)]
    with worker_with(tmp_path, *entries) as worker:
        (result,) = check(worker, files).values()
    assert len(result.matches) == MATCHES_MAX
    assert "999 more" in result.because


def test_a_file_that_grows_while_it_is_read(files: Path) -> None:
    path = files / "log"
    path.write_bytes(bytes(1 << 26))
    listed = batches(files)
    with subprocess.Popen(["sh", "-c", 'while :; do echo x >> "$0"; done', str(path)]) as writer:
        try:
            with Worker(SETUP) as worker:
                (result,) = worker.check(listed[0]).results
        finally:
            writer.kill()
    assert (result.verdict, result.reason) == (Verdict.UNREADABLE, Reason.CHANGED)
    assert result.digests == ()


def test_files_that_change_between_listing_and_reading(files: Path) -> None:
    for name in ("gone", "fifo", "link", "shrunk", "other"):
        (files / name).write_bytes(b"x" * 100)
    listed = batches(files)
    (files / "gone").unlink()
    (files / "fifo").unlink()
    os.mkfifo(files / "fifo")
    (files / "link").unlink()
    (files / "link").symlink_to("/etc/passwd")
    (files / "shrunk").write_bytes(b"x")
    (files / "new").write_bytes(b"x" * 100)
    (files / "new").rename(files / "other")
    with Worker(SETUP) as worker:
        answer = worker.check(listed[0])
    found = {os.fsdecode(r.name): (r.verdict, r.reason) for r in answer.results}
    assert found == {
        "gone": (Verdict.UNREADABLE, Reason.VANISHED),
        "fifo": (Verdict.UNREADABLE, Reason.REPLACED),
        "link": (Verdict.UNREADABLE, Reason.REPLACED),
        "shrunk": (Verdict.CLEAN, None),
        "other": (Verdict.UNREADABLE, Reason.REPLACED),
    }


def test_a_folder_that_is_replaced_costs_all_its_files(tmp_path: Path, files: Path) -> None:
    for number in range(5):
        (files / str(number)).write_bytes(b"x")
    listed = batches(files)
    files.rename(tmp_path / "moved")
    files.symlink_to("/etc")
    with Worker(SETUP) as worker:
        answer = worker.check(listed[0])
    assert [r.name for r in answer.results] == [item.name for item in listed[0].items]
    assert {(r.verdict, r.reason) for r in answer.results} == {(Verdict.UNREADABLE, Reason.REPLACED)}


def test_what_is_recognised_but_not_decoded_is_said(files: Path) -> None:
    (files / "photo.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(64))
    with Worker(SETUP) as worker:
        (result,) = check(worker, files).values()
    assert (result.verdict, result.reason, result.detail) == (
        Verdict.UNDECODED,
        Reason.UNSUPPORTED,
        "OpenEXR",
    )


def test_a_container_is_not_clean_wherever_it_begins(files: Path) -> None:
    picture, archive = encoded(scene(1), "PNG"), zip_of(encoded(scene(2), "PNG"))
    (files / "archive").write_bytes(archive)
    (files / "program").write_bytes(b"\x7fELF" + bytes(LARGE) + archive)
    (files / "both.png").write_bytes(picture + archive)
    (files / "picture.png").write_bytes(picture)
    with Worker(SETUP) as worker:
        found = check(worker, files)
    assert found.pop("picture.png").verdict is Verdict.CLEAN
    assert {(r.verdict, r.reason) for r in found.values()} == {(Verdict.UNDECODED, Reason.CONTAINER)}
    assert found["both.png"].picture is not None
    assert found["archive"].detail == found["program"].detail == "ZIP"


def test_a_listed_container_and_a_listed_picture_before_one_are_matches(tmp_path: Path, files: Path) -> None:
    archive, both = zip_of(b"text"), encoded(scene(1), "PNG") + zip_of(b"text")
    (files / "archive").write_bytes(archive)
    (files / "both.png").write_bytes(both)
    entries = (
        Entry("whole", "sha256", digest_of(archive, "sha256", tmp_path), "A1"),
        Entry("picture", "pdq", digest_of(both, "pdq", tmp_path), "A1"),
    )
    with worker_with(tmp_path, *entries) as worker:
        found = check(worker, files)
    assert {name: (r.verdict, r.matches[0].entry_id) for name, r in found.items()} == {
        "archive": (Verdict.MATCH, "whole"),
        "both.png": (Verdict.MATCH, "picture"),
    }


CONTAINERS = MemberLimits(members=1000, bytes=1 << 28, ratio=200, depth=3, seconds=60.0)


def test_texts_start_no_zygote(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.txt").write_bytes(b"text")
    (files / "b.html").write_bytes(b"<p>Text.</p>" * 1000)
    with worker_with(tmp_path, Entry("e", "pdq", bytes(range(32)), "A1")) as worker:
        assert {result.verdict for result in check(worker, files).values()} == {Verdict.CLEAN}
        assert worker.level is None


@pytest.mark.parametrize("algorithm", ["sha256", "pdq"])
def test_a_listed_picture_in_an_archive_is_found_with_its_place(
    tmp_path: Path, files: Path, algorithm: str
) -> None:
    pytest.importorskip("libarchive")
    listed, other = encoded(scene(1), "PNG"), encoded(scene(2), "PNG")
    (files / "archive.zip").write_bytes(zip_of(zip_of(listed)))
    (files / "both.png").write_bytes(other + zip_of(listed))
    (files / "innocent.zip").write_bytes(zip_of(other))
    (files / "text.zip").write_bytes(zip_of(b"text"))
    (files / "listed.png").write_bytes(listed)
    (files / "broken.zip").write_bytes(zip_of(listed)[:200])
    entry = Entry("e", algorithm, digest_of(listed, algorithm, tmp_path), "A1")
    with worker_with(tmp_path, entry, containers=CONTAINERS) as worker:
        batch = batches(files)[0]
        answer = worker.check(batch)
    found = {os.fsdecode(result.name): result for result in answer.results}
    places = {name: [m.member for m in result.matches] for name, result in found.items() if result.matches}
    assert places == {"archive.zip": ["member!member"], "both.png": ["member"], "listed.png": [""]}
    assert {name for name, r in found.items() if r.verdict is Verdict.CLEAN} == {"innocent.zip", "text.zip"}
    broken = found["broken.zip"]
    assert (broken.verdict, broken.reason) == (Verdict.UNDECODED, Reason.CONTAINER_BROKEN)


def test_a_later_part_of_an_archive_is_not_clean(tmp_path: Path, files: Path) -> None:
    part = os.urandom(5000)
    (files / "a.7z.002").write_bytes(part)
    # A part without compression may begin with a picture, and go on with others.
    (files / "b.zip.002").write_bytes(encoded(scene(1)) + part)
    with zipfile.ZipFile(files / "c.zip", "w") as archive:
        archive.writestr("a.7z.002", part)
    with worker_with(tmp_path, NOTHING, containers=CONTAINERS) as worker:
        found = check(worker, files)
    assert {found[name].reason for name in ("a.7z.002", "b.zip.002", "c.zip")} == {Reason.PARTIAL}


def test_a_file_that_is_named_as_a_video_and_not_recognised_is_not_clean(tmp_path: Path, files: Path) -> None:
    noise = os.urandom(5000)
    (files / "a.avi").write_bytes(noise)
    (files / "b.zip").write_bytes(zip_of(noise))
    (files / "c.ts").write_bytes(b"const c = 1;\n")
    (files / "d.jpg").touch()
    (files / "e.bin").write_bytes(noise)
    with worker_with(tmp_path, NOTHING, containers=CONTAINERS) as worker:
        found = check(worker, files)
    reasons = {name: result.reason for name, result in found.items() if result.verdict is not Verdict.CLEAN}
    assert reasons == {"a.avi": Reason.NAMED}


def test_below_a_full_sandbox_python_alone_opens_containers(tmp_path: Path, files: Path) -> None:
    listed = encoded(scene(1), "PNG")
    (files / "archive.zip").write_bytes(zip_of(gzip.compress(zip_of(listed))))
    (files / "page").write_bytes(b"<img src='data:image/png;base64," + base64.b64encode(listed) + b"'>")
    (files / "other.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    (files / "paper").write_bytes(b"%PDF-1.7" + bytes(100))
    entry = Entry("e", "sha256", digest_of(listed, "sha256", tmp_path), "A1")
    off = SandboxOptions("off", seconds=5.0)
    with worker_with(tmp_path, entry, containers=CONTAINERS, sandbox=off) as worker:
        found = check(worker, files)
    places = {name: [m.member for m in result.matches] for name, result in found.items() if result.matches}
    assert places == {"archive.zip": ["member!data!member"], "page": ["data=1"]}
    assert {name for name, result in found.items() if result.reason is Reason.CONTAINER} == {
        "other.7z",
        "paper",
    }


def test_a_picture_that_is_a_page_is_both(tmp_path: Path, files: Path) -> None:
    listed, other = encoded(scene(1), "PNG"), encoded(scene(2), "GIF")
    page = b'<img src="data:image/png;base64,%b">'
    (files / "a.gif").write_bytes(other + page % base64.b64encode(listed))
    (files / "b.gif").write_bytes(other + page % base64.b64encode(b"nothing"))
    (files / "c.gif").write_bytes(other + b"data: nothing")
    entry = Entry("e", "sha256", digest_of(listed, "sha256", tmp_path), "A1")
    with worker_with(tmp_path, entry, containers=CONTAINERS) as worker:
        found = check(worker, files)
    assert [m.member for m in found["a.gif"].matches] == ["data=1"]
    assert [result.verdict for result in found.values()] == [Verdict.MATCH, Verdict.CLEAN, Verdict.CLEAN]


def test_a_decoder_that_an_archive_has_taken_over_accuses_no_other(tmp_path: Path, files: Path) -> None:
    pytest.importorskip("libarchive")
    listed = encoded(scene(1), "PNG")
    (files / "0.zip").write_bytes(zip_of(listed, LIE))
    for name in ("1.zip", "2.zip"):
        (files / name).write_bytes(zip_of(name.encode()))
    entry = Entry("e", "sha256", digest_of(listed, "sha256", tmp_path), "A1")
    liar = "tests.scan.hostile:load_container_liar"
    with worker_with(tmp_path, entry, decoder=liar, containers=CONTAINERS) as worker:
        results = check(worker, files).values()
    assert [(result.verdict, result.reason) for result in results] == [
        (Verdict.MATCH, None),
        (Verdict.UNDECODED, Reason.UNCONFIRMED),
        # The decoder that cleared the other one opens this one, too.
        (Verdict.CLEAN, None),
    ]


def test_a_decoder_that_an_archive_has_taken_over_keeps_no_other_from_being_opened(
    tmp_path: Path, files: Path
) -> None:
    pytest.importorskip("libarchive")
    listed = encoded(scene(1), "PNG")
    (files / "0.zip").write_bytes(zip_of(b"", MARKS["poison"]))
    (files / "1.zip").write_bytes(zip_of(listed, MARKS["victim"]))
    entry = Entry("e", "sha256", digest_of(listed, "sha256", tmp_path), "A1")
    with worker_with(tmp_path, entry, decoder="tests.scan.hostile:load", containers=CONTAINERS) as worker:
        results = check(worker, files).values()
    assert [(result.verdict, result.reason) for result in results] == [
        (Verdict.CLEAN, None),
        (Verdict.MATCH, None),
    ]


def test_it_is_kept_if_an_archive_was_opened_by_a_fresh_decoder(files: Path) -> None:
    pytest.importorskip("libarchive")
    for name in ("0.zip", "1.zip"):
        (files / name).write_bytes(zip_of(name.encode()))
    with Worker(replace(SETUP, keep=True, containers=CONTAINERS)) as worker:
        kept = worker.check(batches(files)[0]).kept
    assert [content is not None and content.confirmed for content in kept] == [True, False]


def test_the_members_of_an_archive_are_kept_with_its_verdict(tmp_path: Path, files: Path) -> None:
    pytest.importorskip("libarchive")
    (files / "archive.zip").write_bytes(zip_of(encoded(scene(1), "PNG")))
    (files / "text").write_bytes(b"text")
    with Worker(replace(SETUP, keep=True, containers=CONTAINERS)) as worker:
        archive, text = worker.check(batches(files)[0]).kept
    assert text is not None
    assert text.members is None
    assert archive is not None
    assert archive.members is not None
    (member,) = unpack_members(archive.members, SETUP.pictures).members
    assert member.place == b"member"
    assert member.reply


def test_a_member_that_ends_the_decoder_does_not_hide_those_before_it(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("libarchive")
    listed = encoded(scene(1), "PNG")
    (files / "archive.zip").write_bytes(zip_of(listed))
    whole = Sandbox.parts

    def cut(*arguments: Any, **options: Any) -> Iterator[bytes]:
        yield next(whole(*arguments, **options))
        raise DecoderLost(Reason.TIMEOUT, "over its time")

    monkeypatch.setattr(Sandbox, "parts", cut)
    entry = Entry("e", "sha256", digest_of(listed, "sha256", tmp_path), "A1")
    with worker_with(tmp_path, entry, containers=CONTAINERS) as worker:
        answer = worker.check(batches(files)[0])
    (result,) = answer.results
    assert (result.verdict, result.reason) == (Verdict.MATCH, Reason.TIMEOUT)
    assert not any(answer.kept)


def test_without_all_of_its_members_the_verdict_of_an_archive_is_not_kept(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new entry could match one that is not kept.
    pytest.importorskip("libarchive")
    monkeypatch.setattr("hashscan.state.store.members.RECORD_MAX", 10)
    (files / "archive.zip").write_bytes(zip_of(b"text"))
    with Worker(replace(SETUP, keep=True, containers=CONTAINERS)) as worker:
        assert worker.check(batches(files)[0]).kept == (None,)


def test_the_type_is_decided_by_content(files: Path) -> None:
    (files / "picture.txt").write_bytes(encoded(scene(1), "PNG"))
    (files / "text.jpg").write_bytes(b"just words")
    with Worker(SETUP) as worker:
        found = check(worker, files)
    assert found["picture.txt"].picture is not None
    assert found["text.jpg"].verdict is Verdict.CLEAN
    assert found["text.jpg"].picture is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_many_owners_come_back_in_their_order(files: Path) -> None:
    for number in range(12):
        path = files / f"{number:02}.png"
        path.write_bytes(encoded(scene(number, 48, 48), "PNG"))
        os.chown(path, 1000 + number % 3, 1000)
    listed = batches(files)
    with Worker(SETUP) as worker:
        answer = worker.check(listed[0])
    assert [r.name for r in answer.results] == [item.name for item in listed[0].items]
    assert all(r.verdict is Verdict.CLEAN and r.picture is not None for r in answer.results)


def test_cutting_a_picture_short_does_not_hide_it(tmp_path: Path, files: Path) -> None:
    whole = encoded(scene(1), quality=90)
    (files / "cut.jpg").write_bytes(whole[:-100])
    (files / "other.jpg").write_bytes(encoded(scene(2))[:-100])
    with worker_with(tmp_path, Entry("e", "pdq", digest_of(whole, "pdq", tmp_path), "A1")) as worker:
        found = check(worker, files)
    assert (found["cut.jpg"].verdict, found["cut.jpg"].reason) == (Verdict.MATCH, None)
    # Viewers show nothing of it but what was hashed.
    assert (found["other.jpg"].verdict, found["other.jpg"].reason) == (Verdict.CLEAN, None)


@pytest.mark.parametrize("others", [0, 250])
def test_few_descriptors_cost_no_verdict(files: Path, others: int) -> None:
    for number in range(150):
        (files / f"{number}.png").write_bytes(encoded(scene(number, 64, 64), "PNG"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_others = [os.open("/", os.O_PATH) for _ in range(others)]
    # So many more than this process has open already.
    open_now = [int(name) for name in os.listdir("/proc/self/fd")]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(max(open_now) + 1, len(open_now) + 100), limits[1]))
    try:
        with Worker(SETUP) as worker:
            found = check(worker, files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in open_others:
            os.close(descriptor)
    assert {(result.verdict, result.reason) for result in found.values()} == {(Verdict.CLEAN, None)}


class Counting(Sandbox):
    """Counts the files that are handed to decoders."""

    begun: int = 0

    def begin(self, descriptor: int, request: bytes, owner: int, **limits: Any) -> PendingFile:
        self.begun += 1
        return super().begin(descriptor, request, owner, **limits)


@contextmanager
def counting_worker(tmp_path: Path, *entries: Entry, decoder: str | None = None) -> Iterator[Worker]:
    with worker_with(tmp_path, *entries, decoder=decoder) as worker:
        worker.sandbox.__class__ = Counting
        yield worker


def begun(worker: Worker) -> int:
    assert isinstance(worker.sandbox, Counting)
    return worker.sandbox.begun


NOTHING = Entry("nothing", "md5", bytes(16), "A1")


@pytest.mark.slow
def test_equal_pictures_are_decoded_once(tmp_path: Path, files: Path) -> None:
    """200 copies of four pictures, one of them cut short and one broken, get what a decoder would say."""
    whole = encoded(scene(3), "PNG")
    contents = (encoded(scene(1)), encoded(scene(2))[:-50], whole, b"\x89PNG\r\n\x1a\n" + bytes(100))
    for number in range(200):
        folder = files / str(number // 100)
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_bytes(contents[number % 4])
    (files / "lone").mkdir()
    for number, content in enumerate(contents):
        (files / "lone" / f"{number}").write_bytes(content)
    listed = Entry("e", "pdq", digest_of(contents[2], "pdq", tmp_path), "A1")
    with worker_with(tmp_path, listed) as alone:
        expected = [check(alone, files / "lone")[str(number)] for number in range(4)]
    with counting_worker(tmp_path, listed) as worker:
        found = check(worker, files)
        del found["0"], found["1"], found["2"], found["3"]
        # Each once, but that every match is confirmed.
        assert begun(worker) == 4 + 51
    for name, result in found.items():
        model = expected[int(name) % 4]
        assert structs.replace(result, name=model.name, stat=model.stat) == model
    verdicts = [Verdict.CLEAN, Verdict.CLEAN, Verdict.MATCH, Verdict.UNDECODED]
    assert [result.verdict for result in expected] == verdicts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_no_answer_speaks_for_another_owner(tmp_path: Path, files: Path) -> None:
    content = encoded(scene(1))
    for number in range(6):
        path = files / str(number)
        path.write_bytes(content)
        os.chown(path, 1000 + number % 2, 1000)
    with counting_worker(tmp_path, NOTHING) as worker:
        found = check(worker, files)
        assert begun(worker) == 2
    assert all(result.picture is not None for result in found.values())


def test_content_kills_one_decoder_of_its_owner(tmp_path: Path, files: Path) -> None:
    for number in range(3):
        (files / str(number)).write_bytes(encoded(scene(1)) + MARKS["segfault"])
    with counting_worker(tmp_path, NOTHING, decoder="tests.scan.hostile:load") as worker:
        found = check(worker, files)
        assert begun(worker) == 1
    assert {(result.verdict, result.reason) for result in found.values()} == {
        (Verdict.UNDECODED, Reason.DECODER_DIED)
    }


def test_each_of_many_files_with_the_decoder_gets_its_own_answer(tmp_path: Path, files: Path) -> None:
    """Some kill it while others wait behind them, and one is changed by then."""
    contents = {f"{number:02}": encoded(scene(number)) for number in range(40)}
    for name, content in contents.items():
        (files / name).write_bytes(content)
    with worker_with(tmp_path, NOTHING) as worker:
        expected = {name: result.digests[-1] for name, result in check(worker, files).items()}
    for name in ("05", "06", "21"):
        (files / name).write_bytes(contents[name] + MARKS["segfault"])

    class Touching(Worker):
        """Finds that a file was changed while the decoder had it."""

        def _finish(self, file: FileTask) -> None:
            if file.item.name == b"11":
                os.utime(files / "11")
            super()._finish(file)

    with worker_with(tmp_path, NOTHING, decoder="tests.scan.hostile:load") as worker:
        worker.__class__ = Touching
        found = check(worker, files)
    for name in ("05", "06", "21"):
        assert (found[name].verdict, found[name].reason) == (Verdict.UNDECODED, Reason.DECODER_DIED)
    assert (found["11"].verdict, found["11"].reason) == (Verdict.UNREADABLE, Reason.CHANGED)
    rest = {name: result for name, result in found.items() if name not in {"05", "06", "11", "21"}}
    assert len(rest) == 36
    assert {name: result.digests[-1] for name, result in rest.items()} == {
        name: expected[name] for name in rest
    }


def test_a_worker_goes_on_after_an_interruption(tmp_path: Path, files: Path) -> None:
    for number in range(30):
        (files / str(number)).write_bytes(encoded(scene(number, 64, 64)))
    with worker_with(tmp_path, NOTHING) as worker:
        expected = check(worker, files)

    class Interrupted(Worker):
        """Ctrl-C comes while the decoder has several files."""

        def _finish(self, file: FileTask) -> None:
            if file.item.name == b"14":
                self.__class__ = Worker  # type: ignore[assignment]
                raise KeyboardInterrupt
            super()._finish(file)

    with worker_with(tmp_path, NOTHING) as worker:
        worker.__class__ = Interrupted
        with pytest.raises(KeyboardInterrupt):
            check(worker, files)
        assert check(worker, files) == expected


def test_content_with_the_same_ends_is_distinguished(tmp_path: Path, files: Path) -> None:
    """Size, first and last bytes are equal, so the hint is wrong, which costs nothing but time."""
    first = encoded(scene(1, 64, 64), "BMP")
    other = encoded(scene(2, 64, 64), "BMP")
    other = first[:64] + other[64:-64] + first[-64:]
    (files / "a").write_bytes(first)
    (files / "b").write_bytes(other)
    with counting_worker(tmp_path, NOTHING) as worker:
        found = check(worker, files)
        assert begun(worker) == 2
    assert found["a"].digests[-1] != found["b"].digests[-1]


def test_a_lie_about_content_does_not_outlive_the_confirmation(tmp_path: Path, files: Path) -> None:
    """The reply of a taken-over decoder about an innocent picture is replaced by that of a fresh one."""
    listed = encoded(scene(1))
    (files / "0-attack.jpg").write_bytes(listed + LIE)
    for number in range(1, 4):
        (files / f"{number}-innocent.jpg").write_bytes(encoded(scene(11)))
    value = digest_of(listed, "pdq", tmp_path)
    with worker_with(
        tmp_path, Entry("e", "pdq", value, "A1"), decoder="tests.scan.hostile:load_liar"
    ) as worker:
        check(worker, files)
        (files / "0-attack.jpg").unlink()
        found = check(worker, files)
    assert {result.verdict for result in found.values()} == {Verdict.CLEAN}


ALTERED = {
    "mirrored.png": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored", "turned"),
    "turned.png": (lambda image: image.transpose(Image.Transpose.ROTATE_270), "turned 90", "turned"),
    "negative.png": (ImageOps.invert, "inverted", "inverted"),
    "framed.png": (lambda image: ImageOps.expand(image, 40, (200, 30, 30)), "borders trimmed", "trimmed"),
}


@pytest.mark.parametrize("name", quick_first(ALTERED))
def test_altered_pictures_are_found_and_the_finding_says_how(tmp_path: Path, files: Path, name: str) -> None:
    alter, description, variant = ALTERED[name]
    (files / name).write_bytes(encoded(alter(scene(1)), "PNG"))
    entry = Entry("e", "pdq", digest_of(encoded(scene(1), "PNG"), "pdq", tmp_path), "A1")
    with worker_with(tmp_path, entry) as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.MATCH
    assert description in result.matches[0].variant
    assert description in result.because
    without = tuple(other for other in VARIANTS if other != variant)
    with Worker(replace(worker.setup, variants=without)) as less:
        (result,) = check(less, files).values()
    assert result.verdict is Verdict.CLEAN


def test_likeness_of_a_page_of_text_is_for_review(tmp_path: Path, files: Path) -> None:
    page = Image.new("L", (600, 500), 255)
    for line in range(20):
        ImageDraw.Draw(page).text((30, 20 + line * 22), "words that fill a line " * 2, 0, font_size=15)
    content = encoded(page, "PNG")
    (files / "page.png").write_bytes(content)
    with worker_with(tmp_path, Entry("e", "pdq", digest_of(content, "pdq", tmp_path), "A1")) as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.REVIEW
    assert "likeness says little" in result.because


def test_a_captioned_picture_is_a_near_miss(tmp_path: Path, files: Path) -> None:
    captioned = scene(1)
    ImageDraw.Draw(captioned).rectangle((0, 190, 320, 240), (255, 255, 255))
    (files / "a.png").write_bytes(encoded(captioned, "PNG"))
    entry = Entry("e", "pdq", digest_of(encoded(scene(1), "PNG"), "pdq", tmp_path), "A1")
    with worker_with(tmp_path, entry) as worker:
        (result,) = check(worker, files).values()
        assert result.verdict is Verdict.CLEAN
        with Worker(replace(worker.setup, review_threshold=100)) as generous:
            (result,) = check(generous, files).values()
    assert result.verdict is Verdict.REVIEW
    assert result.matches[0].distance > result.matches[0].threshold == 31


def test_more_pictures_than_the_limit_are_counted_and_the_others_matched(tmp_path: Path, files: Path) -> None:
    (files / "a.png").write_bytes(encoded(scene(1), "PNG"))
    (files / "b.png").write_bytes(encoded(scene(2), "PNG"))
    value = digest_of(encoded(scene(1), "PNG"), "pdq", tmp_path)
    with worker_with(
        tmp_path, Entry("e", "pdq", value, "A1"), decoder="tests.scan.hostile:load_crowd"
    ) as worker:
        found = check(worker, files)
    assert (found["a.png"].verdict, found["a.png"].reason) == (Verdict.MATCH, Reason.TOO_MANY)
    assert (found["b.png"].verdict, found["b.png"].reason) == (Verdict.UNDECODED, Reason.TOO_MANY)
    assert f"{DIGESTS_MAX} digests beyond the limit" in found["b.png"].detail


def test_a_finding_names_the_frame(tmp_path: Path, files: Path) -> None:
    (files / "a.png").write_bytes(encoded(scene(1), "PNG"))
    entry = Entry("e", "pdq", value_of_frame(700), "A1")
    with worker_with(tmp_path, entry, decoder="tests.scan.hostile:load_crowd") as worker:
        (result,) = check(worker, files).values()
    assert result.verdict is Verdict.MATCH
    assert (result.matches[0].distance, result.matches[0].variant) == (0, "frame 700")


def test_large_pictures_are_let_go_before_the_end_of_a_batch(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their matches are confirmed all the same."""
    listed = encoded(scene(1))
    for number in range(6):
        (files / f"{number}.jpg").write_bytes(listed if number % 2 else encoded(scene(10 + number)))
    value = digest_of(listed, "pdq", tmp_path)
    open_at_a_time = []
    conclude = Worker._conclude

    def counted(worker: Worker, folder: OpenFolder, batch: Batch, held: Sequence[FileTask]) -> None:
        open_at_a_time.append(sum(file.opened is not None for file in held))
        conclude(worker, folder, batch, held)
        assert all(file.opened is None for file in held)

    monkeypatch.setattr(Worker, "_conclude", counted)
    monkeypatch.setattr("hashscan.scan.workers.worker.OPEN_BYTES_MAX", 2 * len(listed) - 100)
    with worker_with(tmp_path, Entry("e", "pdq", value, "A1")) as worker:
        found = check(worker, files)
    assert [found[f"{number}.jpg"].verdict for number in range(6)] == [Verdict.CLEAN, Verdict.MATCH] * 3
    assert max(open_at_a_time) <= 3
    assert len(open_at_a_time) >= 2


def test_a_file_that_has_become_large_since_it_was_listed_waits(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"as listed")
    (tmp_path / "grown").write_bytes(b"small")
    (tmp_path / "holes").write_bytes(b"small")
    (batch,) = batches(tmp_path)
    os.truncate(tmp_path / "grown", LARGE_BYTES + 1)
    os.truncate(tmp_path / "holes", SPARSE_BYTES + 8192)
    with Worker(SETUP) as worker:
        answer = worker.check(structs.replace(batch, defer=True))
        assert dict(answer.deferred) == {0: LARGE_BYTES + 1, 1: SPARSE_BYTES + 8192}
        assert [result.verdict for result in answer.results] == [
            Verdict.UNREADABLE,
            Verdict.UNREADABLE,
            Verdict.CLEAN,
        ]
        assert answer.bytes_read == len(b"as listed")
        read = worker.check(batch)
    assert not read.deferred
    assert [result.verdict for result in read.results] == [Verdict.CLEAN] * 3
    assert read.hole_bytes >= LARGE_BYTES + SPARSE_BYTES
    # Not as it was listed, so nothing is kept that a later scan would believe.
    assert not any(read.kept)


def test_the_limit_of_holes(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.truncate(tmp_path / "f", 4 << 20)
    (batch,) = batches(tmp_path)
    with Worker(replace(SETUP, max_sparse=4 << 20)) as worker:
        assert worker.check(batch).results[0].verdict is Verdict.CLEAN
        (result,) = worker.check(structs.replace(batch, max_sparse=(4 << 20) - 1)).results
    assert (result.verdict, result.reason) == (Verdict.UNREADABLE, Reason.SPARSE)
    assert "of this owner" in result.detail
    with Worker(replace(SETUP, max_sparse=(4 << 20) - 1)) as worker:
        (result,) = worker.check(batch).results
    assert (result.verdict, result.reason) == (Verdict.UNREADABLE, Reason.SPARSE)
    assert "owner" not in result.detail


def test_a_file_that_grows_while_it_is_read_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 300_000)
    (batch,) = batches(tmp_path)
    read = os.preadv

    def grow(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        if not flags:  # else it is asked whether the first byte is in memory
            os.truncate(tmp_path / "f", 15 << 40)
        return read(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", grow)
    with Worker(SETUP) as worker:
        (result,) = worker.check(batch).results
    assert (result.verdict, result.reason) == (Verdict.UNREADABLE, Reason.CHANGED)
