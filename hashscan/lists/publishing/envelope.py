"""Sign documents with an Ed25519 key, in an envelope of DSSE with the public key beside it.

https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from hashscan.schema import InvalidDocumentError, Text, decode_json, encode_json, validated

if TYPE_CHECKING:
    from hashscan.lists.storage.tuf_api import CryptoSigner

SIZE_MAX = 16 << 20
"""Largest document in bytes."""


class _Document(Struct, frozen=True):
    """The envelope, and the key that verifies it."""

    payload: Annotated[str, Meta(max_length=SIZE_MAX)]
    payloadType: Text  # noqa: N815 - the name in DSSE
    signatures: Annotated[list[dict[str, Text]], Meta(min_length=1, max_length=1)]
    key: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    """The public Ed25519 key in hexadecimal."""


def signed(payload: bytes, payload_type: str, signer: CryptoSigner) -> bytes:
    """Return a document with this payload, signed."""
    from hashscan.lists.storage.tuf_api import Envelope

    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return encode_json({**envelope.to_dict(), "key": signer.public_key.keyval["public"]}) + b"\n"


def fingerprint_of(signer: CryptoSigner) -> str:
    """Return the fingerprint of a signer's public key: its SHA-256, 64 hexadecimal digits."""
    return _fingerprint(signer.public_key.keyval["public"])


def verified(data: bytes, payload_type: str) -> tuple[bytes, str]:
    """Return the payload of a signed document, and the fingerprint of the key that has signed it.

    Every byte is checked: the document must be exactly what `signed` makes of its payload.

    Raises:
        InvalidDocumentError: it is no such document, or its signature is not valid.
    """
    from hashscan.lists.storage.tuf_api import Envelope, SSlibKey, VerificationError

    if len(data) > SIZE_MAX:
        raise InvalidDocumentError(f"it is longer than {SIZE_MAX} bytes")
    document = validated(decode_json(data, unique_keys=True), _Document)
    if document.payloadType != payload_type:
        raise InvalidDocumentError("it is another kind of document")
    try:
        (signature,) = document.signatures
        key = SSlibKey(signature["keyid"], "ed25519", "ed25519", {"public": document.key})
        fields = {"payload": document.payload, "payloadType": payload_type, "signatures": [dict(signature)]}
        envelope = Envelope.from_dict(fields)
        envelope.verify([key], 1)
        made = {**envelope.to_dict(), "key": document.key}
    except VerificationError:
        raise InvalidDocumentError("its signature is not valid") from None
    except (ValueError, KeyError, TypeError):
        raise InvalidDocumentError("it has no signature") from None
    if key.keyid != _key_id(document.key) or encode_json(made) + b"\n" != data:
        raise InvalidDocumentError("its signature is not valid: it was changed after it was signed")
    return envelope.payload, _fingerprint(document.key)


def _key_id(public: str) -> str:
    """Return the id that securesystemslib gives a key: a digest of its canonical form."""
    described = {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}
    return hashlib.sha256(encode_json(described)).hexdigest()


def _fingerprint(public: str) -> str:
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()
