"""Finish what a dead process had begun with an object: it is in its bucket or in quarantine, never both."""

from __future__ import annotations

from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.items import Item, State
from hashscan.quarantine.objects.content import describe_if_unaltered
from hashscan.quarantine.objects.moving import finish_moving, log_not_moved, moved
from hashscan.quarantine.objects.restoring import finish, log_not_restored
from hashscan.quarantine.objects.stores import call_with_retries
from hashscan.quarantine.store import Quarantine
from hashscan.sources.objects.changing import unlisted_item


def finish_object(quarantine: Quarantine, item: Item) -> None:
    """Finish a move, a restore or a release.

    Raises:
        QuarantineSkipped: a store can't be reached.
    """
    _FINISH[item.state](quarantine, item)


def _finish_moving(quarantine: Quarantine, item: Item) -> None:
    """Continue if the copy is complete, else give up; without a copy nothing was deleted yet."""
    interrupted = QuarantineSkipped(Outcome.REFUSED, "it was interrupted, and had not been moved yet")
    if _look(quarantine, item) is not Outcome.DONE:
        quarantine.keeping.drop(item)
        log_not_moved(quarantine, item, interrupted)
        return
    copy = quarantine.keeping.secure(item)
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    seen = item.record["object"]
    exact = unlisted_item(key, seen["etag"], seen["version"], seen["size"])
    try:
        call_with_retries(lambda: store.describe(exact))
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        # Deleted by us, or by somebody else at that moment: the copy is the only one left.
        moved(quarantine, item, copy, repaired=True)
        return
    try:
        finish_moving(quarantine, item, store, exact, copy, repaired=True)
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED and quarantine.item(item.id).state is State.MOVING:
            raise


def _finish_restoring(quarantine: Quarantine, item: Item) -> None:
    gone = _look(quarantine, item) is Outcome.GONE
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    made = describe_if_unaltered(store, key, item.sha256, quarantine.places.own.path)
    if made is None and gone:
        # The copy is destroyed only after the object was back. So somebody has deleted the object, or both,
        # since.
        raise QuarantineSkipped(Outcome.GONE, "neither what was kept is there nor what was put back")
    if made is None:
        log_not_restored(quarantine, item, QuarantineSkipped(Outcome.REFUSED, "it was interrupted"))
    else:
        finish(quarantine, item, {"etag": made.etag, "version": made.version})


def _finish_releasing(quarantine: Quarantine, item: Item) -> None:
    quarantine.keeping.drop(item)
    quarantine.log_event(State.RELEASED, item.id)


def _look(quarantine: Quarantine, item: Item) -> Outcome:
    """Return DONE if there is a complete copy, else the outcome that says what is wrong with it."""
    try:
        with quarantine.keeping.opened(item):
            return Outcome.DONE
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return error.outcome


_FINISH = {
    State.MOVING: _finish_moving,
    State.RESTORING: _finish_restoring,
    State.RELEASING: _finish_releasing,
}
