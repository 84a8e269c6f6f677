"""Recognise the EICAR test file, with which administrators test that their uploads are checked.

https://www.eicar.org/download-anti-malware-testfile/: the file begins with 68 given characters; white space
may follow, up to a length of 128.
"""

from __future__ import annotations

import os

# In two parts, so that no scanner finds this module.
_TEXT = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + rb"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LENGTH_MAX = 128
_WHITE = b" \t\n\r\x1a"

NAME = "Eicar-Test-Signature"
"""The name that ClamAV gives it."""


def is_eicar(descriptor: int, size: int) -> bool:
    """Return True if an open file of `size` bytes is the test file."""
    if not len(_TEXT) <= size <= LENGTH_MAX:
        return False
    content = os.pread(descriptor, LENGTH_MAX + 1, 0)
    return len(content) == size and content.startswith(_TEXT) and not content[len(_TEXT) :].strip(_WHITE)
