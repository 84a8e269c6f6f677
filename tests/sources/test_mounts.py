from __future__ import annotations

import os

import pytest

from hashscan.sources.mounts import is_pseudo

from .children import in_child, mount, needs_root, own_mounts


def asked(path: str | bytes) -> bool:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return is_pseudo(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["/proc", "/sys", "/proc/self/task", "/dev/pts"])
def test_where_the_kernel_shows_itself(path: str) -> None:
    if not os.path.isdir(path):
        pytest.skip(f"no {path} here")
    assert asked(path)


def test_where_files_are_kept(tree: bytes) -> None:
    assert not asked(tree)


def test_what_cannot_be_asked_is_looked_at() -> None:
    assert not is_pseudo(-1)


@needs_root
def test_file_systems_by_kind(tree: bytes) -> None:
    def kinds() -> dict[bytes, bool]:
        own_mounts()
        answers = {}
        for kind in (b"proc", b"tmpfs", b"mqueue", b"sysfs"):
            where = tree + b"/" + kind
            os.mkdir(where)
            mount(kind, b"none", where)
            answers[kind] = asked(where)
        return answers

    assert in_child(kinds) == {b"proc": True, b"tmpfs": False, b"mqueue": True, b"sysfs": True}
