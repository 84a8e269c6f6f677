"""Publish filters of lists' exact digests, for the clients of a service that has these lists.

The folders are those of a list's publisher (`publisher.Publisher.init`), with filters in place of entries:
the target `filters.json` names the filters of the last versions. A complete filter is made at most once a
day; until then, digests that are new in the lists are in a small filter of additions. What the lists have no
longer is let through until the next complete filter, so that a client only asks more.

Importing this module imports pyfusefilter, numpy and tuf, so other modules import it on first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from hashscan.atomic_files import replace_file
from hashscan.errors import OutputError, UsageError
from hashscan.lists.filters.building import BuiltFilter, Heads, build, heads_of_lists, not_in
from hashscan.lists.filters.format import (
    INDEX_NAME,
    FilterError,
    FilterHeader,
    FilterIndex,
    FilterPart,
    VersionFilter,
)
from hashscan.lists.publishing.next_version import PUBLIC_FILE
from hashscan.lists.publishing.workspace import Workspace, opened, seconds
from hashscan.lists.storage.columns import ColumnError, ListHandle
from hashscan.lists.storage.signed_list import METADATA
from hashscan.lists.store import ListStore, fingerprinted, lists_version
from hashscan.schema import encode_file
from hashscan.state_dir import StateDir
from hashscan.timefmt import format_utc

KEPT = 3
"""Versions of which there is a filter."""
BASE_FOR = timedelta(days=1)
"""Time after which new digests make a complete filter."""
_ADDED_SHARE = 20
"""New digests make a complete filter if there is more than one for this many in it."""
_FIRST_ROOT = "1.root.json"


class PublishedFilter(NamedTuple):
    """The newest filter of a repository."""

    version: str
    """The version of the lists to which it belongs."""
    header: FilterHeader
    """The complete filter's."""
    additions: FilterHeader | None
    bytes: int
    """Size of both together."""
    changed: bool
    """False if the filter of this version was published before."""
    fingerprint: str
    """SHA-256 of the first root, by which clients trust the repository."""


def publish_filter_of(
    work: Path,
    state: StateDir,
    names: Sequence[str] | None,
    *,
    new_base: bool = False,
    passphrase: bytes | None = None,
) -> PublishedFilter:
    """Build and publish the filter of lists of this machine.

    Args:
        names: names of the lists; None for all stored lists.

    The other arguments and errors are those of `publish_filter`.

    Raises:
        NoUsableListError: no list can be used.
        UsageError: one of the lists can't be used, or is a matching service.
    """
    with ListStore(state.lists).open(names, datetime.now(UTC)) as opened:
        if opened.services:
            raise UsageError(
                f"{opened.services[0].name} is a matching service, whose list is not known here",
                advice="Name the lists with --list.",
            )
        opened.require_usable()
        used = {handle.name for handle in opened.handles}
        if unusable := [info for info in opened.infos if info.name not in used]:
            raise UsageError(
                f"the list {unusable[0].name} can't be used: {unusable[0].problem}",
                advice="Repair it, or name the others with --list.",
            )
        version = lists_version(fingerprinted(opened))
        return publish_filter(work, opened.handles, version, new_base=new_base, passphrase=passphrase)


def publish_filter(
    work: Path,
    handles: Sequence[ListHandle],
    version: str,
    *,
    new_base: bool = False,
    passphrase: bytes | None = None,
    now: datetime | None = None,
) -> PublishedFilter:
    """Build and publish the filter of some lists (all of which the service answers), unless that of this
    version is published already. `work` is a working folder that `Publisher.init` made, from which no list is
    published; `version` is from `store.lists_version`. After an error, the old filter or the new one is
    published."""
    at = seconds(now)
    with opened(work) as workspace:
        index = workspace.filters()
        if workspace.state.pending or (index is None and workspace.publication.verified is not None):
            raise UsageError(
                f"{work} is the working folder of a list",
                advice="Begin another with `hashscan publish init`.",
            )
        newest = None if index is None else index.filters[0]
        if newest is not None and newest.version == version and not new_base:
            return _described(workspace, newest, changed=False)
        signers = workspace.signers(passphrase, at)
        try:
            heads = heads_of_lists(handles)
        except ColumnError as error:
            raise OutputError(f"a list has changed while it was read: {error}") from error
        workspace.staging.mkdir()
        number = workspace.state.released + 1
        made = None if newest is None or new_base else _with_additions(workspace, newest, heads, version, at)
        if made is None:
            name = f"{number}.base.filter"
            _stage(workspace, name, build(heads, version, format_utc(at)))
            named = VersionFilter(version, name, None)
        else:
            name = f"{number}.additions.filter"
            _stage(workspace, name, made)
            assert newest is not None
            named = VersionFilter(version, newest.base, name)
        earlier = [] if index is None else [each for each in index.filters if each.version != version]
        index = FilterIndex(number, [named, *earlier][:KEPT])
        replace_file(workspace.staging / INDEX_NAME, encode_file(index), PUBLIC_FILE)
        workspace.release(index.targets, 0, signers, at)
        return _described(workspace, named, changed=True)


def _with_additions(
    workspace: Workspace, newest: VersionFilter, heads: Heads, version: str, now: datetime
) -> BuiltFilter | None:
    """Return the filter of what the newest complete one lacks; None if it is to be replaced."""
    data = workspace.target(newest.base).read_bytes()
    try:
        base = FilterPart(data)
        age = now - datetime.fromisoformat(base.header.made)
    except (FilterError, ValueError):
        return None
    if not timedelta(0) <= age < BASE_FOR or sorted(base.header.algorithms) != sorted(heads):
        return None
    more = not_in(base, heads)
    if sum(map(len, more.values())) * _ADDED_SHARE > base.header.digests:
        return None
    return build(more, version, format_utc(now), hashlib.sha256(data).hexdigest())


def _stage(workspace: Workspace, name: str, built: BuiltFilter) -> None:
    replace_file(workspace.staging / name, built.data, PUBLIC_FILE)


def _described(workspace: Workspace, named: VersionFilter, *, changed: bool) -> PublishedFilter:
    names = [named.base, *([named.additions] if named.additions else [])]
    try:
        parts = [FilterPart.open(workspace.target(name)) for name in names]
    except FilterError as error:
        raise OutputError(
            f"a filter in {workspace.state.repository} can't be read: {error}",
            advice="Upgrade hashscan, or make a new one with --new-base.",
        ) from error
    root = (workspace.state.repository / METADATA / _FIRST_ROOT).read_bytes()
    return PublishedFilter(
        named.version,
        parts[0].header,
        parts[1].header if len(parts) > 1 else None,
        sum(len(part.data) for part in parts),
        changed,
        hashlib.sha256(root).hexdigest(),
    )
