"""The table of a licensee's library."""

from __future__ import annotations

import tomllib

import pytest

from hashscan.errors import UsageError
from hashscan.model import HashLibrary
from hashscan.settings.hash_library import hash_library_of

LEAST = 'library = "/opt/lib.so"\nhash = "compute"\n'


def read(text: str) -> HashLibrary:
    return hash_library_of(tomllib.loads(text), "file")


def test_a_table_with_defaults_and_one_without() -> None:
    assert read(LEAST) == HashLibrary("/opt/lib.so", "compute")
    assert read(
        LEAST + 'arguments = ["instance", "pixels", "width", "height", 0, 0, "digest", "length"]\n'
        'border = "inner"\nflip = "flipped"\ninit = "begin"\ninit_arguments = ["/opt/model", -1]\n'
        'success = 1\nno_digest = [-7006, -7]\nleast_side = 160\ndependencies = ["/opt/other.so"]\n'
    ) == HashLibrary(
        "/opt/lib.so",
        "compute",
        ("instance", "pixels", "width", "height", 0, 0, "digest", "length"),
        "inner",
        "flipped",
        "begin",
        ("/opt/model", -1),
        1,
        (-7006, -7),
        160,
        ("/opt/other.so",),
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('hash = "compute"', "library"),
        ('library = "/opt/lib.so"', "hash"),
        (LEAST.replace("/opt", "opt"), "library"),
        (LEAST.replace("compute", "no name"), "hash"),
        (LEAST + 'arguments = ["pixels", "width", "height"]', "arguments"),
        (LEAST + 'arguments = ["pixels", "width", "height", "digest", "depth"]', "arguments"),
        (LEAST + 'arguments = ["pixels", "width", "height", "digest", 4294967296]', "arguments"),
        (LEAST + 'arguments = ["pixels", "width", "height", "digest", true]', "arguments"),
        (LEAST + 'arguments = ["pixels", "width", "height", "digest", "instance"]', "init"),
        (LEAST + "arguments = 7", "arguments"),
        (LEAST + "least_side = 0", "least_side"),
        (LEAST + 'dependencies = ["libm.so"]', "dependencies"),
        (LEAST + 'edge = "hash_edge"', "edge"),
    ],
)
def test_mistakes_are_named_with_their_key(text: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"file, \[photodna\].*{key}") as refused:
        read(text)
    assert refused.value.remedy


def test_it_is_one_table() -> None:
    with pytest.raises(UsageError, match="photodna"):
        hash_library_of([{}], "file")
