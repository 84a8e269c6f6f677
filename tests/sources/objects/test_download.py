"""As many downloads as allowed, in bounded memory; what goes wrong ends at the object it concerns."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from hashscan.errors import CredentialsError, OutputError
from hashscan.model import Access, Batch, Item, Reason
from hashscan.sources.base import FileError, OpenFile, OpenFolder
from hashscan.sources.objects import download, receiver
from hashscan.sources.objects.download import ObjectOpener
from hashscan.sources.objects.receiver import normalize_etag
from hashscan.sources.objects.store import RetryableError
from tests.sources.objects.shelf import Shelf


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.001)


@contextmanager
def opened(shelf: Shelf, items: list[Item], **access: int) -> Iterator[OpenFolder]:
    batch = Batch("shelf", b"shelf://x", b"", 0, 0, tuple(items))
    with closing(ObjectOpener(lambda url: shelf, Access(**access))) as opener, opener.reopen(batch) as folder:
        yield folder


def read(file: OpenFile) -> bytes:
    """A file's bytes by both ways, which must agree."""
    content = file.content
    kept = None if content is None else bytes(content)
    found = os.pread(file.descriptor, 1 << 26, 0)
    assert kept in {None, found}
    assert file.stat.size == len(found)
    return found


def reasons(shelf: Shelf, **access: int) -> list[Reason | None]:
    """Return the reason of every object; None if it was read whole and unchanged."""
    found: list[Reason | None] = []
    items = shelf.items()
    with opened(shelf, items, **access) as folder:
        folder.prefetch(items)
        for item in items:
            try:
                with closing(folder.open(item)) as file:
                    assert read(file) == shelf.objects[item.name]
                    file.check_unchanged()
            except FileError as trouble:
                found.append(trouble.reason)
            else:
                found.append(None)
    return found


def some(count: int, size: int = 5000) -> dict[bytes, bytes]:
    return {b"%d" % number: os.urandom(size) for number in range(count)}


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000, 300_000])
def test_bytes_arrive_as_they_are_stored(size: int) -> None:
    assert reasons(Shelf(some(5, size))) == [None] * 5


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_of_unknown_size(size: int) -> None:
    shelf = Shelf(some(5, size), says_size=False)
    assert reasons(shelf, memory_bytes=400_000) == [None] * 5


def test_without_being_announced() -> None:
    shelf = Shelf(some(3))
    items = shelf.items()
    with opened(shelf, items) as folder:
        for item in items:
            with closing(folder.open(item)) as file:
                assert read(file) == shelf.objects[item.name]
    assert len(shelf.reads) == 3


def test_as_many_at_a_time_as_allowed() -> None:
    shelf = Shelf(some(40))
    # Each waits for seven others.
    together = threading.Barrier(8, timeout=60)
    shelf.on_read = lambda key: together.wait() and None
    assert reasons(shelf, concurrency=8) == [None] * 40
    assert shelf.most_at_a_time == 8


def test_each_is_asked_for_once_and_in_order() -> None:
    shelf = Shelf(some(30))
    assert reasons(shelf, concurrency=1) == [None] * 30
    assert shelf.reads == [(key, 0) for key in shelf.objects]


def test_memory_is_bounded() -> None:
    """Downloads that are not closed never exceed the limit, and all arrive nevertheless."""
    shelf = Shelf(some(50, 10_000))
    items = shelf.items()
    started = threading.Semaphore(0)
    shelf.on_read = lambda key: started.release()
    with opened(shelf, items, concurrency=50, memory_bytes=100_000) as folder:
        folder.prefetch(items)
        for _ in range(10):
            assert started.acquire(timeout=10)
        # Ten fill it; no other begins before one is closed.
        assert not started.acquire(timeout=0.2)
        with closing(folder.open(items[0])) as file:
            read(file)
        assert started.acquire(timeout=10)
        for item in items[1:]:
            with closing(folder.open(item)) as file:
                assert read(file) == shelf.objects[item.name]


def test_files_that_stay_open_hold_nobody_up() -> None:
    """A worker keeps pictures open to the end of a batch; those beyond the memory go to files."""
    shelf = Shelf(some(30, 10_000))
    items = shelf.items()
    with opened(shelf, items, concurrency=4, memory_bytes=100_000) as folder:
        folder.prefetch(items)
        files = [folder.open(item) for item in items]
        assert [read(file) for file in files] == list(shelf.objects.values())
        links = [os.readlink(f"/proc/self/fd/{file.descriptor}") for file in files]
        assert sum("memfd" in link for link in links) == 10
        assert sum("(deleted)" in link and "memfd" not in link for link in links) == 20
        for file in files:
            file.close()


def test_a_large_one_goes_to_a_file_that_has_no_name() -> None:
    shelf = Shelf(some(1, 200_000))
    items = shelf.items()
    with opened(shelf, items, memory_bytes=400_000) as folder:
        folder.prefetch(items)
        with closing(folder.open(items[0])) as file:
            assert file.content is None
            assert "hashscan-" in os.readlink(f"/proc/self/fd/{file.descriptor}")
            assert read(file) == shelf.objects[items[0].name]


def test_a_folder_for_large_ones_that_is_none_ends_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(some(1, 200_000))
    monkeypatch.setattr("hashscan.sources.objects.spool.temporary_folder", lambda: "/nowhere/at/all")
    items = shelf.items()
    with opened(shelf, items, memory_bytes=400_000) as folder:
        folder.prefetch(items)
        with pytest.raises(OutputError, match="/nowhere/at/all") as caught:
            folder.open(items[0])
    assert "TMPDIR" in caught.value.remedy


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can be larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("says_size", [True, False])
@pytest.mark.parametrize("etag", ["x", ""])
def test_what_there_is_no_room_for_passes_by(says_size: bool, etag: str) -> None:
    shelf = Shelf(
        {b"0": os.urandom(5000), b"1": os.urandom(200_000), b"2": os.urandom(5000)}, says_size=says_size
    )
    shelf.etags = {b"1": etag}
    items = shelf.items()
    with files_up_to(150_000), opened(shelf, items, memory_bytes=400_000) as folder:
        folder.prefetch(items)
        for item in items:
            with closing(folder.open(item)) as file:
                if item.name == b"1":
                    assert file.stream is not None
                    assert b"".join(file.stream) == shelf.objects[b"1"]
                    file.check_unchanged()
                    assert file.stat.size == 200_000
                else:
                    assert file.stream is None
                    assert read(file) == shelf.objects[item.name]


@pytest.mark.parametrize("etag", ["x", ""])
def test_a_cut_in_what_passes_by(etag: str) -> None:
    """It is read on where that can be done; what has passed by can't be taken back."""
    shelf = Shelf(some(1, 200_000), etags={b"0": etag})
    items = shelf.items()
    with (
        files_up_to(150_000),
        opened(shelf, items, memory_bytes=400_000) as folder,
        closing(folder.open(items[0])) as file,
    ):
        shelf.cuts = {b"0": 1}
        assert file.stream is not None
        if etag:
            assert b"".join(file.stream) == shelf.objects[b"0"]
        else:
            with pytest.raises(FileError, match="cut"):
                b"".join(file.stream)


def test_a_disk_is_not_filled_to_find_out_that_it_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(some(1, 200_000))
    items = shelf.items()
    room = os.statvfs("/var/tmp")
    small = os.statvfs_result([*room[:4], 100_000 // room.f_frsize, *room[5:]])
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: small)
    with opened(shelf, items, memory_bytes=400_000) as folder, closing(folder.open(items[0])) as file:
        assert file.stream is not None
        assert not shelf.reads
        assert b"".join(file.stream) == shelf.objects[b"0"]


def on_disk() -> int:
    """Bytes in files without a name that this process has open."""
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if "/hashscan-" in os.readlink(f"/proc/self/fd/{descriptor}"):
                stat = os.stat(f"/proc/self/fd/{descriptor}")
                found[stat.st_ino] = stat.st_size
        except OSError:
            continue
    return sum(found.values())


@pytest.mark.parametrize("says_size", [True, False])
@pytest.mark.parametrize("held", [1, 3])
def test_disk_is_bounded(says_size: bool, held: int) -> None:
    """However large objects turn out to be, and whatever the worker keeps open meanwhile."""
    shelf = Shelf(some(18, 400_000), says_size=says_size)
    items = shelf.items()
    most = pieces = 0

    def measure(key: bytes) -> None:
        nonlocal most, pieces
        pieces += 1
        if pieces % 20 == 0:
            most = max(most, on_disk())

    shelf.on_piece = measure
    with opened(shelf, items, concurrency=8, memory_bytes=1_100_000, disk_bytes=2_000_000) as folder:
        folder.prefetch(items)
        # Fetched ahead, before anything is asked for.
        while on_disk() < 800_000:
            time.sleep(0.01)
        kept: list[OpenFile] = []
        for item in items:
            kept.append(folder.open(item))
            assert read(kept[-1]) == shelf.objects[item.name]
            if len(kept) == held:
                while kept:
                    kept.pop().close()
    assert most <= 2_000_000 + (held + 1) * 400_000
    assert not on_disk()


def test_a_busy_server_is_asked_again() -> None:
    shelf = Shelf(some(3), busy={b"1": receiver.TRIES - 1})
    assert reasons(shelf) == [None] * 3
    assert sum(key == b"1" for key, _ in shelf.reads) == receiver.TRIES


def test_but_not_for_ever() -> None:
    shelf = Shelf(some(3), busy={b"1": 1000})
    assert reasons(shelf) == [None, Reason.IO_ERROR, None]
    assert sum(key == b"1" for key, _ in shelf.reads) == receiver.TRIES


def test_after_a_cut_it_goes_on_where_it_ended() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"}, cuts={b"0": 2})
    assert reasons(shelf) == [None]
    assert shelf.reads == [(b"0", 0), (b"0", 2500), (b"0", 3750)]


def test_where_nothing_tells_states_apart_it_begins_again() -> None:
    shelf = Shelf(some(1), cuts={b"0": 1})
    assert reasons(shelf) == [None]
    assert shelf.reads == [(b"0", 0), (b"0", 0)]


def test_changed_after_a_cut() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"}, cuts={b"0": 1})
    shelf.on_read = lambda key: shelf.etags.update({key: "y"} if len(shelf.reads) > 1 else {})
    assert reasons(shelf) == [Reason.CHANGED]


def test_replaced_before() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"})
    shelf.on_read = lambda key: shelf.etags.update({key: "y"})
    assert reasons(shelf) == [Reason.REPLACED]


def test_another_size_under_the_same_etag() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"})
    shelf.on_read = lambda key: shelf.objects.update({key: b"short"})
    assert reasons(shelf) == [Reason.IO_ERROR]


def test_another_size_without_an_etag() -> None:
    shelf = Shelf(some(1))
    shelf.on_read = lambda key: shelf.objects.update({key: b"short"})
    assert reasons(shelf) == [Reason.REPLACED]


def test_gone() -> None:
    shelf = Shelf(some(3))
    items = shelf.items()
    del shelf.objects[b"1"]
    with opened(shelf, items) as folder:
        folder.prefetch(items)
        with closing(folder.open(items[0])):
            pass
        with pytest.raises(FileError) as caught:
            folder.open(items[1])
        assert caught.value.reason is Reason.VANISHED
        with closing(folder.open(items[2])):
            pass


def test_what_the_answer_does_not_prove_is_asked_for_afterwards() -> None:
    shelf = Shelf(some(2), proven=False, changed={b"1"})
    assert reasons(shelf) == [None, Reason.CHANGED]
    assert shelf.checked == [b"0", b"1"]
    assert not Shelf(some(2)).checked


def test_a_batch_given_up_waits_for_nothing() -> None:
    shelf = Shelf(some(40), busy={b"%d" % number: 1000 for number in range(40)})
    items = shelf.items()
    with opened(shelf, items, concurrency=4) as folder:
        folder.prefetch(items)
    # Those under way have ended; no other has begun.
    asked = len(shelf.reads)
    time.sleep(0.05)
    assert asked == len(shelf.reads) <= 4 * receiver.TRIES


@pytest.mark.parametrize("etag", ['"x"', "x", 'W/"x"'])
def test_etags_with_and_without_quotes_are_the_same(etag: str) -> None:
    assert normalize_etag(etag) == "x"


def test_no_credentials_cost_the_objects_of_a_batch_and_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = Shelf(some(3))
    asked: list[bytes] = []
    clock = [1000.0]
    monkeypatch.setattr(download.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)

    def make(url: bytes) -> Shelf:
        asked.append(url)
        if len(asked) <= download.CREDENTIALS_TRIES:
            raise CredentialsError("there are no credentials for shelf://x")
        return shelf

    batch = Batch("shelf", b"shelf://x", b"", 0, 0, tuple(shelf.items()))
    with closing(ObjectOpener(make, Access())) as opener:
        for _ in range(2):
            with pytest.raises(FileError) as caught, opener.reopen(batch):
                pass
            assert caught.value.reason is Reason.CREDENTIALS
            assert "shelf://x" in caught.value.detail
        # Not for every batch anew.
        assert len(asked) == download.CREDENTIALS_TRIES
        clock[0] += download.CREDENTIALS_SECONDS + 1
        with opener.reopen(batch) as folder, closing(folder.open(batch.items[0])) as file:
            assert read(file) == shelf.objects[b"0"]


def test_credentials_that_end_cost_objects() -> None:
    """After all tries for one object, others of its batch and the next ones are given up at once."""
    shelf = Shelf(some(40))
    tried: list[bytes] = []
    good = threading.Barrier(2, timeout=60)

    def end(key: bytes) -> None:
        if int(key) < 2:
            # Or the second could come after the third, and be given up with it.
            good.wait()
        else:
            tried.append(key)
            raise RetryableError("credentials could not be renewed", reason=Reason.CREDENTIALS)

    shelf.on_read = end
    items = shelf.items()
    batch = Batch("shelf", b"shelf://x", b"", 0, 0, tuple(items))
    found: list[Reason | None] = []
    with closing(ObjectOpener(lambda url: shelf, Access(concurrency=2))) as opener:
        with opener.reopen(batch) as folder:
            folder.prefetch(items)
            for item in items:
                try:
                    folder.open(item).close()
                    found.append(None)
                except FileError as trouble:
                    found.append(trouble.reason)
        assert len(tried) <= 2 * receiver.TRIES
        with pytest.raises(FileError, match="renewed"), opener.reopen(batch):
            pass
    assert found == [None] * 2 + [Reason.CREDENTIALS] * 38


def test_a_store_that_wants_other_credentials_costs_its_object() -> None:
    shelf = Shelf(some(3))

    def refuse(key: bytes) -> None:
        if key == b"2":
            raise CredentialsError("the credentials for shelf://x are refused")

    shelf.on_read = refuse
    # One at a time: whatever is under way as the last is refused is given up with it.
    assert reasons(shelf, concurrency=1) == [None, None, Reason.CREDENTIALS]


@pytest.mark.parametrize("says_size", [True, False])
def test_objects_and_their_bytes_are_asked_for(says_size: bool) -> None:
    """Each object once and before it is fetched, however often its connection is cut."""
    shelf = Shelf({b"large": bytes(3 << 20), b"small": bytes(70_000), b"empty": b""}, says_size=says_size)
    shelf.etags = dict.fromkeys(shelf.objects, "e")
    shelf.cuts = {b"small": 1}
    spent: list[tuple[int, int]] = []

    def spend(files: int, size: int) -> None:
        spent.append((files, size))

    items = shelf.items()
    batch = Batch("shelf", b"shelf://x", b"", 0, 0, tuple(items))
    with (
        closing(ObjectOpener(lambda url: shelf, Access(concurrency=1), spend)) as opener,
        opener.reopen(batch) as folder,
    ):
        for item in items:
            with closing(folder.open(item)) as file:
                assert file.fetched
                read(file)
    assert sum(files for files, _ in spent) == 3
    assert sum(size for _, size in spent) == (3 << 20) + 70_000


def test_no_object_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much progress it makes."""
    monkeypatch.setattr(receiver, "LONGEST_SECONDS", -1.0)
    assert reasons(Shelf(some(2))) == [Reason.SLOW] * 2


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [("", ""), ("gzip", "gzip"), ("aws-chunked, GZip ", "gzip"), ("identity", ""), ("br,zstd", "br, zstd")],
)
def test_what_viewers_decompress(encoding: str, compressed: str) -> None:
    assert receiver.compression_of(encoding) == compressed
