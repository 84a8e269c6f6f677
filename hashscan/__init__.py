"""Find known child sexual abuse material by hash on disks and in buckets, without looking at a picture."""

import sys as _sys

__version__ = "0.1.0"

# Every process of hashscan imports this before any other module that may have to be compiled. The bytecode of
# this module is kept short, since it is written before anything here can prevent that.
_never, _sys.dont_write_bytecode = _sys.dont_write_bytecode, True
from hashscan import bytecode as _bytecode  # noqa: E402

_sys.dont_write_bytecode = _never or not _bytecode.may_write()
