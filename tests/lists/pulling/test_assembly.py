from __future__ import annotations

import json
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from hashscan.errors import HashscanError, ListTrustError, OutputError, UnreachableError
from hashscan.lists.entries import entries_of_list
from hashscan.lists.index import CompiledIndex, segments
from hashscan.lists.pulling import assembly, client
from hashscan.lists.pulling.assembly import AT_ONCE, assemble
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage import published_columns, trust
from hashscan.lists.storage.manifest import Manifest, Part, Withdrawal
from hashscan.lists.storage.signed_list import read_metadata
from hashscan.lists.storage.stored_version import JoinedColumn, VerificationLevel
from hashscan.lists.storage.trust import SignedTarget
from hashscan.lists.store import ListStore
from hashscan.model import CATEGORIES, Entry, ListInfo, TrustState
from tests.examples import quick_first
from tests.lists.builders import NOW, Owner, some_entries, tree
from tests.lists.conftest import WebServer
from tests.lists.parts import PartwiseOwner
from tests.web import send, serving


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of a few rows, and an index for every algorithm."""
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 150)
    monkeypatch.setattr(segments, "SMALL", 1)


@pytest.fixture
def partwise(owner: Owner) -> PartwiseOwner:
    return PartwiseOwner(owner)


@pytest.fixture
def subscribed(partwise: PartwiseOwner, store: ListStore, web: WebServer) -> ListStore:
    """A base of thirty entries, pulled from the web server as `mine`."""
    partwise.release(some_entries(30))
    client.add(store, "mine", web.url, partwise.owner.root)
    client.pull(store, "mine")
    web.asked.clear()
    return store


def version_of(store: ListStore) -> Path:
    (version,) = store.folder("mine").versions.iterdir()
    return version


def targets_asked(web: WebServer) -> set[str]:
    """The targets that were fetched, by name."""
    return {path.split(".", 1)[1] for path in web.asked if path.startswith("/targets/")}


def holds(store: ListStore, partwise: PartwiseOwner) -> ListInfo:
    """The list has what its owner published, however it is opened, and finds nothing withdrawn."""
    every = [entry for rows in partwise.rows.values() for entry in rows]
    active = partwise.entries
    infos = set()
    for thoroughness in VerificationLevel:
        with store.open(["mine"], NOW, thoroughness) as opened:
            (info,), (handle,) = opened.infos, opened.handles
            infos.add(info)
            assert info.problem is None
            assert sorted(entries_of_list(handle), key=str) == sorted(active, key=str)
            index = CompiledIndex.open(opened.handles)
            assert len(index) == info.entries == handle.entries == len(active)
            for entry in every:
                assert found(index, entry) == ([entry.id] if entry in active else [])
    (info,) = infos
    counts = [(e.algorithm, e.category) for e in active]
    assert dict(info.by_algorithm) | {a: 0 for a, n in info.by_algorithm if not n} == {
        algorithm: len([e for e in active if e.algorithm == algorithm]) for algorithm in partwise.rows
    }
    assert {(a, c): n for a, c, n in info.counts} == {pair: counts.count(pair) for pair in counts}
    return info


def found(index: CompiledIndex, entry: Entry) -> list[str]:
    asked = np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1)
    _, rows, _ = index.query(entry.algorithm, asked, np.array([0]))
    return [index.entry(entry.algorithm, int(row))[1] for row in rows]


# ---- what works


@pytest.mark.parametrize("seed", quick_first(range(6)))
def test_any_way_through_the_versions_gives_what_was_published(
    partwise: PartwiseOwner, store: ListStore, seed: int
) -> None:
    rng = random.Random(seed)
    client.add(store, "mine", str(partwise.owner.repository), partwise.owner.root)
    number = 0
    for version in range(1, 8):
        count = rng.choice([0, 1, 7, 20]) if number else 20
        entries = some_entries(count, start=number if version % 3 else number * 1000)
        number += count
        withdrawn = {
            algorithm: sorted(rng.sample(left, rng.randint(1, min(4, len(left)))))
            for algorithm, rows in partwise.rows.items()
            if rng.random() < 0.5
            and (left := [row for row in range(len(rows)) if row not in partwise.gone.get(algorithm, ())])
        }
        if version == 6:
            partwise.compact(version)
        elif entries or withdrawn:
            partwise.release(entries, withdrawn)
        if version == 1 or rng.random() < 0.7:
            client.pull(store, "mine")
            holds(store, partwise)
    client.pull(store, "mine")
    holds(store, partwise)


def test_only_what_is_new_is_fetched(subscribed: ListStore, partwise: PartwiseOwner, web: WebServer) -> None:
    before = {path.name: path.stat().st_ino for path in version_of(subscribed).glob("columns/*")}
    compiled = {path: path.stat().st_ino for path in version_of(subscribed).glob("index/*/*/*")}
    partwise.release(some_entries(4, start=30, algorithms=["pdq"]), {"md5": [0, 3], "pdq": [9]})
    pulled = client.pull(subscribed, "mine")
    assert (pulled.changed, pulled.previous, pulled.info.version, pulled.info.entries) == (True, 1, 2, 31)
    assert targets_asked(web) == {
        "manifest.json",
        "2.md5.withdrawn.npy",
        "2.pdq.withdrawn.npy",
        "2.pdq.0000.ids.npy",
        "2.pdq.0000.category.npy",
        "2.pdq.0000.value.npy",
    }
    assert pulled.fetched == sum(len(partwise.files[name]) for name in targets_asked(web))
    holds(subscribed, partwise)
    version = version_of(subscribed)
    after = {path.name: path.stat().st_ino for path in version.glob("columns/*")}
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {
        "base.md5.withdrawn.npy",
        "base.pdq.withdrawn.npy",
        "delta.pdq.ids.npy",
        "delta.pdq.category.npy",
        "delta.pdq.value.npy",
    }
    inodes = {path.stat().st_ino for path in version.glob("index/*/*/*")}
    assert set(compiled.values()) < inodes
    web.asked.clear()
    partwise.release(some_entries(4, start=40, algorithms=["pdq"]))
    client.pull(subscribed, "mine")
    assert {name.split(".")[0] for name in targets_asked(web)} == {"manifest", "3"}
    holds(subscribed, partwise)


def test_a_new_base_leaves_nothing_of_the_old(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer
) -> None:
    partwise.release(some_entries(9, start=30), {"md5": [0]})
    client.pull(subscribed, "mine")
    partwise.compact(3)
    assert client.pull(subscribed, "mine").info.entries == 38
    holds(subscribed, partwise)
    version = version_of(subscribed)
    assert {path.name.split(".")[0] for path in version.glob("columns/*")} == {"base"}
    assert len(list((version / "index").iterdir())) == 3


def test_new_signatures_alone_share_everything(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer
) -> None:
    before = {path.name: path.stat().st_ino for path in version_of(subscribed).glob("*/*.npy")}
    partwise.sign(partwise.files)
    pulled = client.pull(subscribed, "mine")
    assert (pulled.changed, pulled.fetched) == (True, 0)
    assert {path.name: path.stat().st_ino for path in version_of(subscribed).glob("*/*.npy")} == before
    holds(subscribed, partwise)


def test_where_links_dont_work_files_are_copied(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def no_links(source: str | Path, target: str | Path, **options: int) -> None:
        # A file without a name gets one where there are no links between names.
        if not str(source).startswith("/proc/self/fd/"):
            raise PermissionError(1, "Operation not permitted")
        link(source, target, **options)  # type: ignore[arg-type]

    partwise.release(some_entries(4, start=30), {"md5": [0]})
    client.pull(subscribed, "mine")
    web.asked.clear()
    monkeypatch.setattr("os.link", no_links)
    partwise.release(some_entries(4, start=40))
    client.pull(subscribed, "mine")
    assert {name.split(".")[0] for name in targets_asked(web)} == {"manifest", "3"}
    holds(subscribed, partwise)


def test_how_much_will_be_fetched_is_reported_before(
    partwise: PartwiseOwner, store: ListStore, tmp_path: Path
) -> None:
    manifest = partwise.release(some_entries(30))
    reported: list[int] = []
    verified = trust.verify(partwise.owner.root, lambda name: read_metadata(partwise.owner.repository, name))

    def download(target: SignedTarget, path: Path) -> None:
        shutil.copyfile(partwise.owner.targets / target.file_name, path)

    fetched = assemble(tmp_path / "new", verified, [], download, lambda: None, reported.append)
    assert reported == [fetched - len(manifests.to_bytes(manifest))]


# ---- pulls that were cut


def cut_after(monkeypatch: pytest.MonkeyPatch, shards_left: int) -> None:
    """Have the next pull break off after some fetched files."""
    whole = assembly._Assembly._fetch
    left = iter(range(shards_left))

    def fetch(self: assembly._Assembly, target: SignedTarget) -> None:
        if next(left, None) is None:
            raise UnreachableError("cut")
        whole(self, target)

    monkeypatch.setattr(assembly._Assembly, "_fetch", fetch)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_pull_that_was_cut_goes_on_where_it_stopped(
    partwise: PartwiseOwner, store: ListStore, web: WebServer, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    partwise.release(some_entries(60))
    client.add(store, "mine", web.url, partwise.owner.root)
    with monkeypatch.context() as patch:
        cut_after(patch, int(len(partwise.files) * share))
        with pytest.raises(UnreachableError, match="cut"):
            client.pull(store, "mine")
    first = targets_asked(web)
    web.asked.clear()
    pulled = client.pull(store, "mine")
    # What was under way is fetched again.
    assert len(first & targets_asked(web)) < AT_ONCE
    assert first | targets_asked(web) == set(partwise.files)
    assert pulled.fetched == sum(len(partwise.files[name]) for name in targets_asked(web))
    if share == 0.5:
        assert pulled.fetched <= 0.6 * sum(map(len, partwise.files.values()))
    holds(store, partwise)
    assert not store.folder("mine").staging.exists()


def test_what_was_fetched_serves_a_later_version_too(
    partwise: PartwiseOwner, store: ListStore, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    partwise.release(some_entries(60))
    partwise.release(some_entries(30, start=60), {"pdq": [0, 1]})
    client.add(store, "mine", web.url, partwise.owner.root)
    with monkeypatch.context() as patch:
        cut_after(patch, len(partwise.files) - 1)
        with pytest.raises(UnreachableError, match="cut"):
            client.pull(store, "mine")
    first = targets_asked(web) - {"manifest.json"}
    partwise.release(some_entries(10, start=90), {"pdq": [2]})
    web.asked.clear()
    client.pull(store, "mine")
    assert len(first & targets_asked(web)) < AT_ONCE
    holds(store, partwise)


def test_what_a_cut_pull_left_is_not_believed(
    partwise: PartwiseOwner, store: ListStore, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    partwise.release(some_entries(60))
    client.add(store, "mine", web.url, partwise.owner.root)
    with monkeypatch.context() as patch:
        cut_after(patch, len(partwise.files) - 1)
        with pytest.raises(UnreachableError, match="cut"):
            client.pull(store, "mine")
    for path in (store.folder("mine").staging).glob("*/*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (store.folder("mine").staging / "columns" / "surprise").write_bytes(b"")
    client.pull(store, "mine")
    holds(store, partwise)
    assert "surprise" not in {path.name for path in version_of(store).glob("columns/*")}


def test_a_file_in_use_is_never_written_to(
    subscribed: ListStore, partwise: PartwiseOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next pull doesn't write to the files that an interrupted one had linked."""
    version = version_of(subscribed)
    partwise.release(some_entries(30, start=30), {"pdq": [0]})
    with monkeypatch.context() as patch:
        cut_after(patch, 5)
        with pytest.raises(UnreachableError, match="cut"):
            client.pull(subscribed, "mine")
    staged = subscribed.folder("mine").staging / "columns" / "base.pdq.value.npy"
    in_use = version / "columns" / "base.pdq.value.npy"
    assert staged.samefile(in_use)
    content = bytearray(in_use.read_bytes())
    content[-1] ^= 1
    in_use.write_bytes(content)
    client.pull(subscribed, "mine")
    assert not staged.exists()
    holds(subscribed, partwise)


# ---- what was damaged meanwhile


def test_only_the_damaged_shard_is_fetched_again(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer
) -> None:
    path = version_of(subscribed) / "columns" / "base.pdq.value.npy"
    with path.open("r+b") as file:
        file.seek(128 + 32 * 2)
        file.write(b"?")
    inode = path.stat().st_ino
    for thoroughness in (VerificationLevel.CHECKSUMS, VerificationLevel.SIGNED):
        with subscribed.open(["mine"], NOW, thoroughness) as opened:
            assert opened.infos[0].state is TrustState.DAMAGED
    pulled = client.pull(subscribed, "mine")
    assert pulled.changed
    assert targets_asked(web) == {"1.pdq.0000.value.npy"}
    assert (version_of(subscribed) / "columns" / "base.pdq.value.npy").stat().st_ino != inode
    holds(subscribed, partwise)


def no_withdrawn(version: Path) -> None:
    (version / "columns" / "base.pdq.withdrawn.npy").unlink()


def shorter(version: Path) -> None:
    path = version / "columns" / "base.pdq.withdrawn.npy"
    path.write_bytes(path.read_bytes()[:-8])


def another_row(version: Path) -> None:
    path = version / "columns" / "base.pdq.withdrawn.npy"
    path.write_bytes(path.read_bytes()[:-8] + (6).to_bytes(8, "little"))


def negative_row(version: Path) -> None:
    path = version / "columns" / "base.pdq.withdrawn.npy"
    path.write_bytes(path.read_bytes()[:-16] + (-1).to_bytes(8, "little", signed=True) + b"\5" + b"\0" * 7)


def no_signed_withdrawal(version: Path) -> None:
    for path in version.glob("targets/*.withdrawn.npy"):
        path.unlink()


def padded(version: Path) -> None:
    path = version / "columns" / "delta.pdq.ids.npy"
    data = path.read_bytes()
    place = data.index(b"\0", 128)
    path.write_bytes(data[:place] + b"x" + data[place + 1 :])


def another_header(version: Path) -> None:
    path = version / "columns" / "base.pdq.category.npy"
    path.write_bytes(path.read_bytes().replace(b"u1", b"i1"))


def for_another(version: Path) -> None:
    path = version / "checksums.json"
    document = json.loads(path.read_bytes())
    document["files"]["base.pdq.value.npy"]["content"] = "0" * 32
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "unnoticed"),
    quick_first(
        [
            (no_withdrawn, ""),
            (shorter, ""),
            (another_row, "sizes"),
            (negative_row, ""),
            (no_signed_withdrawal, "sizes checksums"),
            (padded, "sizes"),
            (another_header, ""),
            (for_another, "signed"),
        ],
        2,
    ),
)
def test_damage_is_noticed_and_mended(
    subscribed: ListStore, partwise: PartwiseOwner, spoil: Callable[[Path], None], unnoticed: str
) -> None:
    partwise.release(some_entries(9, start=30), {"pdq": [4, 5]})
    partwise.release(some_entries(3, start=1000))
    client.pull(subscribed, "mine")
    holds(subscribed, partwise)
    spoil(version_of(subscribed))
    for thoroughness in VerificationLevel:
        with subscribed.open(["mine"], NOW, thoroughness) as opened:
            state = opened.infos[0].state
            expected = TrustState.FRESH if thoroughness.value in unnoticed.split() else TrustState.DAMAGED
            assert state is expected, (thoroughness, opened.infos[0].problem)
    if spoil is no_signed_withdrawal:
        return
    client.pull(subscribed, "mine")
    holds(subscribed, partwise)


# ---- what an owner may sign by mistake or malice


def stays(store: ListStore, error: type[HashscanError], message: str) -> None:
    before = tree(version_of(store))
    with pytest.raises(error, match=message) as caught:
        client.pull(store, "mine")
    assert caught.value.remedy
    with store.open(["mine"], NOW) as opened:
        assert (opened.infos[0].state, opened.infos[0].version) == (TrustState.FRESH, 1)
    assert tree(version_of(store)) == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1, 0], "ascending"),
        ([0, 0], "ascending"),
        ([0, 10], "earlier rows"),
        ([2**32 - 1], "earlier rows"),
    ],
)
def test_withdrawals_that_make_no_sense_are_refused(
    subscribed: ListStore, partwise: PartwiseOwner, tmp_path: Path, rows: list[int], message: str
) -> None:
    np.save(tmp_path / "gone.npy", np.array(rows, dtype=np.uint32))
    withdrawn = {"pdq": Withdrawal(len(rows), "2.pdq.withdrawn.npy")}
    parts = (*partwise.parts, Part(2, {}, withdrawn))
    files = dict(partwise.files)
    files["manifest.json"] = manifests.to_bytes(Manifest("test", 2, NOW, CATEGORIES, parts))
    files["2.pdq.withdrawn.npy"] = (tmp_path / "gone.npy").read_bytes()
    partwise.sign(files)
    stays(subscribed, ListTrustError, message)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    quick_first(
        [
            ("2.pdq.0000.ids.npy", lambda data: data + b"x", "no column of the shape"),
            ("2.pdq.0000.ids.npy", lambda data: data.replace(b"S3", b"U3"), "no column of"),
            ("2.pdq.0000.ids.npy", lambda data: data[:-3] + b"\0\0\0", "not printable"),
            ("2.pdq.0000.category.npy", lambda data: data[:-1] + b"\xc8", "category number 200"),
            ("2.md5.withdrawn.npy", lambda data: data[:-4], "no column of the shape"),
            ("2.md5.withdrawn.npy", lambda data: data.replace(b"<u4", b"<i4"), "no column of"),
            ("2.pdq.0000.value.npy", None, "no usable target"),
        ],
        2,
    ),
)
def test_signed_nonsense_in_an_increment_is_refused(
    subscribed: ListStore,
    partwise: PartwiseOwner,
    name: str,
    change: Callable[[bytes], bytes] | None,
    message: str,
) -> None:
    partwise.release(some_entries(6, start=30, algorithms=["pdq"]), {"md5": [2]})
    files = dict(partwise.files)
    if change is None:
        del files[name]
    else:
        files[name] = change(files[name])
        assert files[name] != partwise.files[name]
    partwise.sign(files)
    stays(subscribed, ListTrustError, message)
    partwise.sign(partwise.files)
    client.pull(subscribed, "mine")
    holds(subscribed, partwise)


def test_a_shard_too_long_is_refused_unread(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.lists.storage.signed_list.SHARD_MAX", 500)
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 10_000)
    partwise.release(some_entries(20, start=30, algorithms=["pdq"]))
    stays(subscribed, ListTrustError, "no column of the shape")
    assert targets_asked(web) == {"manifest.json"}


def test_a_list_of_which_all_is_withdrawn_has_no_entries(
    subscribed: ListStore, partwise: PartwiseOwner
) -> None:
    partwise.release([], {algorithm: range(10) for algorithm in partwise.rows})
    stays(subscribed, ListTrustError, "has no entries")


# ---- several shards at once


def test_shards_are_fetched_several_at_a_time(
    partwise: PartwiseOwner, store: ListStore, web: WebServer
) -> None:
    """Told by the server: how many requests it has at the same time, and not how long that takes."""
    now, seen, lock = [0], [], threading.Lock()
    together = threading.Barrier(AT_ONCE, timeout=60)

    def slow(request: BaseHTTPRequestHandler) -> None:
        with lock:
            now[0] += 1
            seen.append(now[0])
            held = len(seen) <= 2 * AT_ONCE
        if held:
            together.wait()
        data = (web.folder / request.path.lstrip("/")).read_bytes()
        with lock:
            now[0] -= 1
        send(request, data)

    partwise.release(some_entries(30))
    web.answers[".npy"] = slow
    client.add(store, "mine", web.url, partwise.owner.root)
    client.pull(store, "mine")
    holds(store, partwise)
    assert max(seen) == AT_ONCE
    assert len(seen) > 2 * AT_ONCE


def stuck(request: BaseHTTPRequestHandler) -> None:
    """Send something, and then nothing for as long as somebody waits."""
    request.send_response(200)
    request.send_header("Content-Length", "100")
    request.end_headers()
    request.wfile.write(b"x")
    request.connection.settimeout(None)
    request.connection.recv(1)


def forged(request: BaseHTTPRequestHandler) -> None:
    time.sleep(0.2)
    send(request, b"forged")


def gone(request: BaseHTTPRequestHandler) -> None:
    time.sleep(0.2)
    request.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("number", [0, AT_ONCE - 1])
@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [(forged, ListTrustError, "can't be trusted"), (gone, UnreachableError, "no usable answer")],
)
def test_the_first_failure_ends_what_is_under_way(
    partwise: PartwiseOwner,
    store: ListStore,
    web: WebServer,
    number: int,
    answer: Callable[[BaseHTTPRequestHandler], None],
    kind: type[HashscanError],
    message: str,
) -> None:
    partwise.release(some_entries(30))
    asked: list[str] = []

    def serve(request: BaseHTTPRequestHandler) -> None:
        # A connection that broke is tried once more.
        if request.path not in asked:
            asked.append(request.path)
        (answer if asked.index(request.path) == number else stuck)(request)

    web.answers[".npy"] = serve
    client.add(store, "mine", web.url, partwise.owner.root)
    with pytest.raises(kind, match=message):
        client.pull(store, "mine")
    web.answers.clear()
    client.pull(store, "mine")
    holds(store, partwise)


def test_a_mirror_goes_on_where_several_were_under_way(
    partwise: PartwiseOwner, store: ListStore, web: WebServer
) -> None:
    partwise.release(some_entries(30))
    order = iter(range(10_000))
    with serving(partwise.owner.repository) as mirror:
        web.answers[".npy"] = lambda request: (
            send(request, (web.folder / request.path.lstrip("/")).read_bytes())
            if (turn := next(order)) < 8
            else (forged if turn == 9 else stuck)(request)
        )
        client.add(store, "mine", Origin(web.url, (mirror.url,)), partwise.owner.root)
        pulled = client.pull(store, "mine")
    assert "can't be trusted" in pulled.problems[0]
    assert len(targets_asked(web) & targets_asked(mirror)) <= AT_ONCE
    holds(store, partwise)


def test_a_disk_that_fills_ends_what_is_under_way(
    partwise: PartwiseOwner, store: ListStore, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    partwise.release(some_entries(30))
    client.add(store, "mine", web.url, partwise.owner.root)
    order = iter(range(10_000))
    web.answers[".npy"] = lambda request: (
        send(request, (web.folder / request.path.lstrip("/")).read_bytes())
        if next(order) == 0
        else stuck(request)
    )
    with monkeypatch.context() as patch:
        patch.setattr(JoinedColumn, "place", full)
        with pytest.raises(OutputError, match="No space left"):
            client.pull(store, "mine")
    web.answers.clear()
    client.pull(store, "mine")
    holds(store, partwise)


# ---- no room


def test_a_full_disk_is_found_out_before_anything_is_fetched(
    subscribed: ListStore, partwise: PartwiseOwner, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    partwise.release(some_entries(6, start=30))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        stays(subscribed, OutputError, "No space left")
    assert targets_asked(web) == {"manifest.json"}

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    client.pull(subscribed, "mine")
    holds(subscribed, partwise)
