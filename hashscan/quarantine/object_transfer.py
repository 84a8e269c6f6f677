"""Move one matched object into quarantine, restore it, and finish what a dead process had begun with it."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hashscan.errors import OutputError
from hashscan.model import Item as StoredItem
from hashscan.quarantine.captured_file import (
    ObjectIdentity,
    Outcome,
    OutcomeUnknown,
    QuarantineRequest,
    QuarantineSkipped,
    digests_of,
    to_skipped,
)
from hashscan.quarantine.items import Item, State
from hashscan.quarantine.object_stores import (
    call_with_retries,
    describe_if_unaltered,
    fetch_object,
    store_new,
)
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.selection import require_unrestored
from hashscan.quarantine.store import Quarantine, event_context
from hashscan.sources.objects.changeable_store import ChangeableStore, ObjectDescription, unlisted_item
from hashscan.text import path_fields


def move_object(quarantine: Quarantine, request: QuarantineRequest, retention: Retention) -> Item:
    """Copy an object, verify the copy, delete exactly the copied version, and return the stored item.
    QuarantineSkipped: the object, or one that has replaced it, stays where it is. After OutcomeUnknown or
    OutputError, `repair` checks and finishes what was begun."""
    stores = quarantine.stores
    store, key = stores.at(request.path, stores.endpoint)
    if not key:
        raise QuarantineSkipped(Outcome.REFUSED, "it names no object")
    place = _place(quarantine, request.path)
    seen = request.identity if isinstance(request.identity, ObjectIdentity) else ObjectIdentity()
    described = call_with_retries(lambda: store.describe(unlisted_item(key, seen.etag, seen.version)))
    exact = unlisted_item(key, described.etag, described.version, described.size)
    # On the disk of the copies, which the operator may have chosen for its size.
    with fetch_object(store, exact, quarantine.places.chosen.path) as file:
        digests = digests_of(file, os.fstat(file).st_size)
        if request.sha256 not in {None, digests["sha256"]} and not _stored_otherwise(described):
            raise QuarantineSkipped(Outcome.CHANGED, "its content is not what was found")
        require_unrestored(request, digests["sha256"], quarantine.restored)
        name = f"{digests['sha256'][:16]}-{secrets.token_hex(4)}"
        record = {
            "item": name,
            **event_context(),
            **path_fields(request.path),
            "way": "object",
            "place": path_fields(place),
            "endpoint": stores.endpoint,
            "object": asdict(described),
            "digests": digests,
            "accusation": request.accusation,
            **retention.terms(datetime.now(UTC)),
        }
        quarantine.append({"type": State.MOVING, **record})
        quarantine.log.sync()
        item = quarantine.item(name)
        try:
            copy = quarantine.storage.put(item, file)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        except QuarantineSkipped as error:
            raise _log_not_moved(quarantine, item, error) from error
    _complete_move(quarantine, item, store, exact, copy)
    return item


def _complete_move(
    quarantine: Quarantine,
    item: Item,
    store: ChangeableStore,
    exact: StoredItem,
    copy: Any,
    **more: Any,
) -> None:
    """Delete an object whose copy is kept, and log that; if it can't be deleted, delete the copy.
    QuarantineSkipped and OutcomeUnknown as of `move_object`."""
    item.copy = copy
    try:
        compared = call_with_retries(lambda: store.delete(exact))
    except QuarantineSkipped as error:
        try:
            gone = error.lost_answer and _is_gone(store, exact, error)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        if gone:
            _log_moved(quarantine, item, copy, leaves=store.deletes, **more)
            return
        quarantine.storage.drop(item)
        raise _log_not_moved(quarantine, item, error) from error
    _log_moved(quarantine, item, copy, compared=compared, leaves=store.deletes, **more)


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


def _log_moved(quarantine: Quarantine, item: Item, copy: Any, **more: Any) -> None:
    """Log that an object is deleted and its copy kept.

    In `more`, `compared` is True if the store compared the etag while deleting, False if we did just before.
    """
    quarantine.log_event(State.MOVED, item.id, copy=copy, **more)
    quarantine.sync()


def move_remarks(item: Item) -> str:
    """Return remarks about a moved object as text; empty if there are none."""
    remarks = []
    if not item.latest.get("compared", True):
        remarks.append("its store can't compare while it deletes, so it was compared just before")
    if unread := item.record["object"]["unread"]:
        remarks.append(f"properties that could not be read won't be restored: {', '.join(unread)}")
    return "; ".join(remarks)


def _log_not_moved(quarantine: Quarantine, item: Item, error: QuarantineSkipped) -> QuarantineSkipped:
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


def _stored_otherwise(described: ObjectDescription) -> bool:
    """Return True if scans read other bytes than are stored, so that digests can't be compared."""
    return " " in described.etag


def restore_object(quarantine: Quarantine, item: Item) -> None:
    """Store an object again, verify it, and only then destroy the copy. Its version and time are new, since
    no store accepts the old ones. QuarantineSkipped: it stays; after OutcomeUnknown or OutputError, `repair`
    checks and finishes what was begun."""
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    with quarantine.storage.opened(item) as file:
        quarantine.log_event(State.RESTORING, item.id, way="object", **item.restore_reason_fields)
        quarantine.log.sync()
        properties = item.record["object"]["properties"]
        try:
            made = store_new(store, key, file, properties, item.sha256, quarantine.places.own.path)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        except (QuarantineSkipped, OSError) as error:
            raise _log_not_restored(quarantine, item, to_skipped(error)) from error
    _log_restored(quarantine, item, made)


def _log_restored(quarantine: Quarantine, item: Item, made: ObjectDescription) -> None:
    """Destroy the copy of an object that is back, and log that."""
    try:
        quarantine.storage.drop(item)
    except QuarantineSkipped as error:
        raise OutputError(
            f"item {item.id} is back, but the copy of it can't be destroyed: {error}"
        ) from error
    quarantine.log_event(State.RESTORED, item.id, object={"etag": made.etag, "version": made.version})
    quarantine.sync()


def _log_not_restored(quarantine: Quarantine, item: Item, error: QuarantineSkipped) -> QuarantineSkipped:
    quarantine.log_event(State.STAYS, item.id, detail=str(error))
    quarantine.sync()
    return error


def _finish_moving(quarantine: Quarantine, item: Item) -> None:
    """Continue if the copy is complete, else give up; without a copy nothing was deleted yet."""
    interrupted = QuarantineSkipped(Outcome.REFUSED, "it was interrupted, and had not been moved yet")
    if _state_of_copy(quarantine, item) is not Outcome.DONE:
        quarantine.storage.drop(item)
        _log_not_moved(quarantine, item, interrupted)
        return
    copy = quarantine.storage.secure(item)
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    seen = item.record["object"]
    exact = unlisted_item(key, seen["etag"], seen["version"], seen["size"])
    try:
        call_with_retries(lambda: store.describe(exact))
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        # Deleted by us, or by somebody else at that moment: the copy is the only one left.
        _log_moved(quarantine, item, copy, repaired=True)
        return
    try:
        _complete_move(quarantine, item, store, exact, copy, repaired=True)
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED and quarantine.item(item.id).state is State.MOVING:
            raise


def _finish_restoring(quarantine: Quarantine, item: Item) -> None:
    gone = _state_of_copy(quarantine, item) is Outcome.GONE
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    made = describe_if_unaltered(store, key, item.sha256, quarantine.places.own.path)
    if made is None and gone:
        # The copy is destroyed only after the object was back. So somebody has deleted the object, or both,
        # since.
        raise QuarantineSkipped(Outcome.GONE, "both the copy and the restored object are gone")
    if made is None:
        _log_not_restored(quarantine, item, QuarantineSkipped(Outcome.REFUSED, "it was interrupted"))
    else:
        _log_restored(quarantine, item, made)


def _finish_releasing(quarantine: Quarantine, item: Item) -> None:
    quarantine.storage.drop(item)
    quarantine.log_event(State.RELEASED, item.id)


def _state_of_copy(quarantine: Quarantine, item: Item) -> Outcome:
    """Return DONE if there is a complete copy, else the outcome that says what is wrong with it."""
    try:
        with quarantine.storage.opened(item):
            return Outcome.DONE
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return error.outcome


FINISH_OBJECT = {
    State.MOVING: _finish_moving,
    State.RESTORING: _finish_restoring,
    State.RELEASING: _finish_releasing,
}
"""The function that finishes a begun move, restore or destruction; raises `QuarantineSkipped` if it can't."""
