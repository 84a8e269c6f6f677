"""Finishes what a process that died had begun with an object: it is in its bucket or kept, never both."""

from __future__ import annotations

from hashscan.quarantine.captured_file import NotDone, Outcome
from hashscan.quarantine.items import Item, State
from hashscan.quarantine.objects.content import whole
from hashscan.quarantine.objects.moving import finish_moving, left, moved
from hashscan.quarantine.objects.restoring import finish, stays
from hashscan.quarantine.objects.stores import asked
from hashscan.quarantine.store import Quarantine
from hashscan.sources.objects.changing import named


def finish_object(quarantine: Quarantine, item: Item) -> None:
    """End a move, a restoration or a release.

    Raises:
        NotDone: a store can't be asked.
    """
    _FINISH[item.state](quarantine, item)


def _finish_moving(quarantine: Quarantine, item: Item) -> None:
    """Go on where the copy is whole, and else give up; without a copy nothing was deleted yet."""
    interrupted = NotDone(Outcome.REFUSED, "it was interrupted, and had not been moved yet")
    if _look(quarantine, item) is not Outcome.DONE:
        quarantine.keeping.drop(item)
        left(quarantine, item, interrupted)
        return
    copy = quarantine.keeping.secure(item)
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    seen = item.record["object"]
    exact = named(key, seen["etag"], seen["version"], seen["size"])
    try:
        asked(lambda: store.describe(exact))
    except NotDone as error:
        if error.outcome is Outcome.REFUSED:
            raise
        # By us, or by somebody else at that moment: the copy is all there is of it.
        moved(quarantine, item, copy, repaired=True)
        return
    try:
        finish_moving(quarantine, item, store, exact, copy, repaired=True)
    except NotDone as error:
        if error.outcome is Outcome.REFUSED and quarantine.item(item.id).state is State.MOVING:
            raise


def _finish_restoring(quarantine: Quarantine, item: Item) -> None:
    gone = _look(quarantine, item) is Outcome.GONE
    store, key = quarantine.stores.at(item.path, item.record["endpoint"])
    made = whole(store, key, item.sha256, quarantine.places.own.path)
    if made is None and gone:
        # The copy was destroyed once the object was seen to be back; so somebody took it since, or both.
        raise NotDone(Outcome.GONE, "neither what was kept is there nor what was put back")
    if made is None:
        stays(quarantine, item, NotDone(Outcome.REFUSED, "it was interrupted"))
    else:
        finish(quarantine, item, {"etag": made.etag, "version": made.version})


def _finish_releasing(quarantine: Quarantine, item: Item) -> None:
    quarantine.keeping.drop(item)
    quarantine.note(State.RELEASED, item.id)


def _look(quarantine: Quarantine, item: Item) -> Outcome:
    """DONE where there is a whole copy, else what there is instead."""
    try:
        with quarantine.keeping.opened(item):
            return Outcome.DONE
    except NotDone as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return error.outcome


_FINISH = {
    State.MOVING: _finish_moving,
    State.RESTORING: _finish_restoring,
    State.RELEASING: _finish_releasing,
}
