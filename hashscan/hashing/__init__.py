"""Exact and perceptual hash algorithms, and the decoders of what is hashed.

A module in C that replaces a function of a library is loaded before the library, or it has no effect. So the
one for libjpeg and libtiff is loaded here: nothing outside of this package loads Pillow.
"""

import importlib
import os
import sys


def load_globally(module: str) -> bool:
    """Import a module so that libraries that are loaded later find its functions in place of their own.

    Returns:
        False if it was not built.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    finally:
        sys.setdlopenflags(flags)
    return True


load_globally("hashscan.hashing._decoding_faults")
