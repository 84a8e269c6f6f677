"""Patterns with names in braces."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from hashscan.attribution.path_patterns import compile_named, parts_of

COMPONENT = st.sampled_from(["a", "b", "*", "?", "a*", "*b", "a*b*c", "[ab]", "a{n}", "{n}b", "a*-{n}"])


def slowly(pattern: str) -> re.Pattern[str]:
    """Return the pattern as one expression that may try everything."""
    parts = pattern.removeprefix("/").removesuffix("/").split("/")
    said = ""
    for part in parts:
        if part == "**":
            said += "(?:[^/]+/)*"
            continue
        one = part.replace("*", "[^/]*").replace("?", "[^/]").replace("{n}", "[^/]+")
        said += f"{one}/"
    return re.compile(f"/{said}.+", re.DOTALL)


@given(
    st.lists(COMPONENT | st.just("**"), min_size=1, max_size=5),
    st.lists(st.text("abc-", min_size=1, max_size=6), min_size=1, max_size=6),
)
def test_it_matches_what_an_expression_that_tries_everything_does(parts: list[str], names: list[str]) -> None:
    named = 0
    for number, part in enumerate(parts):
        if "{n}" in part:
            named += 1
            parts[number] = part if named == 1 else part.replace("{n}", "c")
    if parts[-1] == "**":
        parts.append("a")
    pattern = f"/{'/'.join(parts)}/"
    path = f"/{'/'.join(names)}"
    expected = slowly(pattern).fullmatch(path) is not None
    found = compile_named(pattern, ("n",)).match(*parts_of(path.encode()))
    assert (found is not None) == expected, (pattern, path)


def test_many_stars_take_no_longer_than_few() -> None:
    hostile = b"/" + b"/".join([b"a" * 200] * 500)
    pattern = compile_named("/" + "/".join(["**", "*a*a*a*a*a*a*a*b"] * 40) + "/**", ("n",))
    assert pattern.match(*parts_of(hostile)) is None
