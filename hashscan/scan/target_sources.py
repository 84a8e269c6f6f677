"""Turn targets and file names into sources and listings, by the scheme before `://`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from hashscan.errors import TargetError
from hashscan.model import Access, Reason
from hashscan.registry import SOURCES
from hashscan.sources.base import (
    Listing,
    ListingOptions,
    NonFileCounts,
    Source,
    UnreadableName,
    strip_secrets,
)

if TYPE_CHECKING:
    from hashscan.sources.objects.s3.inventory import S3Inventory

_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILES = "file"
_WEB = frozenset({"http", "https"})
"""Schemes whose URLs may have a signature in the query; in all others everything after the container is
the key."""


def source_modules(targets: Sequence[bytes]) -> tuple[str, ...]:
    """Return the modules that workers need to open these targets; import them before workers are forked."""
    found = [_scheme_of(target) for target in targets]
    return tuple({module: None for name in found if name in SOURCES for module in SOURCES[name].libraries})


def sources_of(targets: Sequence[bytes], options: ListingOptions, access: Access) -> list[Source]:
    """Group the targets, one source for each scheme, in the order in which the schemes first occur."""
    named: dict[str, list[bytes]] = {}
    for target in targets:
        scheme = _scheme_of(target)
        if scheme not in SOURCES:
            shown = strip_secrets(target).decode(errors="replace")
            raise TargetError(
                f"{shown!r}: there is no source for {scheme.removesuffix(':')}://",
                advice=f"Name a path, or a URL of {', '.join(n for n in SOURCES if n != _FILES) or 'none'}; "
                f"a path that looks like a URL needs ./ before it.",
            )
        named.setdefault(scheme, []).append(target)
    return [SOURCES[scheme](group, options, access) for scheme, group in named.items()]


def path_targets(targets: Sequence[bytes]) -> list[bytes]:
    """Return the targets that are paths of this machine."""
    return [target for target in targets if _scheme_of(target) == _FILES]


def inventory_of(
    manifest: bytes, targets: Sequence[bytes], options: ListingOptions, access: Access
) -> S3Inventory:
    """Return the source of the bucket that an inventory lists."""
    from hashscan.sources.objects.s3.inventory import S3Inventory

    return S3Inventory(targets, options, access, manifest=manifest)


def named_listings(
    names: Iterator[bytes], sources: Sequence[Source], options: ListingOptions, access: Access
) -> Iterator[Listing]:
    """List files by name; an empty name is a pause, see `Source.listings_by_name`. Without sources, any file
    may be named."""
    known = {source.name: source for source in sources}
    last = _FILES

    def scheme_of(name: bytes) -> str:
        nonlocal last
        if name:
            last = _scheme_of(name)
        return last

    for scheme, group in groupby(names, scheme_of):
        if scheme not in known and scheme in SOURCES and not sources:
            known[scheme] = SOURCES[scheme]((), options, access)
        if scheme in known:
            yield from known[scheme].listings_by_name(group)
            continue
        for name in group:
            if not name:
                yield NonFileCounts()
            elif scheme in SOURCES:
                secret = scheme in _WEB or b"@" in name.split(b"/", 3)[2]
                shown = strip_secrets(name) if secret and scheme != _FILES else name
                yield UnreadableName(shown, b"", b"", Reason.OUTSIDE, "")
            else:
                yield UnreadableName(
                    strip_secrets(name), b"", b"", Reason.NO_NAME, "there is no source for it"
                )


def _scheme_of(name: bytes) -> str:
    """Return a URL's scheme, or the name of the source for paths.

    That name is a scheme, too, but `file://` is not supported.
    """
    found = _SCHEME.match(name)
    if found is None:
        return _FILES
    scheme = found[1].decode("ascii").lower()
    return scheme if scheme != _FILES else f"{scheme}:"
