"""Files of feedback: what a hoster says of entries of a signed list, for the list's owner.

The file is an envelope of DSSE (https://github.com/secure-systems-lab/dsse), signed with an Ed25519 key that
hashscan makes for the hoster on first use, with the public key beside it. Its signature proves that all files
of one key come from one hoster; who that is, the owner learns by the key's fingerprint, which the hoster
tells by another channel. The payload has the list's name, the hoster's name, and of each entry its id, the
opinion and the reason; no time, no digest, and nothing of the machine or its files.

Such a file changes no list: the owner reads it, and withdraws entries by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from hashscan.atomic_files import output_errors, replace_file
from hashscan.errors import UsageError
from hashscan.lists.exceptions import REASON_MAX
from hashscan.lists.feedback import HOSTER_MAX, Feedback
from hashscan.lists.publishing.envelope import SIZE_MAX, fingerprint_of, signed, verified
from hashscan.lists.publishing.keys import own_key
from hashscan.model import ENTRY_ID_MAX
from hashscan.schema import InvalidDocumentError, Text, decode_json, encode_json, validated
from hashscan.state_dir import StateDir

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
        signer = own_key(state.feedback / KEY_FILE)
        replace_file(path, signed(encode_json(payload), PAYLOAD_TYPE, signer))
    return fingerprint_of(signer)


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
        content, fingerprint = verified(data, PAYLOAD_TYPE)
        payload = validated(decode_json(content, unique_keys=True), _Payload)
    except InvalidDocumentError as error:
        raise UsageError(
            f"{path} is no valid file of feedback: {error}",
            advice="Ask its sender for it again; one is made by `hashscan lists feedback --output`.",
        ) from error
    opinions = [(each.entry, each.opinion == "wrong", each.reason) for each in payload.feedback]
    return SignedFeedback(payload.list_name, payload.hoster, fingerprint, opinions)
