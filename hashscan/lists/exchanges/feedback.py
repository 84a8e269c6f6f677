"""Send feedback to an exchange, by the process that fetches from it.

What leaves: the exchange's own name of the entry (NCMEC: member, id and kind of the fingerprint; StopNCII:
the hash itself, since it has no other name there), the opinion, and of the reason what the exchange takes.
The credentials say who sends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from msgspec import structs

from hashscan.errors import UsageError
from hashscan.lists.exchanges.base import Opinion, Submitted
from hashscan.lists.exchanges.pulling import Exchanges, answers_to, exchange_of, request_to, source_of
from hashscan.lists.exchanges.records import Records
from hashscan.lists.feedback import Feedback, Reply
from hashscan.lists.store import ListStore


def submit(store: ListStore, name: str, exchanges: Exchanges, waiting: Sequence[Feedback]) -> Iterator[Reply]:
    """Send opinions on entries of one list, and yield the exchange's reply to each as it comes.

    Raises:
        UsageError: the list is of no exchange or of one without feedback, its credentials can't be used, or
            the library is not installed.
        UnreachableError: the exchange gives no usable answer.
        LockedError: the list is being pulled.
        OutputError: the list's records can't be read.
    """
    source = source_of(store, name)
    if source is None:
        raise UsageError(f"there is no list {name!r} of an exchange")
    kind = exchange_of(exchanges, source.exchange)
    if not kind.takes_feedback:
        raise UsageError(f"{source.exchange} takes no feedback", advice="Write to the exchange.")
    known: list[Feedback] = []
    gone: list[Feedback] = []
    opinions: list[Opinion] = []
    with (
        store.writing(name) as folder,
        Records(folder.records, f"{source.exchange} {source.environment}") as records,
    ):
        for feedback in waiting:
            found = records.digest_of(feedback.entry_id)
            if found is None:
                gone.append(feedback)
                continue
            known.append(feedback)
            key, value = found
            algorithm = feedback.entry_id.rpartition(":")[2]
            opinions.append(Opinion(key, algorithm, value.hex(), feedback.wrong, feedback.reason))
    for feedback in gone:
        yield Reply(feedback, "the exchange has withdrawn the entry", "Nothing needs to be done.", True)
    if not opinions:
        return
    request = structs.replace(request_to(name, kind, source, None), opinions=opinions)
    with closing(answers_to(request, lambda _: None)) as answers:
        for answer in answers:
            if isinstance(answer, Submitted):
                yield Reply(known[answer.number], answer.problem, answer.advice)
