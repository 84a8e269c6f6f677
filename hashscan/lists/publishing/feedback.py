"""Files of feedback: what a hoster says of entries of a signed list, for the list's owner.

The file is an envelope of DSSE (https://github.com/secure-systems-lab/dsse), signed with an Ed25519 key that
hashscan makes for the hoster on first use, with the public key beside it. Its signature proves that all files
of one key come from one hoster; who that is, the owner learns by the key's fingerprint, which the hoster
tells by another channel. The payload has the list's name, the hoster's name, and of each entry its id, the
opinion and the reason; no time, no digest, and nothing of the machine or its files.

Such a file changes no list: the owner reads it, and withdraws entries by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from hashscan.atomic_files import output_errors, replace_file
from hashscan.errors import UsageError
from hashscan.lists.exceptions import REASON_MAX
from hashscan.lists.feedback import HOSTER_MAX, Feedback
from hashscan.lists.publishing.keys import new_key, read_key
from hashscan.lists.storage.layout import private_folder
from hashscan.model import ENTRY_ID_MAX
from hashscan.schema import InvalidDocumentError, Text, decode_json, encode_json, validated
from hashscan.state_dir import StateDir

SIZE_MAX = 16 << 20
"""Largest file in bytes; an opinion takes less than a kilobyte."""
PAYLOAD_TYPE = "application/vnd.hashscan.feedback+json"
KEY_FILE = "key.pem"
_OPINIONS_MAX = 10_000


class _EntryFeedback(Struct, frozen=True):
    entry: Annotated[str, Meta(min_length=1, max_length=ENTRY_ID_MAX, pattern=r"\A[ -~]+\Z")]
    opinion: Literal["wrong", "right"]
    reason: Annotated[str, Meta(max_length=REASON_MAX)]


class _Payload(Struct, frozen=True):
    list_name: Text
    hoster: Annotated[str, Meta(max_length=HOSTER_MAX)]
    feedback: Annotated[list[_EntryFeedback], Meta(max_length=_OPINIONS_MAX)]


class _Document(Struct, frozen=True):
    """The envelope, and the key that verifies it."""

    payload: Annotated[str, Meta(max_length=SIZE_MAX)]
    payloadType: Literal["application/vnd.hashscan.feedback+json"]  # noqa: N815 - the name in DSSE
    signatures: Annotated[list[dict[str, Text]], Meta(min_length=1, max_length=1)]
    key: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    """The public Ed25519 key in hexadecimal."""


class SignedFeedback(NamedTuple):
    """The opinions of a hoster on some entries."""

    list_name: str
    hoster: str
    fingerprint: str
    """SHA-256 of the public key; 64 hexadecimal digits."""
    opinions: list[tuple[str, bool, str]]
    """Id of an entry, True if it is said to be wrong, and the reason."""


def write_feedback_file(
    state: StateDir, path: Path, list_name: str, hoster: str, waiting: Sequence[Feedback]
) -> str:
    """Write opinions on entries of one list into a file, signed with this machine's key.

    Args:
        list_name: the list's name, as its owner published it.

    Returns:
        The key's fingerprint.

    Raises:
        UsageError: the extra `publish` is not installed, or the hoster has no name.
        OutputError: the file or the key can't be written.
    """
    if not hoster:
        raise UsageError(
            "the file must name the organisation that gives the feedback",
            advice="Write the table [reporter] into the settings file, or name a file with it by --reporter.",
        )
    payload = _Payload(list_name, hoster, [_EntryFeedback(f.entry_id, f.opinion, f.reason) for f in waiting])
    with output_errors("the feedback can't be written"):
        key_path = private_folder(state.feedback) / KEY_FILE
        signer = read_key(key_path, None) if key_path.exists() else new_key(key_path, None)
        from hashscan.lists.storage.tuf_api import Envelope

        envelope = Envelope(encode_json(payload), PAYLOAD_TYPE, {})
        envelope.sign(signer)
        document = {**envelope.to_dict(), "key": signer.public_key.keyval["public"]}
        replace_file(path, encode_json(document) + b"\n")
    return _fingerprint(document["key"])


def read_feedback_file(path: Path) -> SignedFeedback:
    """Read and verify a file of feedback.

    Raises:
        UsageError: it can't be read, is no such file, or its signature is not valid.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", advice="Name the file.") from error
    try:
        if len(data) > SIZE_MAX:
            raise InvalidDocumentError(f"it is longer than {SIZE_MAX} bytes")
        document = validated(decode_json(data, unique_keys=True), _Document)
        verified, fingerprint = _verified(document)
        payload = validated(decode_json(verified, unique_keys=True), _Payload)
    except InvalidDocumentError as error:
        raise UsageError(
            f"{path} is no valid file of feedback: {error}",
            advice="Ask its sender for it again; one is made by `hashscan lists feedback --output`.",
        ) from error
    opinions = [(each.entry, each.opinion == "wrong", each.reason) for each in payload.feedback]
    return SignedFeedback(payload.list_name, payload.hoster, fingerprint, opinions)


def _verified(document: _Document) -> tuple[bytes, str]:
    """Return the payload, and the fingerprint of the key that has signed it."""
    from hashscan.lists.storage.tuf_api import Envelope, SSlibKey, VerificationError

    try:
        (signature,) = document.signatures
        key = SSlibKey(signature["keyid"], "ed25519", "ed25519", {"public": document.key})
        envelope = Envelope.from_dict(
            {
                "payload": document.payload,
                "payloadType": document.payloadType,
                "signatures": [dict(signature)],
            }
        )
        envelope.verify([key], 1)
    except VerificationError:
        raise InvalidDocumentError("its signature is not valid") from None
    except (ValueError, KeyError, TypeError):
        raise InvalidDocumentError("it has no signature") from None
    return envelope.payload, _fingerprint(document.key)


def _fingerprint(public: str) -> str:
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()
