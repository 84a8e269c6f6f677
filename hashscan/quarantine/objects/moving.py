"""Moves one accused object into quarantine."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from hashscan.model import Item as StoredItem
from hashscan.quarantine.captured_file import NotDone, ObjectIdentity, Outcome, Request, UnsureError
from hashscan.quarantine.items import Item, State, path_fields
from hashscan.quarantine.objects.content import digests_of, fetched
from hashscan.quarantine.objects.stores import asked
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.store import Quarantine, circumstances
from hashscan.sources.objects.changing import ChangeableStore, Description, named
from hashscan.sources.objects.store import Transient


def move_object(quarantine: Quarantine, request: Request, retention: Retention) -> Item:
    """Copy an object, see that the copy is whole, and delete exactly what was copied.

    Args:
        quarantine: where to.
        request: which object.
        retention: for how long.

    Returns:
        The item, once all of it is in the log and on the disk.

    Raises:
        NotDone: it stays where it is, or what has taken its place does.
        UnsureError: that can't be told yet.
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    stores = quarantine.stores
    store, key = stores.at(request.path, stores.endpoint)
    if not key:
        raise NotDone(Outcome.REFUSED, "it names no object")
    place = _place(quarantine, request.path)
    seen = request.identity if isinstance(request.identity, ObjectIdentity) else ObjectIdentity()
    told = asked(lambda: store.describe(named(key, seen.etag, seen.version)))
    exact = named(key, told.etag, told.version, told.size)
    with fetched(store, exact, quarantine.places.own.path) as file:
        digests = digests_of(file)
        if request.sha256 not in {None, digests["sha256"]} and not _stored_otherwise(told):
            raise NotDone(Outcome.CHANGED, "its content is not what was found")
        name = f"{digests['sha256'][:16]}-{secrets.token_hex(4)}"
        record = {
            "item": name,
            **circumstances(),
            **path_fields(request.path),
            "way": "object",
            "place": path_fields(place),
            "endpoint": stores.endpoint,
            "object": _facts(told),
            "digests": digests,
            "accusation": request.accusation,
            **retention.terms(datetime.now(UTC)),
        }
        quarantine.append({"type": State.MOVING, **record})
        quarantine.log.sync()
        item = quarantine.item(name)
        try:
            copy = quarantine.keeping.put(item, file)
        except UnsureError:
            quarantine.settle()
            raise
        except NotDone as error:
            raise left(quarantine, item, error) from error
    finish_moving(quarantine, item, store, exact, copy)
    return item


def finish_moving(
    quarantine: Quarantine,
    item: Item,
    store: ChangeableStore,
    exact: StoredItem,
    copy: Any,
    **more: Any,
) -> None:
    """Delete an object of which a copy is kept, and say so in the log; else the copy goes.

    Raises:
        NotDone: it stays, or what has taken its place does.
        UnsureError: that can't be told yet.
    """
    item.copy = copy
    lost = False

    def delete() -> bool:
        nonlocal lost
        try:
            return store.delete(exact)
        except Transient:
            lost = True
            raise

    try:
        compared = asked(delete)
    except NotDone as error:
        try:
            gone = lost and _is_gone(store, exact, error)
        except UnsureError:
            quarantine.settle()
            raise
        if gone:
            moved(quarantine, item, copy, leaves=store.deletes, **more)
            return
        quarantine.keeping.drop(item)
        raise left(quarantine, item, error) from error
    moved(quarantine, item, copy, compared=compared, leaves=store.deletes, **more)


def _is_gone(store: ChangeableStore, exact: StoredItem, error: NotDone) -> bool:
    """Whether an object is there no more, whose deletion may have gone well before it failed.

    Then the copy is all there is of it.
    """
    if error.outcome is not Outcome.REFUSED:
        return True
    try:
        asked(lambda: store.describe(exact))
    except NotDone as unknown:
        if unknown.outcome is Outcome.REFUSED:
            raise UnsureError(unknown) from unknown
        return True
    return False


def moved(quarantine: Quarantine, item: Item, copy: Any, **more: Any) -> None:
    """Say that an object is gone and its copy kept.

    Args:
        quarantine: what keeps it.
        item: which.
        copy: what identifies the copy.
        more: `compared`: whether the store compared as it deleted, or we did just before.
    """
    quarantine.note(State.MOVED, item.id, copy=copy, **more)
    quarantine.settle()


def lacking(item: Item) -> str:
    """What should be known of an object that was moved, in words, if anything."""
    words = []
    if not item.latest.get("compared", True):
        words.append("its store can't compare as it deletes, so that was done just before")
    if unread := item.record["object"]["unread"]:
        words.append(f"what could not be read won't be put back: {', '.join(unread)}")
    return "; ".join(words)


def left(quarantine: Quarantine, item: Item, error: NotDone) -> NotDone:
    """Say in the log that an object was not moved."""
    quarantine.note(State.LEFT, item.id, outcome=error.outcome.value, detail=str(error))
    quarantine.settle()
    return error


def _place(quarantine: Quarantine, url: bytes) -> bytes:
    place = quarantine.stores.place
    if place is None:
        return quarantine.places.chosen.path
    if quarantine.stores.container_of(place) == quarantine.stores.container_of(url):
        raise NotDone(Outcome.REFUSED, "evidence must lie in another bucket than where it was found")
    return place


def _facts(told: Description) -> dict[str, Any]:
    return {
        "etag": told.etag,
        "version": told.version,
        "size": told.size,
        "modified": told.modified,
        "properties": told.properties,
        "unread": list(told.unread),
    }


def _stored_otherwise(told: Description) -> bool:
    """Whether sweeps see something else than is stored, so that digests can't be compared."""
    return " " in told.etag
