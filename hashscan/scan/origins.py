"""Turns the targets that were named into sources of files, by the scheme before `://`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hashscan.errors import TargetError
from hashscan.model import Access
from hashscan.registry import SOURCES
from hashscan.sources.base import Source
from hashscan.sources.options import ListingOptions

_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILES = "file"


def libraries_of(targets: Sequence[bytes]) -> tuple[str, ...]:
    """The modules that workers will need to open what is named; best imported before they are forked."""
    found = [_scheme(target) for target in targets]
    return tuple({module: None for name in found if name in SOURCES for module in SOURCES[name].libraries})


def _scheme(target: bytes) -> str:
    found = _SCHEME.match(target)
    return _FILES if found is None else found[1].decode("ascii").lower()


def sources_of(targets: Sequence[bytes], options: ListingOptions, access: Access) -> list[Source]:
    """Find the targets, one source for each scheme, in the order in which the schemes were first named.

    Args:
        targets: paths and URLs.
        options: what to leave out.
        access: how to reach what is not on this machine.

    Raises:
        TargetError: a target can't be swept at all, or nothing knows its scheme.
    """
    named: dict[str, list[bytes]] = {}
    for target in targets:
        scheme = _scheme(target)
        if scheme not in SOURCES or (scheme == _FILES and _SCHEME.match(target)):
            raise TargetError(
                f"{_harmless(target)!r}: there is no source for {scheme}://",
                advice=f"Name a path, or a URL of {', '.join(n for n in SOURCES if n != _FILES) or 'none'}; "
                f"a path that looks like a URL needs ./ before it.",
            )
        named.setdefault(scheme, []).append(target)
    return [SOURCES[scheme](group, options, access) for scheme, group in named.items()]


def _harmless(target: bytes) -> str:
    """A target for an error message, without what may be a password or a signature."""
    shown = re.sub(rb"(?<=://)[^/]*@", b"", target).partition(b"?")
    return (shown[0] + ("?…".encode() if shown[1] else b"")).decode(errors="replace")
