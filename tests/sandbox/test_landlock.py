from __future__ import annotations

import errno
import os
import tempfile

import pytest

from hashscan.sandbox import landlock
from hashscan.sandbox.libc import prctl


@pytest.fixture(scope="module")
def rights() -> landlock.Rights:
    try:
        return landlock.supported_rights()
    except OSError as error:
        pytest.skip(f"this kernel has no Landlock: {error}")


def test_everything_documented_for_the_version_is_found(rights: landlock.Rights) -> None:
    # linux/landlock.h: rights were added by versions 2, 3 and 5; network by 4; scopes by 6.
    files = 13 + (rights.version >= 2) + (rights.version >= 3) + (rights.version >= 5)
    assert rights.filesystem & ((1 << files) - 1) == (1 << files) - 1
    assert rights.network & 3 == (3 if rights.version >= 4 else 0)
    assert rights.scopes & 3 == (3 if rights.version >= 6 else 0)


def test_files_are_out_of_reach(rights: landlock.Rights) -> None:
    """In a forked child, since there is no way back."""
    with tempfile.NamedTemporaryFile() as file:
        child = os.fork()
        if child == 0:
            prctl(38, 1)
            landlock.restrict(rights)
            status = 1
            try:
                os.open(file.name, os.O_RDONLY)
            except OSError as error:
                # What is open already stays of use.
                readable = os.pread(file.fileno(), 1, 0) == b""
                status = 0 if error.errno == errno.EACCES and readable else 2
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_descriptor_is_left(rights: landlock.Rights) -> None:
    before = os.listdir("/proc/self/fd")
    landlock.supported_rights()
    assert os.listdir("/proc/self/fd") == before
