"""Builds the parts in C, all of them or none: see `hashscan/c_parts.py`."""

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
FLAGS = {
    "lists/index/_probe": ["-O3"],
    "lists/index/_euclid": ["-O3"],
    "state/store/_unpack": ["-O3"],
    # Elsewhere than on x86-64, gcc would fuse what the reference rounds twice.
    "hashing/_pdq": ["-O3", "-ffp-contract=off"],
    "hashing/_text": ["-O2"],
    "hashing/recognition/_traces": ["-O2"],
    "sources/_folder_listing": ["-O2"],
    "sources/_kernel_calls": ["-O2"],
    "hashing/_decoding_faults": ["-O2"],
    "hashing/_heif_threads": [],
}
"""By source file, the compiler's options."""
HEADERS = {
    "lists/index/_probe": ["lists/index/_hits.h"],
    "lists/index/_euclid": ["lists/index/_hits.h"],
    "hashing/_pdq": ["hashing/_pdq_loops.h", "hashing/_pdq_weights.h"],
}


def build(sources: dict[str, list[str]]) -> None:
    # Or a wheel would get what an earlier build has left.
    for folder in HERE.glob("build/lib*"):
        shutil.rmtree(folder)
    extensions = [
        Extension(
            f"hashscan.{source.replace('/', '.')}",
            [f"hashscan/{source}.c"],
            depends=[f"hashscan/{header}" for header in HEADERS.get(source, ())],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=flags,
            py_limited_api=True,
        )
        for source, flags in sources.items()
    ]
    setup(ext_modules=extensions, options={"bdist_wheel": {"py_limited_api": "cp311"}} if sources else {})


try:
    build(FLAGS)
except SystemExit as error:
    # Nothing but the parts in C was asked for, or it is no error.
    if "build_ext" in sys.argv or not error.code:
        raise
    sys.stderr.write(f"hashscan is built without its parts in C: {error}\n")
    for source in FLAGS:
        for built in HERE.glob(f"hashscan/{source}.*.so"):
            built.unlink()
    build({})
