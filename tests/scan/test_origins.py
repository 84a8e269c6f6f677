"""Which source a target belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import TargetError
from hashscan.model import DIRECT
from hashscan.scan.origins import libraries_of, sources_of
from hashscan.sources.objects.s3 import S3Source
from hashscan.sources.options import ListingOptions


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


def test_libraries_are_those_of_the_schemes_named() -> None:
    assert libraries_of([b"/var/www", b"gopher://x", b"./s3://x"]) == ()
    assert libraries_of([b"/var/www", b"S3://x", b"s3://y/z"]) == S3Source.libraries


@pytest.mark.parametrize(
    "target", [b"htps://user:SECRET@h/x", b"htps://h/x?sig=SECRET", b"x://SECRET@h?SECRET"]
)
def test_what_may_be_a_secret_is_not_repeated(target: bytes) -> None:
    with pytest.raises(TargetError, match="no source for") as caught:
        sources_of([target], ListingOptions(), DIRECT)
    assert "SECRET" not in str(caught.value)
