"""Restore an object under its key, with the properties that were stored with it."""

from __future__ import annotations

from hashscan.errors import OutputError
from hashscan.quarantine.captured_file import Outcome, OutcomeUnknown, QuarantineSkipped
from hashscan.quarantine.items import Item, State
from hashscan.quarantine.objects.content import store_new
from hashscan.quarantine.store import Quarantine


def restore_object(quarantine: Quarantine, item: Item) -> None:
    """Store an object again, verify it, and only then destroy the copy.

    Its version and time are new, since no store accepts the old ones.

    Raises:
        QuarantineSkipped: it stays: the copy is gone or was altered, the key is taken, or the store refuses.
        OutcomeUnknown: it is unknown if the object is back.
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    with quarantine.keeping.opened(item) as file:
        quarantine.log_event(State.RESTORING, item.id, way="object", **item.restore_reason_fields)
        quarantine.log.sync()
        properties = item.record["object"]["properties"]
        try:
            made = store_new(store, key, file, properties, item.sha256, quarantine.places.own.path)
        except OutcomeUnknown:
            quarantine.sync()
            raise
        except QuarantineSkipped as error:
            raise log_not_restored(quarantine, item, error) from error
        except OSError as error:
            reason = QuarantineSkipped(Outcome.REFUSED, f"it can't be read again: {error.strerror}")
            raise log_not_restored(quarantine, item, reason) from error
    finish(quarantine, item, {"etag": made.etag, "version": made.version})


def finish(quarantine: Quarantine, item: Item, made: dict[str, str]) -> None:
    """Destroy the copy of an object that is back, and log that."""
    try:
        quarantine.keeping.drop(item)
    except QuarantineSkipped as error:
        raise OutputError(
            f"item {item.id} is back, but the copy of it can't be destroyed: {error}"
        ) from error
    quarantine.log_event(State.RESTORED, item.id, **({"object": made} if made else {}))
    quarantine.sync()


def log_not_restored(quarantine: Quarantine, item: Item, error: QuarantineSkipped) -> QuarantineSkipped:
    """Log that an object was not restored."""
    quarantine.log_event(State.STAYS, item.id, detail=str(error))
    quarantine.sync()
    return error
