"""The sources of targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import TargetError
from hashscan.model import DIRECT, Batch, Reason
from hashscan.scan.target_sources import named_listings, source_modules, sources_of
from hashscan.sources.base import ListingOptions, NonFileCounts, UnreadableName
from hashscan.sources.objects.s3.source import S3Source


def test_paths_are_one_source(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    named = [os.fsencode(tmp_path / name) for name in "ba"]
    (source,) = sources_of(named, ListingOptions(), DIRECT)
    assert source.name == "file"
    assert list(source.paths) == named


@pytest.mark.parametrize("target", [b"gopher://x/y", b"file:///etc", b"S4://bucket"])
def test_a_scheme_that_nothing_knows_is_refused(target: bytes) -> None:
    with pytest.raises(TargetError, match="no source for"):
        sources_of([target], ListingOptions(), DIRECT)


def test_a_path_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gopher:" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (source,) = sources_of([b"./gopher://x"], ListingOptions(), DIRECT)
    assert source.paths == (os.fsencode(tmp_path / "gopher:" / "x"),)


def test_names_go_to_their_sources_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    names = [b"a", b"s4://x/y", b"", b"b", b"file:///etc/passwd", b"gone"]
    found = list(named_listings(iter(names), [], ListingOptions(), DIRECT))
    reported = [
        [item.name for item in listing.items] if isinstance(listing, Batch) else listing for listing in found
    ]
    assert reported == [
        [b"a"],
        UnreadableName(b"s4://x/y", b"", b"", Reason.NO_NAME, "there is no source for it"),
        NonFileCounts(),
        [b"b"],
        UnreadableName(b"file:///etc/passwd", b"", b"", Reason.NO_NAME, "there is no source for it"),
        UnreadableName(b"/", os.fsencode(tmp_path)[1:], b"gone", Reason.VANISHED, ""),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"gopher://h/p?X-Signature=secret", b"gopher://h/p"),
        (b"gopher://user:secret@h/p#secret", b"gopher://h/p"),
        (b"gopher://user:secret@h", b"gopher://h"),
        (b"gopher://h/a@b", b"gopher://h/a@b"),
        (b"gopher://", b"gopher://"),
    ],
)
def test_secrets_in_a_url_are_not_reported(name: bytes, shown: bytes) -> None:
    (lost,) = named_listings(iter([name]), [], ListingOptions(), DIRECT)
    assert isinstance(lost, UnreadableName)
    assert (lost.target, lost.reason) == (shown, Reason.NO_NAME)


def test_with_targets_other_schemes_are_outside(tmp_path: Path) -> None:
    sources = sources_of([os.fsencode(tmp_path)], ListingOptions(), DIRECT)
    (lost,) = named_listings(iter([b"s3://bucket/a?b"]), sources, ListingOptions(), DIRECT)
    assert lost == UnreadableName(b"s3://bucket/a?b", b"", b"", Reason.OUTSIDE, "")


def test_libraries_are_those_of_the_schemes_named() -> None:
    assert source_modules([b"/var/www", b"gopher://x", b"./s3://x"]) == ()
    assert source_modules([b"/var/www", b"S3://x", b"s3://y/z"]) == S3Source.libraries


@pytest.mark.parametrize(
    "target", [b"htps://user:SECRET@h/x", b"htps://h/x?sig=SECRET", b"x://SECRET@h?SECRET"]
)
def test_what_may_be_a_secret_is_not_repeated(target: bytes) -> None:
    with pytest.raises(TargetError, match="no source for") as caught:
        sources_of([target], ListingOptions(), DIRECT)
    assert "SECRET" not in str(caught.value)
