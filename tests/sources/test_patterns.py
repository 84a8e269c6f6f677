from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.sources.patterns import Patterns


def excluded(patterns: Patterns, path: bytes, *, is_folder: bool = False) -> bool:
    """As a walk finds out: folder by folder, and nothing in an excluded one."""
    place = patterns.start
    *folders, name = path.split(b"/")
    for folder in folders:
        if patterns.excludes(place, folder, is_folder=True):
            return True
        place = patterns.descend(place, folder)
    return patterns.excludes(place, name, is_folder=is_folder)


def ignore_file(folder: Path, content: bytes) -> Path:
    path = folder / "ignore"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        # without a slash: a name at any depth
        ("x", [b"x", b"a/x", b"a/b/x", b"x/y"], [b"xx", b"a/xx", b"X", b"ax"]),
        ("*.log", [b"a.log", b".log", b"d/a.log", b"\xff.log", b"a\n.log"], [b"a.log2", b"alog", b"a.LOG"]),
        ("a?c", [b"abc", b"a\xffc", "aäc".encode(), b"a\nc"], [b"ac", b"abbc"]),
        ("*", [b"a", b"\xff\xfe", b".hidden", b"\n"], []),
        ("a*b*c", [b"abc", b"a1b2c", b"abbcc", b"abcbc"], [b"acb", b"ab", b"abcd"]),
        ("*ab", [b"ab", b"aab", b"abab"], [b"aba", b"b"]),
        ("**", [b"a", b"a/b"], []),
        # with one: the path beneath the target
        ("a/b", [b"a/b", b"a/b/c"], [b"b", b"x/a/b", b"a/c/b", b"a"]),
        ("/a", [b"a", b"a/x"], [b"x/a", b"b"]),
        ("a/*", [b"a/b", b"a/b/c"], [b"a", b"x/a/b"]),
        ("a/*/c", [b"a/b/c"], [b"a/c", b"a/b/b/c"]),
        ("a/**", [b"a/b", b"a/b/c"], [b"a", b"x/a/b"]),
        ("**/a", [b"a", b"x/a", b"x/y/a"], [b"xa", b"ab"]),
        ("**/a/b", [b"a/b", b"x/y/a/b", b"a/a/b"], [b"a/x/b"]),
        ("a/**/b", [b"a/b", b"a/x/b", b"a/x/y/b", b"a/a/b/b"], [b"b", b"x/a/b", b"a/bb"]),
        ("a/**/**/b", [b"a/b", b"a/x/b"], [b"ab"]),
        ("/**", [b"a", b"a/b"], []),
        ("a/b*d/e", [b"a/bd/e", b"a/bcd/e"], [b"a/b/d/e"]),
        # classes
        ("[ab]", [b"a", b"b"], [b"c", b"ab"]),
        ("[!ab]", [b"c", b"\xff", b"]"], [b"a", b"b", b"cc"]),
        ("[^ab]", [b"c"], [b"a"]),
        ("[a-c]x", [b"bx"], [b"dx", b"-x"]),
        ("[]a]", [b"]", b"a"], [b"b"]),
        ("[!]a]", [b"b"], [b"]", b"a"]),
        ("[a-]", [b"a", b"-"], [b"b"]),
        ("[-a]", [b"a", b"-"], [b"b"]),
        ("[\\]]", [b"]"], [b"\\"]),
        ("[[]", [b"["], [b"a"]),
        ("[ä-ü]", ["ö".encode()], [b"a", b"\xc3"]),
        ("[&&~~||-]", [b"&", b"~", b"|", b"-"], [b"a"]),
        # taken literally
        ("\\*", [b"*"], [b"a", b"\\*"]),
        ("\\[a]", [b"[a]"], [b"a"]),
        ("a.b", [b"a.b"], [b"axb"]),
        ("(a|b)+", [b"(a|b)+"], [b"a", b"b"]),
        ("!a", [b"!a"], [b"a"]),
        ("#a", [b"#a"], [b"a"]),
        ("a ", [b"a "], [b"a"]),
        ("ä", ["ä".encode(), "x/ä".encode()], [b"\xe4", b"a"]),
        ("\udcff", [b"\xff"], [b"\xfe", "ÿ".encode()]),
    ],
)
def test_meaning(pattern: str, inside: list[bytes], outside: list[bytes]) -> None:
    patterns = Patterns.compile([pattern])
    assert [path for path in inside if not excluded(patterns, path)] == []
    assert [path for path in outside if excluded(patterns, path)] == []


@pytest.mark.parametrize("pattern", ["x/", "/x/", "**/x/"])
def test_slash_at_the_end_means_folders(pattern: str) -> None:
    patterns = Patterns.compile([pattern])
    assert excluded(patterns, b"x", is_folder=True)
    assert not excluded(patterns, b"x")
    assert excluded(patterns, b"x/y")


def test_nothing_excludes_nothing() -> None:
    for patterns in (Patterns(), Patterns.compile([])):
        assert not patterns
        assert not excluded(patterns, b"a/b")
    assert Patterns.compile(["a"])


def test_ignore_file(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbf*.log\r\n"
        b"\n"
        b"# a comment.tmp\n"
        b"!keep.log\n"
        b"\\#hash\n"
        b"\\!bang\n"
        b"cache/   \n"
        b"blank\\ \n"
        b"\xff*\n"
        b"/top\n"
        b"*.tmp"
    )
    patterns = Patterns.compile([], ignore_file(tmp_path, content))
    inside = [b"a.log", b"#hash", b"!bang", b"cache/x", b"blank ", b"\xffoo", b"top", b"a.tmp", b"d/a.log"]
    outside = [b"keep.log", b"d/keep.log", b"# a comment", b"hash", b"blank", b"d/top", b"cache", b""]
    assert [path for path in inside if not excluded(patterns, path)] == []
    assert [path for path in outside if excluded(patterns, path)] == []


def test_the_last_that_matches_decides(tmp_path: Path) -> None:
    patterns = Patterns.compile([], ignore_file(tmp_path, b"*.a\n!x.a\nx.*\n!/d/x.a\n!y.a\n"))
    assert excluded(patterns, b"x.a")
    assert not excluded(patterns, b"d/x.a")
    assert excluded(patterns, b"e/d/x.a")
    assert not excluded(patterns, b"y.a")
    assert excluded(patterns, b"z.a")


def test_nothing_in_an_excluded_folder_comes_back(tmp_path: Path) -> None:
    assert excluded(Patterns.compile([], ignore_file(tmp_path, b"d/\n!d/x\n")), b"d/x")


def test_the_command_line_decides_over_the_file(tmp_path: Path) -> None:
    patterns = Patterns.compile(["x"], ignore_file(tmp_path, b"x\n!x\n"))
    assert excluded(patterns, b"x")


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("", "''"),
        ("/", "''"),
        ("//", "''"),
        ("a//b", "''"),
        ("./a", r"'\.'"),
        ("a/../b", r"'\.\.'"),
        ("[", "isn't closed"),
        ("[a", "isn't closed"),
        ("[]", "isn't closed"),
        ("[!]", "isn't closed"),
        ("[a-", "isn't closed"),
        ("[a\\", "isn't closed"),
        ("[z-a]", "backwards: z-a"),
        ("[[:alpha:]]", "not supported"),
        ("a\\", "backslash"),
        ("a\0b", "zero byte"),
    ],
)
def test_wrong_patterns(tmp_path: Path, pattern: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        Patterns.compile(["fine", pattern])
    assert str(caught.value).startswith(f"--exclude: the pattern {pattern!r}")
    if pattern:
        path = ignore_file(tmp_path, b"fine\n\n" + pattern.encode() + b"\n")
        with pytest.raises(UsageError, match=complaint) as caught:
            Patterns.compile([], path)
        assert str(caught.value).startswith(f"{path}:3: the pattern {pattern!r}")


def test_ignore_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        Patterns.compile([], tmp_path / "none")
    with pytest.raises(UsageError, match="directory"):
        Patterns.compile([], tmp_path)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 40 + "*b", b"a" * 250),
        ("*a?" * 40 + "b", b"a" * 250),
        ("*" * 200 + "b", b"a" * 250),
        ("*[ab]*[ab]*[ab]*[ab]*[ab]*[ab]*[ab]*[ab]c", b"ab" * 125),
        ("*" + "a" * 100 + "*" + "a" * 100 + "*b", b"a" * 250),
        ("*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*b", b"\xff" * 250),
    ],
)
def test_no_name_can_make_it_slow(pattern: str, name: bytes) -> None:
    patterns = Patterns.compile([pattern, "/" + pattern, "x/" + pattern])
    # Backtracking would take years.
    for _ in range(20):
        assert not patterns.excludes(patterns.start, name, is_folder=False)


def test_no_path_can_make_it_slow() -> None:
    patterns = Patterns.compile(["**/a/" * 15 + "b", "**/*a/**/*a/**/*a/**/*a/**/b"])
    place = patterns.start
    for _ in range(2000):
        assert not patterns.excludes(place, b"a", is_folder=True)
        place = patterns.descend(place, b"a")
    assert patterns.excludes(place, b"b", is_folder=False)


components = st.lists(
    st.sampled_from(["*", "?", "a", "b", "[ab]", "[!a]", "**"]), min_size=1, max_size=5
).map("".join)
names = st.text("abc", min_size=1, max_size=6)


@given(components, names)
def test_one_component_agrees_with_a_plain_regular_expression(glob: str, name: str) -> None:
    plain = glob.replace("*", ".*").replace("?", ".").replace("[!", "[^")
    expected = re.fullmatch(plain.replace(".*.*", ".*"), name) is not None
    assert Patterns.compile([glob]).excludes((), name.encode(), is_folder=False) == expected


@given(
    st.lists(st.one_of(st.just("**"), st.sampled_from(["a", "b", "?", "*"])), min_size=2, max_size=5),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5),
)
def test_paths_agree_with_a_plain_regular_expression(parts: list[str], path: list[str]) -> None:
    plain = ""
    for position, part in enumerate(parts):
        if part != "**":
            plain += {"*": "[^/]+", "?": "[^/]"}.get(part, part) + "/"
        elif position == len(parts) - 1:
            plain += "(?:[^/]+/)+"
        else:
            plain += "(?:[^/]+/)*"
    patterns = Patterns.compile(["/".join(parts)])
    place = patterns.start
    for name in path[:-1]:
        place = patterns.descend(place, name.encode())
    expected = re.fullmatch(plain, "/".join(path) + "/") is not None
    assert patterns.excludes(place, path[-1].encode(), is_folder=False) == expected


@given(st.text(max_size=12), st.binary(max_size=20))
def test_any_pattern_compiles_or_is_refused(pattern: str, name: bytes) -> None:
    try:
        patterns = Patterns.compile([pattern])
    except UsageError:
        return
    place = patterns.descend(patterns.start, b"folder")
    assert patterns.excludes(place, name, is_folder=True) in {True, False}
