"""Move one matched object into quarantine."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from hashscan.model import Item as StoredItem
from hashscan.quarantine.captured_file import (
    ObjectIdentity,
    Outcome,
    OutcomeUnknown,
    QuarantineRequest,
    QuarantineSkipped,
)
from hashscan.quarantine.items import Item, State, path_fields
from hashscan.quarantine.objects.content import digests_of, fetched
from hashscan.quarantine.objects.stores import call_with_retries
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.store import Quarantine, event_context
from hashscan.sources.objects.changing import ChangeableStore, ObjectDescription, unlisted_item
from hashscan.sources.objects.store import RetryableError


def move_object(quarantine: Quarantine, request: QuarantineRequest, retention: Retention) -> Item:
    """Copy an object, verify the copy, and delete exactly the version that was copied.

    Args:
        quarantine: the quarantine that gets the object.
        request: the object.
        retention: its retention terms.

    Returns:
        The item, when all of it is in the log and on the disk.

    Raises:
        QuarantineSkipped: the object, or one that has replaced it, stays where it is.
        OutcomeUnknown: the result is unknown until `repair` checks it.
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    stores = quarantine.stores
    store, key = stores.at(request.path, stores.endpoint)
    if not key:
        raise QuarantineSkipped(Outcome.REFUSED, "it names no object")
    place = _place(quarantine, request.path)
    seen = request.identity if isinstance(request.identity, ObjectIdentity) else ObjectIdentity()
    described = call_with_retries(lambda: store.describe(unlisted_item(key, seen.etag, seen.version)))
    exact = unlisted_item(key, described.etag, described.version, described.size)
    with fetched(store, exact, quarantine.places.own.path) as file:
        digests = digests_of(file)
        if request.sha256 not in {None, digests["sha256"]} and not _stored_otherwise(described):
            raise QuarantineSkipped(Outcome.CHANGED, "its content is not what was found")
        name = f"{digests['sha256'][:16]}-{secrets.token_hex(4)}"
        record = {
            "item": name,
            **event_context(),
            **path_fields(request.path),
            "way": "object",
            "place": path_fields(place),
            "endpoint": stores.endpoint,
            "object": _facts(described),
            "digests": digests,
            "accusation": request.accusation,
            **retention.terms(datetime.now(UTC)),
        }
        quarantine.append({"type": State.MOVING, **record})
        quarantine.log.sync()
        item = quarantine.item(name)
        try:
            copy = quarantine.keeping.put(item, file)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        except QuarantineSkipped as error:
            raise log_not_moved(quarantine, item, error) from error
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
    """Delete an object whose copy is kept, and log that; if it can't be deleted, delete the copy.

    Raises:
        QuarantineSkipped: the object, or one that has replaced it, stays.
        OutcomeUnknown: the result is unknown until `repair` checks it.
    """
    item.copy = copy
    lost = False

    def delete() -> bool:
        nonlocal lost
        try:
            return store.delete(exact)
        except RetryableError:
            lost = True
            raise

    try:
        compared = call_with_retries(delete)
    except QuarantineSkipped as error:
        try:
            gone = lost and _is_gone(store, exact, error)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        if gone:
            moved(quarantine, item, copy, leaves=store.deletes, **more)
            return
        quarantine.keeping.drop(item)
        raise log_not_moved(quarantine, item, error) from error
    moved(quarantine, item, copy, compared=compared, leaves=store.deletes, **more)


def _is_gone(store: ChangeableStore, exact: StoredItem, error: QuarantineSkipped) -> bool:
    """Return True if an object is gone; its deletion may have succeeded although the answer was lost.

    Then the copy is the only one left.
    """
    if error.outcome is not Outcome.REFUSED:
        return True
    try:
        call_with_retries(lambda: store.describe(exact))
    except QuarantineSkipped as unknown:
        if unknown.outcome is Outcome.REFUSED:
            raise OutcomeUnknown(unknown) from unknown
        return True
    return False


def moved(quarantine: Quarantine, item: Item, copy: Any, **more: Any) -> None:
    """Log that an object is deleted and its copy kept.

    Args:
        quarantine: the quarantine that keeps the copy.
        item: the item.
        copy: fields that identify the copy.
        more: `compared`: True if the store compared the etag while deleting, False if we did just before.
    """
    quarantine.log_event(State.MOVED, item.id, copy=copy, **more)
    quarantine.sync()


def move_remarks(item: Item) -> str:
    """Return remarks about a moved object as text; empty if there are none."""
    words = []
    if not item.latest.get("compared", True):
        words.append("its store can't compare as it deletes, so that was done just before")
    if unread := item.record["object"]["unread"]:
        words.append(f"what could not be read won't be put back: {', '.join(unread)}")
    return "; ".join(words)


def log_not_moved(quarantine: Quarantine, item: Item, error: QuarantineSkipped) -> QuarantineSkipped:
    """Log that an object was not moved."""
    quarantine.log_event(State.LEFT, item.id, outcome=error.outcome.value, detail=str(error))
    quarantine.sync()
    return error


def _place(quarantine: Quarantine, url: bytes) -> bytes:
    place = quarantine.stores.place
    if place is None:
        return quarantine.places.chosen.path
    if quarantine.stores.container_of(place) == quarantine.stores.container_of(url):
        raise QuarantineSkipped(
            Outcome.REFUSED, "evidence must lie in another bucket than where it was found"
        )
    return place


def _facts(described: ObjectDescription) -> dict[str, Any]:
    return {
        "etag": described.etag,
        "version": described.version,
        "size": described.size,
        "modified": described.modified,
        "properties": described.properties,
        "unread": list(described.unread),
    }


def _stored_otherwise(described: ObjectDescription) -> bool:
    """Return True if scans read other bytes than are stored, so that digests can't be compared."""
    return " " in described.etag
