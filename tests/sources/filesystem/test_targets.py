"""Tests of sources.filesystem.targets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hashscan.attribution.sites import Sites
from hashscan.errors import TargetError
from hashscan.model import SiteRule
from hashscan.sources.filesystem.targets import Target, resolve, resolve_admin_links
from hashscan.sources.patterns import Patterns
from tests.sources.children import in_child, mount, needs_root, own_mounts
from tests.sources.trees import make_chain, write


def test_links_are_followed_to_their_end(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "clients" / "client1" / "web1" / "web"
    real.mkdir(parents=True)
    (tmp_path / "clients" / "one").symlink_to("client1/../client1/./web1")
    (tmp_path / "bob.example").symlink_to(tmp_path / "clients" / "one")
    here = os.fsencode(tmp_path)
    assert resolve_admin_links(here + b"/bob.example/web") == os.fsencode(real)
    assert resolve_admin_links(os.fsencode(real)) == os.fsencode(real)
    assert resolve_admin_links(here + b"/bob.example/none/x") == os.fsencode(real.parent) + b"/none/x"
    assert resolve_admin_links(b"/") == b"/"
    (tmp_path / "up").symlink_to("/../..")
    assert resolve_admin_links(here + b"/up") == b"/"
    sites = Sites([SiteRule("rule", "https://{domain}/", f"{tmp_path}/{{domain}}/web")])
    assert sites.paths_of("https://bob.example/a.jpg") == (os.fsencode(real) + b"/a.jpg",)


def test_links_in_a_circle_and_names_that_can_not_be_stay(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    circle = os.fsencode(tmp_path) + b"/a/x"
    assert resolve_admin_links(circle) in {circle, circle.replace(b"/a/", b"/b/")}
    for path in (b"/x\0y/z", b"/" + b"n" * 5000):
        assert resolve_admin_links(path) == path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_customers_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    link = tmp_path / "public_html"
    link.symlink_to("victim")
    os.lchown(link, 12345, 12345)
    assert resolve_admin_links(os.fsencode(link) + b"/x") == os.fsencode(link) + b"/x"


NONE: frozenset[tuple[int, int]] = frozenset()


def found(
    *paths: bytes,
    exclude: tuple[str, ...] = (),
    one_file_system: bool = False,
    protected: frozenset[tuple[int, int]] = NONE,
) -> list[bytes]:
    targets = resolve(
        paths, exclude=Patterns.compile(exclude), one_file_system=one_file_system, protected=protected
    )
    return [shown(target) for target in targets]


def shown(target: Target) -> bytes:
    return target.path if target.name is None else os.path.join(target.path, target.name)


def identity(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def test_folder_and_file(tree: bytes) -> None:
    write(tree + b"/a/f")
    folder, file = (
        resolve(
            [tree + b"/a/", tree + b"/a/f"],
            exclude=Patterns.compile(["a"]),
            one_file_system=False,
            protected=NONE,
        )[0],
        resolve([tree + b"/a/f"], exclude=Patterns(), one_file_system=False, protected=NONE)[0],
    )
    assert (folder.path, folder.name, folder.identity) == (tree + b"/a", None, identity(tree + b"/a"))
    assert (file.path, file.name, file.identity) == (tree + b"/a", b"f", identity(tree + b"/a"))
    assert len(folder.way) == tree.count(b"/") + 2
    assert folder.way[0][:2] == identity(b"/")


def test_root() -> None:
    assert found(b"/") == [b"/"]
    assert found(b"//") == [b"/"]


def test_relative_and_untidy_paths(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree + b"/a/f")
    monkeypatch.chdir(os.fsdecode(tree))
    assert found(b"a") == [tree + b"/a"]
    assert found(b".") == [tree]
    assert found(b"./a/../a//f") == [tree + b"/a/f"]


def test_links_the_administrator_named_are_followed(tree: bytes) -> None:
    write(tree + b"/real/a/f")
    os.symlink(b"real", tree + b"/link")
    os.symlink(b"a/f", tree + b"/real/file")
    assert found(tree + b"/link") == [tree + b"/real"]
    assert found(tree + b"/link/a") == [tree + b"/real/a"]
    assert found(tree + b"/link/file") == [tree + b"/real/a/f"]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", "ü".encode(), b" ", b"\x1b[31m"])
def test_any_name(tree: bytes, name: bytes) -> None:
    write(tree + b"/" + name + b"/" + name)
    assert found(tree + b"/" + name) == [tree + b"/" + name]
    with pytest.raises(TargetError) as caught:
        found(tree + b"/" + name + b"/none")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_target_at_all(tree: bytes) -> None:
    os.symlink(b"loop", tree + b"/loop")
    write(tree + b"/f")
    for path, why in (
        (tree + b"/none", "does not exist"),
        (tree + b"/loop", "can't be opened: Too many levels"),
        (tree + b"/f/g", "can't be opened: Not a directory"),
        (tree + b"/" + b"x" * 300, "can't be opened: File name too long"),
        (b"", "is empty"),
        (tree + b"/a\0b", "is not a path"),
    ):
        with pytest.raises(TargetError, match=why) as caught:
            found(tree, path)
        if path:
            assert os.fsdecode(path)[-4:].replace("\0", "\\x00") in str(caught.value)


def test_neither_folder_nor_file(tree: bytes) -> None:
    os.mkfifo(tree + b"/fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(tree + b"/socket")
    for path, kind in (
        (tree + b"/fifo", "a FIFO"),
        (tree + b"/socket", "a socket"),
        (b"/dev/null", "a character device"),
    ):
        with pytest.raises(TargetError, match=f"is {kind}, not a folder or a file"):
            found(path)
    listening.close()


@pytest.mark.parametrize("path", [b"/proc", b"/proc/self/pagemap", b"/proc/self/root/proc/1", b"/sys/kernel"])
def test_file_systems_of_the_kernel(tree: bytes, path: bytes) -> None:
    os.symlink(path, tree + b"/link")
    for named in (path, tree + b"/link"):
        with pytest.raises(TargetError, match="stores no files"):
            found(named)


def test_no_permission(tree: bytes) -> None:
    write(tree + b"/folder/f")
    write(tree + b"/open/file")
    write(tree + b"/shut/file")
    for path, mode in ((b"/folder", 0o711), (b"/open/file", 0o200), (b"/shut", 0o600)):
        os.chmod(tree + path, mode if os.geteuid() == 0 else mode & ~0o400 & ~0o100)

    def complaints() -> list[str]:
        texts = []
        for path in (b"/folder", b"/open/file", b"/shut/file"):
            with pytest.raises(TargetError) as caught:
                found(tree + path)
            texts.append(str(caught.value))
        return texts

    for text in in_child(complaints, as_nobody=True):
        assert text.lower().endswith("can't be opened: permission denied")
    os.chmod(tree + b"/folder", 0o755)
    os.chmod(tree + b"/shut", 0o755)


def test_protected(tree: bytes) -> None:
    write(tree + b"/state/lists/f")
    protected = frozenset({identity(tree + b"/state")})
    for path in (b"/state", b"/state/lists", b"/state/lists/f"):
        with pytest.raises(TargetError, match="hashscan's own folder"):
            found(tree + path, protected=protected)
    assert found(tree, protected=protected) == [tree]


def test_each_is_scanned_once(tree: bytes) -> None:
    for path in (b"/a/b/f", b"/a/b/g", b"/ab/f"):
        write(tree + path)
    os.symlink(tree + b"/a", tree + b"/link")
    a, ab, f, g = tree + b"/a", tree + b"/ab", tree + b"/a/b/f", tree + b"/a/b/g"
    assert found(a, a) == [a]
    assert found(f, f) == [f]
    assert found(g, f) == [g, f]
    assert found(a, tree + b"/link") == [a]
    assert found(a + b"/b", a) == [a]
    assert found(f, a) == [a]
    assert found(f, a + b"/b", a, tree) == [tree]
    assert found(ab, a) == [ab, a]
    assert found(a, b"/") == [b"/"]


def test_what_a_pattern_hides_from_one_target_stays_another(tree: bytes) -> None:
    write(tree + b"/a/cache/b/f")
    a, cache, b, f = (tree + path for path in (b"/a", b"/a/cache", b"/a/cache/b", b"/a/cache/b/f"))
    assert found(a, cache, exclude=("cache",)) == [a, cache]
    assert found(a, b, exclude=("cache",)) == [a, b]
    assert found(a, f, exclude=("cache/b",)) == [a, f]
    assert found(a, cache, exclude=("/cache/b",)) == [a]
    # A file whose folder is walked gets its verdict there: it is skipped, as was asked.
    assert found(a, f, exclude=("f",)) == [a]
    # The second is dropped for the first, so it is the first that must reach the third.
    assert found(a, cache, b, exclude=("/cache/b",)) == [a, b]


def test_deep_target(tree: bytes) -> None:
    make_chain(tree, [b"d"] * 1500)
    deep = tree + b"/d" * 1500
    assert found(deep, deep + b"/..", tree + b"/d/d") == [tree + b"/d/d"]


@needs_root
def test_mount_points(tree: bytes) -> None:
    for name in (b"a/disk", b"a/proc", b"bound"):
        os.makedirs(tree + b"/" + name)

    def with_mounts() -> list[list[bytes]]:
        own_mounts()
        mount(b"tmpfs", b"none", tree + b"/a/disk")
        mount(b"proc", b"none", tree + b"/a/proc")
        mount(b"", tree + b"/a", tree + b"/bound", bind=True)
        os.mkdir(tree + b"/a/disk/x")
        os.mkdir(tree + b"/a/real")
        a, disk = tree + b"/a", tree + b"/a/disk"
        with pytest.raises(TargetError, match="stores no files"):
            found(a, tree + b"/a/proc")
        return [
            found(a, disk),
            found(a, disk, one_file_system=True),
            found(a, disk, disk + b"/x", one_file_system=True),
            found(tree + b"/bound", a),
            found(a, tree + b"/bound/real"),
        ]

    a, disk = tree + b"/a", tree + b"/a/disk"
    assert in_child(with_mounts) == [
        [a],
        [a, disk],
        [a, disk],
        [tree + b"/bound"],
        [a],
    ]
