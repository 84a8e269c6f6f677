from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hashscan
from hashscan.sandbox.launch import import_path

PACKAGE_ROOT = str(Path(hashscan.__file__).absolute().parents[1])


def test_path_is_absolute_and_has_no_place_for_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "relative", *sys.path])
    path = import_path("hashscan")
    assert all(os.path.isabs(entry) for entry in path)
    assert os.path.abspath("relative") in path
    assert os.getcwd() not in path[:1]
    assert len(set(path)) == len(path)


def test_package_known_to_an_import_hook_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and entry != PACKAGE_ROOT])
    assert PACKAGE_ROOT in import_path("hashscan.sandbox.client")


def test_unknown_package_is_left_to_the_zygote_to_miss() -> None:
    assert importlib.util.find_spec("nowhere_at_all") is None
    assert import_path("nowhere_at_all.module:function") == import_path()


def test_path_is_enough_for_a_bare_interpreter() -> None:
    script = f"import sys; sys.path[:] = {list(import_path('hashscan'))!r}; import hashscan.sandbox.zygote"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, cwd="/", env={})


def test_package_of_the_current_folder_is_not_mistaken_for_an_installed_one(tmp_path: Path) -> None:
    """An installed library may bring a package named `tests`, or as a plug-in is."""
    for name in ("own", "installed"):
        (tmp_path / name / "plugin").mkdir(parents=True)
        (tmp_path / name / "plugin" / "__init__.py").write_text(f"place = {name!r}\n")
    find = (
        f"import sys; sys.path.append({str(tmp_path / 'installed')!r}); from hashscan.sandbox import launch; "
    )
    run = subprocess.run(
        [sys.executable, "-c", find + "print(launch.import_path('plugin'))"],
        check=True, cwd=tmp_path / "own", env={"PYTHONPATH": PACKAGE_ROOT}, capture_output=True, text=True,
    )  # fmt: skip
    script = f"import sys; sys.path[:] = {run.stdout.strip()}; import plugin; print(plugin.place)"
    bare = [sys.executable, "-I", "-S", "-c", script]
    assert subprocess.run(bare, check=True, cwd="/", env={}, capture_output=True).stdout == b"own\n"
