"""Send the feedback that waits in the outbox: to exchanges, and to matching services.

Feedback on signed lists is given away in a file (`lists.publishing.feedback`), and never sent from here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import attrgetter

from msgspec import structs

from hashscan.atomic_files import output_errors
from hashscan.errors import HashscanError, UnreachableError, UsageError
from hashscan.lists.exchanges import feedback as exchanges
from hashscan.lists.exchanges.pulling import source_of
from hashscan.lists.feedback import Feedback, Reply, read_feedback, replace_feedback, sending_lock
from hashscan.lists.services.adapter import MatchingService
from hashscan.lists.services.settings import StoredService, key_headers
from hashscan.lists.store import ListStore
from hashscan.registry import EXCHANGES, MATCHING_SERVICES
from hashscan.schema import InvalidDocumentError
from hashscan.state_dir import StateDir

_PAUSE = 0.5
"""Seconds before the one retry at a busy service that names no time; the next pull tries again, too."""
_LONGEST_PAUSE = 30.0
_KEY_REFUSED = frozenset({401, 403})
_PROBLEM_MAX = 500
_KEPT = "The feedback is kept, and sent again after the next `hashscan lists pull`."


def feedback_identity(store: ListStore, name: str) -> str:
    """Return the identity by which the outbox knows a list; empty for a signed list.

    Raises:
        UsageError: the list has no owner who takes feedback.
        OutputError: the list's settings can't be read.
    """
    folder = store.folder(name)
    with output_errors(f"the list {name!r} can't be read"):
        if folder.source.exists():
            return ""
        source = source_of(store, name)
        service = None if source is not None else _service(store, name)
        if source is not None:
            owner, taken = source.exchange, EXCHANGES[source.exchange].takes_feedback
        elif service is not None:
            owner, taken = service.settings.adapter, _adapter(service).takes_feedback
        else:
            raise UsageError(
                f"the list {name} is this machine's own, so it has no owner to send feedback to",
                advice="Import the list again without the entry, or except it with `hashscan lists except`.",
            )
        if not taken:
            raise UsageError(
                f"{owner} has no way to take feedback by program",
                advice="Write to the list's owner, and name the entry's id.",
            )
        return folder.identity.read_text("ascii")


def send_feedback(state: StateDir, lists: Sequence[str] = (), *, refused: bool = False) -> Iterator[Reply]:
    """Send what waits, and yield what became of each opinion; what is taken waits no longer.

    Args:
        lists: names of the lists; empty for all.
        refused: True to send also what an owner has refused before.

    Raises:
        LockedError: another process is sending.
        OutputError: the outbox can't be read or written.
    """
    if not _waiting(state, lists, refused):
        return
    with output_errors("the outbox of feedback can't be used"), sending_lock(state):
        # Read again, since another process may have sent some until now.
        for name, group in groupby(_waiting(state, lists, refused), attrgetter("list_name")):
            left = {feedback.entry_id: feedback for feedback in group}
            try:
                for reply in _replies(ListStore(state.lists), name, list(left.values())):
                    del left[reply.feedback.entry_id]
                    _store_reply(state, reply, refused=True)
                    yield reply
            except HashscanError as error:
                for feedback in left.values():
                    reply = Reply(feedback, str(error), error.remedy or _KEPT)
                    _store_reply(state, reply, refused=False)
                    yield reply


def _waiting(state: StateDir, lists: Sequence[str], refused: bool) -> list[Feedback]:
    return [
        feedback
        for feedback in read_feedback(state)
        if feedback.identity
        and (not lists or feedback.list_name in lists)
        and (refused or not feedback.refused)
    ]


def _store_reply(state: StateDir, reply: Reply, *, refused: bool) -> None:
    done = not reply.problem or reply.dropped
    problem = reply.problem[:_PROBLEM_MAX]
    replace_feedback(
        state,
        reply.feedback,
        None if done else structs.replace(reply.feedback, problem=problem, refused=refused),
    )


def _replies(store: ListStore, name: str, waiting: Sequence[Feedback]) -> Iterator[Reply]:
    folder = store.folder(name)
    with output_errors(f"the list {name!r} can't be read"):
        identity = folder.identity.read_text("ascii") if folder.identity.exists() else ""
    ours: list[Feedback] = []
    for feedback in waiting:
        if feedback.identity == identity:
            ours.append(feedback)
        else:
            yield Reply(feedback, "the list was removed", "Nothing needs to be done.", True)
    if not ours:
        return
    feedback_identity(store, name)
    service = _service(store, name)
    if service is None:
        yield from exchanges.submit(store, name, EXCHANGES, ours)
    else:
        yield from _to_service(service, ours)


def _service(store: ListStore, name: str) -> StoredService | None:
    try:
        return store.service(name)
    except InvalidDocumentError as error:
        raise UsageError(
            f"the settings of the matching service {name} can't be read: {error}",
            advice="Remove the list, and add it again.",
        ) from error


def _adapter(service: StoredService) -> type[MatchingService]:
    if service.settings.adapter not in MATCHING_SERVICES:
        raise UsageError(f"the adapter {service.settings.adapter} is not installed")
    return MATCHING_SERVICES[service.settings.adapter]


def _to_service(service: StoredService, waiting: Sequence[Feedback]) -> Iterator[Reply]:
    # Importing the client imports urllib3.
    from hashscan.service_client import ServiceBusyError, ServiceClient, ServiceRefusedError

    kind = _adapter(service)
    client = ServiceClient(service.settings, key_headers(service.settings, kind))
    adapter = kind(client, service.settings.categories)
    with closing(client):
        for feedback in waiting:
            for pause in (_PAUSE, None):
                try:
                    adapter.submit_feedback(
                        feedback.entry_id,
                        wrong=feedback.wrong,
                        reason=feedback.reason,
                        hoster=feedback.hoster,
                    )
                except ServiceBusyError as error:
                    wait = pause if error.wait is None else error.wait
                    if pause is None or wait is None or wait > _LONGEST_PAUSE:
                        raise UnreachableError(f"{service.settings.host} {error}", advice=_KEPT) from None
                    time.sleep(wait)
                except ServiceRefusedError as error:
                    problem = f"{service.settings.host} {error}"
                    if error.status in _KEY_REFUSED:
                        raise UnreachableError(problem, advice="Check the key of the service.") from None
                    yield Reply(feedback, problem, "Ask the service if it takes feedback.")
                    break
                except ValueError:
                    yield Reply(feedback, "the service has no entry that can have this id")
                    break
                else:
                    yield Reply(feedback)
                    break
