"""A stand-in for a licensee's hash library, compiled from C."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hashscan.model import HashLibrary

SOURCE = Path(__file__).with_suffix(".c")
CRASH, HANG, OUTSIDE, SHORT, ERROR, NOTHING, REPORT, UNTOUCHED = range(101, 109)
"""Widths of pictures that make it fail, or report what its constructor could do."""
TRIED = 10
"""Number of things that its constructor tries."""

_DEPENDENCY = "int standin_scale(void) { return 255; }"


def build(folder: Path, *defines: str) -> HashLibrary:
    """Compile it and the library that it needs; skip the test where that can't be, or not be trusted.

    Args:
        folder: its name must be root's, as in a temporary folder of root.
        defines: EXEC, TRACE or DIES, for what its constructor tries besides.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    if os.geteuid() != 0:
        pytest.skip("only root can make a library that is trusted")
    folder.mkdir(exist_ok=True)
    needed, made = folder / "libstandin-scale.so.1", folder / "standin.so"
    line = [compiler, "-shared", "-fPIC", "-O1", "-Wl,--no-as-needed"]
    subprocess.run(
        [*line, f"-Wl,-soname,{needed.name}", "-xc", "-", "-o", needed],
        input=_DEPENDENCY.encode(),
        check=True,
    )
    extra = [f"-D{name}" for name in defines]
    subprocess.run([*line, *extra, "-o", made, SOURCE, needed, "-lm"], check=True)
    for path in (needed, made):
        path.chmod(0o755)
    return HashLibrary(
        str(made),
        "standin_hash",
        ("pixels", "width", "height", "stride", "digest", "length", 7),
        init="standin_init",
        init_arguments=("standin", 3),
        no_digest=(-6,),
        dependencies=(str(needed),),
    )


def table(library: HashLibrary) -> str:
    """Return the table of the settings that describes it."""
    return f"""
[photodna]
library = "{library.library}"
hash = "{library.hash}"
arguments = ["pixels", "width", "height", "stride", "digest", "length", 7]
init = "standin_init"
init_arguments = ["standin", 3]
no_digest = [-6]
dependencies = ["{library.dependencies[0]}"]
"""
