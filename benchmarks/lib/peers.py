"""Install the libraries that the benchmarks compare with, in an environment of their own, on first use.

python-threatexchange is `threatexchange` on PyPI. Its PDQ comes from `pdqhash`, which offers no Linux wheel
for any CPython from 3.10 to 3.13 (tried with 0.2.8), so pip builds it: that needs a C++ compiler and Python's
headers; pip fetches Cython by itself. threatexchange 1.2.17 installed and worked like that with CPython 3.11
and 3.13 and g++ 12. imgdd 0.1.5 offers one Linux wheel for all CPythons from 3.9 on, for glibc 2.34 or newer.
The interpreter that runs the benchmark is tried first: a comparison should differ in the code, not in the
Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("threatexchange", "ImageHash", "imgdd", "faiss-cpu", "matplotlib")
"""Packages to compare with; matplotlib draws the plots, and isn't needed by hashscan either."""
READY = "ready"
"""A file in the environment that says it was made to the end."""


class PeersError(Exception):
    """No interpreter here could be given the peers."""


def default_folder() -> Path:
    """Return the folder in which the environment is kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hashscan-benchmark" / "peers"


def interpreters() -> list[str]:
    """Interpreters worth trying, each once."""
    found = [sys.executable, shutil.which("python3.13"), "/usr/bin/python3.13", shutil.which("python3.12")]
    return list(dict.fromkeys(path for path in found if path and Path(path).exists()))


def make(folder: Path, interpreter: str, packages: Sequence[str] = PACKAGES) -> str | None:
    """Make the environment with one interpreter; the end of what was printed if that failed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    for command in ([interpreter, "-m", "venv", str(folder)], [*pip, "install", "--quiet", *packages]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stdout + done.stderr)[-800:]
    frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True)
    (folder / READY).write_text(frozen.stdout)
    return None


def is_ready(folder: Path, packages: Sequence[str] = PACKAGES) -> bool:
    """Return whether the environment was made to the end and has every package."""
    try:
        names = {line.partition("==")[0].lower() for line in (folder / READY).read_text().splitlines()}
    except FileNotFoundError:
        return False
    return names >= {name.lower() for name in packages}


def ensure(folder: Path, packages: Sequence[str] = PACKAGES) -> str:
    """Return the Python interpreter that has the peers; it is installed now if needed.

    Raises:
        PeersError: no interpreter could install them.
    """
    if not is_ready(folder, packages):
        if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
            raise PeersError(f"{folder} holds something else; name an empty folder")
        print(f"making the peers' environment in {folder}", file=sys.stderr)
        complaints = []
        for interpreter in interpreters():
            trouble = make(folder, interpreter, packages)
            if trouble is None:
                break
            complaints.append(f"{interpreter}: {trouble}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            raise PeersError("\n".join(complaints))
    return str(folder / "bin" / "python")


def versions(folder: Path) -> dict[str, str]:
    """Return the versions of the peers and of the libraries that determine their speed."""
    wanted = {"threatexchange", "imagehash", "imgdd", "pdqhash", "pillow", "numpy", "scipy", "faiss-cpu"}
    pairs = (line.split("==") for line in (folder / READY).read_text().splitlines() if "==" in line)
    return {name: version for name, version in pairs if name.lower() in wanted}
