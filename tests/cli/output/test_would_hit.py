"""`hashscan lists diff --would-hit`: a staged list asked against what scans remember."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.cli.commands.test_lists import published, released, root, url  # noqa: F401 - fixtures
from tests.cli.conftest import Run


@pytest.mark.slow
def test_new_entries_hit_known_files_and_old_ones_are_not_asked(
    run: Run,
    url: str,  # noqa: F811
    root: Path,  # noqa: F811
    uploads: Path,
    tmp_path: Path,
) -> None:
    (uploads / "text").write_bytes(b"words")
    run("lists", "add", "national", url, "--root", root)
    run("lists", "pull", "--stage")
    assert run("lists", "diff", "--would-hit").code == 12
    report = tmp_path / "r.jsonl"
    assert run("scan", uploads, "--list", "demo", "--report", report).code in {0, 1}
    ran = run("lists", "diff", "--would-hit")
    assert ran.code == 0
    hits = {line["path"].rpartition("/")[2]: line for line in ran.lines}
    assert hits.keys() == {"listed.jpg", "alike.jpg"}
    assert (hits["listed.jpg"]["entry"], hits["listed.jpg"]["distance"]) == ("e-pdq", 0)
    assert 0 < hits["alike.jpg"]["distance"] <= 31
    assert hits["alike.jpg"]["presence"] == "there"
    assert "2 new entries hit 2 known files" in ran.err

    assert run("lists", "activate").code == 0
    more = tmp_path / "more.csv"
    lines = [f"n-{name},{name},{hashlib.new(name, b'words').hexdigest()},B1" for name in ("md5", "sha512")]
    more.write_text("\n".join(("id,algorithm,value,category", *lines, f"no,sha1,{'0' * 40},B1\n")))
    assert run("publish", "add", more, "--work", tmp_path / "work").code == 0
    run("publish", "release", "--work", tmp_path / "work", "--no-passphrase")
    run("lists", "pull", "--stage")
    (uploads / "text").unlink()
    ran = run("lists", "diff", "national", "--would-hit")
    (hit,) = ran.lines
    assert (hit["entry"], hit["category"], hit["presence"]) == ("n-md5", "B1", "gone")
    assert "1 new entries of sha512 were not compared" in ran.err
    assert "1 new entry hits 1 known file" in ran.err
