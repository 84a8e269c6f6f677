"""Write and verify the signed file of a proof of care.

The signature covers the document and its time-stamp, so that no byte of the file can be changed unnoticed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hashscan.cases.care.document import CareDocument, CareProblem, SignedContent
from hashscan.cases.care.timestamps import TimestampError, verify_timestamp
from hashscan.lists.publishing.envelope import signed, verified
from hashscan.schema import InvalidDocumentError, decode_json, encode_json, validated

if TYPE_CHECKING:
    from hashscan.lists.storage.tuf_api import CryptoSigner

PAYLOAD_TYPE = "application/vnd.hashscan.care+json"


class VerifiedCare(NamedTuple):
    """A file that was checked."""

    problem: CareProblem | None
    why: str = ""
    document: CareDocument | None = None
    fingerprint: str = ""
    stamped: datetime | None = None


def signed_care(
    document: CareDocument, signer: CryptoSigner, stamp: Callable[[bytes], bytes] | None = None
) -> bytes:
    """Return the file of a document; `stamp` returns a time-stamp of bytes."""
    text = encode_json(document)
    timestamp = b"" if stamp is None else base64.b64encode(stamp(text))
    return signed(encode_json(SignedContent(text.decode(), timestamp.decode())), PAYLOAD_TYPE, signer)


def verify_care(data: bytes, keys: tuple[str, ...] = (), ca_file: Path | None = None) -> VerifiedCare:
    """Check a file.

    Args:
        keys: fingerprints of which one must have signed it; empty for any.
        ca_file: root certificates (PEM) of the authority that must have stamped it; None if none must.
    """
    try:
        payload, fingerprint = verified(data, PAYLOAD_TYPE)
        content = validated(decode_json(payload, unique_keys=True), SignedContent)
        text = content.document.encode()
        document = validated(decode_json(text, unique_keys=True), CareDocument)
        timestamp = base64.b64decode(content.timestamp, validate=True)
        if document.key != fingerprint:
            raise InvalidDocumentError("it names another key than the one that has signed it")
    except (InvalidDocumentError, UnicodeEncodeError, binascii.Error) as error:
        return VerifiedCare(CareProblem.INVALID, str(error))
    found = VerifiedCare(None, "", document, fingerprint)
    if keys and fingerprint not in keys:
        return found._replace(problem=CareProblem.WRONG_KEY, why=f"it is signed with the key {fingerprint}")
    if not timestamp:
        if ca_file is None:
            return found
        return found._replace(problem=CareProblem.NO_TIMESTAMP, why="it has no time-stamp")
    try:
        found = found._replace(stamped=verify_timestamp(timestamp, text, ca_file))
    except TimestampError as error:
        return found._replace(problem=CareProblem.BAD_TIMESTAMP, why=f"its time-stamp {error}")
    if ca_file is None:
        why = "its time-stamp was not verified: name the TSA's certificates with --tsa-ca"
        return found._replace(problem=CareProblem.UNVERIFIED_TIMESTAMP, why=why)
    return found
