"""Open and ended findings, by whole scans of real trees whose workers are scripted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    Access,
    Batch,
    BatchResult,
    FileResult,
    FileStat,
    FolderReason,
    Item,
    Reason,
    StoredContentData,
    Verdict,
)
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.pipeline import ScanPipeline
from hashscan.sources.base import Listing, ListingOptions, SkippedFile, UnlistedFolder
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from hashscan.sources.shards import shard_of
from hashscan.state.findings.history import History
from hashscan.state.scan_state import ScanState
from hashscan.state.scopes import Container, Scopes
from hashscan.state_dir import StateDir
from tests.scan.test_pipeline import Inline

BUCKET = b"s3://bucket"
SETUP = WorkerSetup((), SandboxOptions("auto"), ("md5", "sha1", "sha256", "pdq"), 10**6)


class Scripted(Inline):
    """Gives each file the verdict that is set for its name; else it is clean."""

    def __init__(self, verdicts: dict[bytes, Verdict], *, keeps: bool) -> None:
        super().__init__()
        self.verdicts = verdicts
        self.keeps = keeps
        """True if contents are stored, so that unchanged files are not checked again."""

    def kept(self, item: Item) -> StoredContentData | None:
        if self.verdicts.get(item.name) is Verdict.UNREADABLE:
            return None
        return StoredContentData(
            (item.name.ljust(16), bytes(20), item.name.ljust(32)), -1, None, confirmed=False
        )

    def answer(self, batch: Batch) -> BatchResult:
        return BatchResult(
            tuple(
                FileResult(item.name, item.stat, self.verdicts.get(item.name, Verdict.CLEAN))
                for item in batch.items
            ),
            kept=tuple(map(self.kept, batch.items)) if self.keeps else (),
        )


@dataclass
class Scanned:
    """A scan's records of earlier findings."""

    standing: set[bytes]
    shrunken: int


@dataclass
class Site:
    """A tree, and the state that knows it."""

    tree: Path
    state: Path
    verdicts: dict[bytes, Verdict] = field(default_factory=dict)

    def path(self, name: str) -> bytes:
        return os.fsencode(self.tree / name)

    def scan(
        self,
        *exclude: str,
        at: str = "",
        max_file_size: int | None = None,
        listings: Callable[[list[Listing]], list[Listing]] = lambda found: found,
        shard: str = "",
        accept_shrink: bool = False,
    ) -> Scanned:
        target = os.fsencode(self.tree / at if at else self.tree)
        options = ListingOptions(exclude=Patterns.compile(exclude, None), max_file_size=max_file_size)
        found = list(FilesystemSource((target,), options).listings())
        return self.over(
            listings(found), Scopes([target], shard, {"some": "option"}), accept_shrink=accept_shrink
        )

    def over(
        self,
        listings: list[Listing],
        scopes: Scopes,
        *,
        accept_shrink: bool = False,
        endpoint: str | None = None,
    ) -> Scanned:
        setup = replace(SETUP, access=Access(endpoint))
        with ScanState(StateDir(self.state), setup, scopes, reread=1.0, notify=print) as state:
            run = ScanPipeline(listings, Scripted(self.verdicts, keeps=endpoint is not None), state=state)
            list(run)
            ending = state.finish(
                run.files_by_target,
                listed=run.listed,
                whole=not run.cut_short,
                closed=bool(run.summary.folder_reasons),
                accept_shrink=accept_shrink,
            )
        return Scanned({record["path"].encode() for record in ending.standing}, len(ending.shrunken))

    def objects(
        self,
        *items: Item,
        closed: bool = False,
        all_versions: bool = False,
        at: bytes = b"",
        endpoint: str | None = None,
    ) -> Scanned:
        listings: list[Listing] = [Batch("s3", BUCKET, b"", 0, 0, items)] if items else []
        if closed:
            listings.append(UnlistedFolder(BUCKET, b"", FolderReason.PERMISSION, ""))
        container = Container((BUCKET + at,), all_versions=all_versions, endpoint=endpoint)
        return self.over(listings, Scopes([], "", {}, containers={BUCKET: container}), endpoint=endpoint)

    def gone(self) -> set[bytes]:
        with closing(sqlite3.connect(self.state / "scans" / "state.sqlite")) as database:
            query = "SELECT path FROM findings EXCEPT SELECT path FROM findings WHERE gone IS NULL"
            return {path for (path,) in database.execute(query)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A finding in each of two folders, among others."""
    made = Site(tmp_path / "tree", tmp_path / "state")
    made.state.mkdir()
    for folder in ("a", "b"):
        (made.tree / folder).mkdir(parents=True)
        for name in ("bad", *(f"file{number}" for number in range(20))):
            (made.tree / folder / name).write_bytes(b"x" * 100)
    made.verdicts[b"bad"] = Verdict.MATCH
    assert made.scan() == Scanned(set(), 0)
    return made


@pytest.mark.parametrize("verdict", [Verdict.UNREADABLE, Verdict.UNDECODED, Verdict.SKIPPED])
def test_a_file_that_was_not_checked_stands(site: Site, verdict: Verdict) -> None:
    site.verdicts[b"bad"] = verdict
    both = {site.path("a/bad"), site.path("b/bad")}
    assert site.scan() == site.scan() == Scanned(both, 0)
    assert site.gone() == set()
    site.verdicts[b"bad"] = Verdict.CLEAN
    assert site.scan() == Scanned(set(), 0)
    assert site.gone() == both
    # Found again, it stands again.
    site.verdicts[b"bad"] = Verdict.REVIEW
    assert site.scan() == Scanned(set(), 0)
    assert site.gone() == set()


def test_a_file_that_is_gone_does_not(site: Site) -> None:
    (site.tree / "a" / "bad").unlink()
    assert site.scan() == Scanned(set(), 0)
    assert site.gone() == {site.path("a/bad")}


def test_a_folder_that_is_gone_does_not(site: Site) -> None:
    (site.tree / "a").rename(site.state.parent / "away")
    assert site.scan().shrunken == 1
    assert site.gone() == set()
    assert site.scan(accept_shrink=True) == Scanned(set(), 0)
    assert site.gone() == {site.path("a/bad")}


@pytest.mark.parametrize("exclude", ["bad", "a/bad", "/a/"])
def test_what_is_left_out_now_stands(site: Site, exclude: str) -> None:
    site.verdicts.clear()
    scanned = site.scan(exclude, accept_shrink=True)
    assert site.path("a/bad") in scanned.standing
    assert site.path("a/bad") not in site.gone()


def test_a_file_over_the_limit_now_stands(site: Site) -> None:
    (site.tree / "a" / "bad").write_bytes(b"x" * 101)
    assert site.scan(max_file_size=100).standing == {site.path("a/bad")}


def test_a_folder_that_can_not_be_entered_stands(site: Site) -> None:
    """Nor is anything else gone that the scan did not come by."""
    (site.tree / "b" / "bad").unlink()

    def closed(found: list[Listing]) -> list[Listing]:
        kept = [one for one in found if not (isinstance(one, Batch) and one.folder == b"a")]
        return [*kept, UnlistedFolder(os.fsencode(site.tree), b"a", FolderReason.PERMISSION, "")]

    scanned = site.scan(listings=closed, accept_shrink=True)
    assert scanned.standing == {site.path("a/bad")}
    assert site.gone() == {site.path("b/bad")}


def test_a_folder_that_could_not_be_listed_to_its_end_stands(site: Site) -> None:
    def broken(found: list[Listing]) -> list[Listing]:
        listings: list[Listing] = []
        for one in found:
            if isinstance(one, Batch) and one.folder == b"a":
                items = tuple(item for item in one.items if item.name != b"bad")
                listings.append(Batch(one.source, one.target, one.folder, one.device, one.inode, items))
                listings.append(UnlistedFolder(one.target, b"a", FolderReason.IO_ERROR, ""))
            else:
                listings.append(one)
        return listings

    assert site.scan(listings=broken).standing == {site.path("a/bad")}
    assert site.gone() == set()


def test_another_scan_of_the_same_place_knows_of_it(site: Site) -> None:
    """With a narrower target, or with other options."""
    site.verdicts[b"bad"] = Verdict.UNREADABLE
    assert site.scan(at="a") == Scanned({site.path("a/bad")}, 0)
    (site.tree / "a" / "bad").unlink()
    assert site.scan(at="a") == Scanned(set(), 0)
    assert site.gone() == {site.path("a/bad")}
    assert site.scan() == Scanned({site.path("b/bad")}, 0)


def test_a_shard_says_nothing_of_the_others(site: Site) -> None:
    index = shard_of(site.path("a/bad"), 2)
    for name in ("a/bad", "b/bad"):
        (site.tree / name).unlink()
    inner = {name for name in (site.path("a/bad"), site.path("b/bad")) if shard_of(name, 2) == index}
    # What is in the other shard was left out, and nobody has looked for it.
    site.scan(shard=f"{index}/2", accept_shrink=True)
    assert site.gone() == inner


def test_a_file_alone_is_cleared_by_itself(site: Site) -> None:
    site.verdicts.clear()
    folder = os.fsencode(site.tree / "a")
    (batch,) = FilesystemSource(
        (site.path("a/bad"),), ListingOptions(exclude=Patterns.compile((), None))
    ).listings()
    scanned = site.over([batch], Scopes([folder], "", {}, lone=[folder]))
    assert (scanned, site.gone()) == (Scanned(set(), 0), {site.path("a/bad")})


def item(name: bytes, version: str = "") -> Item:
    return Item(name, FileStat(0, 0, 10, 1, 0, 1, 0), f"etag-{name!r}-{version}", version)


def test_an_object_stands_until_it_is_gone_or_harmless(site: Site) -> None:
    listed = [item(b"bad"), item(b"good"), item(b"worse")]
    site.verdicts[b"worse"] = Verdict.MATCH
    site.objects(*listed)
    site.verdicts |= {b"bad": Verdict.UNREADABLE, b"worse": Verdict.CLEAN}
    assert site.objects(*listed).standing == {b"s3://bucket/bad"}
    assert site.gone() == {b"s3://bucket/worse"}
    # A listing that breaks off says nothing of what it has not come to.
    assert site.objects(item(b"good"), closed=True).standing == {b"s3://bucket/bad"}
    assert site.objects(item(b"good"), at=b"/g").standing == set()
    assert site.gone() == {b"s3://bucket/worse"}
    assert site.objects(item(b"good")).standing == set()
    assert site.gone() == {b"s3://bucket/bad", b"s3://bucket/worse"}


def test_a_bucket_of_the_same_name_elsewhere_is_another(site: Site) -> None:
    listed = [item(b"bad"), item(b"good")]
    site.objects(*listed, endpoint="http://one")
    assert site.objects(listed[1], endpoint="http://other") == Scanned(set(), 0)
    assert site.gone() == set()
    assert site.objects(listed[1], endpoint="http://one") == Scanned(set(), 0)
    assert site.gone() == {b"s3://bucket/bad"}


def test_the_same_key_in_two_buckets_of_one_name_is_two_findings(site: Site) -> None:
    site.objects(item(b"bad"), endpoint="http://one")
    site.objects(item(b"bad"), endpoint="http://other")
    site.verdicts[b"bad"] = Verdict.CLEAN
    assert site.objects(item(b"bad"), endpoint="http://other") == Scanned(set(), 0)
    with History(StateDir(site.state)) as history:
        found = {one.endpoint: one.ending for one in history.findings(1)}
    assert found == {"": "", "http://one": "", "http://other": "cleared"}


def test_an_object_that_other_options_found_is_forgotten_when_it_is_gone(site: Site) -> None:
    site.objects(item(b"bad"), item(b"good"), endpoint="http://one")
    container = Container((BUCKET,), all_versions=False, endpoint="http://one")
    scopes = Scopes([], "", {"another": "option"}, containers={BUCKET: container})
    site.over([Batch("s3", BUCKET, b"", 0, 0, (item(b"good"),))], scopes, endpoint="http://one")
    with closing(sqlite3.connect(site.state / "scans" / "state.sqlite")) as database:
        assert database.execute("SELECT key FROM objects").fetchall() == [(b"good",)]


def test_a_harmless_version_does_not_clear_another(site: Site) -> None:
    site.objects(item(b"bad", "1"), item(b"good", "1"), all_versions=True)
    site.verdicts.clear()
    # The current one alone was looked at.
    assert site.objects(item(b"bad"), item(b"good")).standing == {b"s3://bucket/bad"}
    site.verdicts[b"bad"] = Verdict.UNREADABLE
    versions = item(b"bad", "1"), item(b"bad", "2"), item(b"good", "1")
    assert site.objects(*versions, all_versions=True).standing == {b"s3://bucket/bad"}
    assert site.gone() == set()
    site.objects(*versions[1:], all_versions=True)
    assert site.gone() == {b"s3://bucket/bad"}


def test_an_object_left_out_now_stands(site: Site) -> None:
    site.objects(item(b"bad"), item(b"good"))
    left_out = SkippedFile(BUCKET, b"", item(b"bad"), Reason.ARCHIVED)
    scopes = Scopes([], "", {}, containers={BUCKET: Container((BUCKET,), all_versions=False)})
    batch = Batch("s3", BUCKET, b"", 0, 0, (item(b"good"),))
    assert site.over([batch, left_out], scopes).standing == {b"s3://bucket/bad"}


@pytest.mark.parametrize(("fewer", "shrunken"), [(9, 0), (10, 1), (11, 1)])
def test_a_few_files_less_are_believed(tmp_path: Path, fewer: int, shrunken: int) -> None:
    made = Site(tmp_path / "tree", tmp_path / "state")
    made.state.mkdir()
    made.tree.mkdir()
    for number in range(12):
        (made.tree / f"{number}").touch()
    made.scan()
    for number in range(fewer):
        (made.tree / f"{number}").unlink()
    assert made.scan().shrunken == shrunken


def test_a_target_that_is_empty_is_never_believed(tmp_path: Path) -> None:
    made = Site(tmp_path / "tree", tmp_path / "state")
    made.state.mkdir()
    made.tree.mkdir()
    (made.tree / "bad").touch()
    made.verdicts[b"bad"] = Verdict.MATCH
    made.scan()
    (made.tree / "bad").unlink()
    assert made.scan() == Scanned({made.path("bad")}, 1)
    assert made.gone() == set()


def test_what_is_found_again_is_another_finding(site: Site) -> None:
    """So that nothing is lost of when a file was there, and when it was not."""
    site.verdicts[b"bad"] = Verdict.CLEAN
    site.scan()
    site.verdicts[b"bad"] = Verdict.MATCH
    site.scan()
    with closing(sqlite3.connect(site.state / "scans" / "state.sqlite")) as database:
        rows = database.execute(
            "SELECT count(*), count(gone), min(ending), max(ending) FROM findings WHERE path=?",
            (site.path("a/bad"),),
        ).fetchone()
    assert rows == (2, 1, "", "cleared")
