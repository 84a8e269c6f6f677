"""Choose between the parts in C and their twins in Python and numpy: `setup.py` builds all parts or none."""

from __future__ import annotations

import importlib
import os
import shlex
import sys

BUILT = os.path.exists(os.path.join(os.path.dirname(__file__), "hashing", "_pdq.abi3.so"))
"""True if the parts in C are there. A single one that is missing is a damaged installation."""
MISSING = (
    "built without its parts in C: a scan takes 2 to 3.5 times as long, and JPEGs, most TIFFs and HEIF are "
    "undecoded; run `apt-get install gcc libc6-dev python3-dev`, and in the folder of the source "
    f"`{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps .`"
)
"""A message for when they are not."""


def load_globally(module: str) -> None:
    """Import a module so that libraries that are loaded later find its functions in place of their own."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        importlib.import_module(module)
    finally:
        sys.setdlopenflags(flags)
