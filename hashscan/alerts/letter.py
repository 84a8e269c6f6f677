"""Keep letters to customers in the outbox until a mail server has accepted them."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import to_builtins

from hashscan.alerts.alert import CASES_NAMED, SCHEMA, SEVERITIES, AlertDocument, Kind
from hashscan.alerts.channels.base import one_line
from hashscan.alerts.channels.mail import new_message_id
from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.letter import Letter
from hashscan.cases.outbox import Outbox
from hashscan.timefmt import format_time


def letter_document(
    letter: Letter, to: str, reply_to: str, host: str, now: float, who: str
) -> dict[str, Any]:
    """Return the document of a letter, with the keys of `Alert.document`.

    Args:
        to: the mail address of the customer.
        reply_to: the mail address for answers.
        now: seconds since 1970.
        who: the user who sends it.
    """
    document = AlertDocument(
        schema=SCHEMA,
        kind=Kind.LETTER,
        severity=SEVERITIES[Kind.LETTER],
        host=one_line(host),
        at=format_time(int(now)),
        message_id=new_message_id(Kind.LETTER, host),
        subject=one_line(letter.subject),
        text=letter.text,
        counts={"cases": len(letter.cases)},
        cases=list(letter.cases[:CASES_NAMED]),
        details=[],
        to=to,
        reply_to=reply_to,
        who=who,
    )
    made: dict[str, Any] = to_builtins(document)
    return made


def queue_letter(ledger: Ledger, document: dict[str, Any], now: float, again: str) -> int | None:
    """Queue a letter, unless all its cases were in a letter to the same address before.

    Args:
        now: seconds since 1970.
        again: a text that no letter had before, to queue it in any case; else empty.

    Returns:
        Its number in the outbox; None if it was not queued.

    Raises:
        LedgerError: the ledger can't be written.
    """
    # The address itself would be kept for ever.
    reader = hashlib.sha256(document["to"].lower().encode()).hexdigest()[:16]
    keys = [f"letter:{reader}:{case}" for case in document["cases"]]
    return Outbox(ledger).add(
        [*keys, *([f"letter:{again}"] if again else [])], int(now), document, [Kind.LETTER]
    )


def queue_answer(ledger: Ledger, document: dict[str, Any], kind: str, notice: int, now: float) -> int | None:
    """Queue an answer to a notice, or to a customer about a case if `notice` is 0: each kind once, ever.

    Args:
        document: that of `letter_document`.
        now: seconds since 1970.

    Returns:
        Its number in the outbox; None if it was queued before.

    Raises:
        LedgerError: the ledger can't be written.
    """
    if notice:
        document |= {"answer": kind, "notice": notice}
    key = f"answer:{kind}:{notice or 'case ' + str(document['cases'][0])}"
    return Outbox(ledger).add([key], int(now), document, [Kind.LETTER])
