"""The entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_nothing_in_the_current_folder_is_imported(tmp_path: Path) -> None:
    """Root may stand in a customer's folder."""
    here = tmp_path / "here"
    here.mkdir()
    trap = "import pathlib\npathlib.Path(__file__).with_suffix('.sprung').touch()\nraise ImportError\n"
    for name in ("json", "xml", "numpy", "socket", "PIL"):
        (here / f"{name}.py").write_text(trap)
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "file").write_bytes(b"content")
    # As the command that pip installs begins, whose own folder comes first.
    start = "import sys; del sys.path[0]; from hashscan.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, "scan", tmp_path / "uploads", "--list", "demo", "--no-state"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(here.glob("*.sprung"))


def test_the_current_folder_is_not_searched_with_the_option_m(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_suffix('.sprung').touch()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "hashscan", "--version"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.sprung"))
