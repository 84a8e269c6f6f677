"""An extension of python-threatexchange, with which its command and Hasher-Matcher-Actioner pull lists.

    threatexchange config extensions add hashscan.lists.exchanges.threatexchange_extension

It pulls and verifies a list by hashscan's own code: signatures, versions, expiry and hashes, by The Update
Framework, from a root that the list's owner handed over. A list that is not what was signed is refused, and
the entries from before stay in use.

The caller stores the entries, and this module the state of the pulls. So that withdrawn entries leave the
caller's copy, the version that the caller has confirmed by its checkpoint stays here until it confirms a
later one; the difference between the two is what it gets. A caller whose copy is not of a version that is
here is asked to start again, since entries would stay in it unnoticed.

How this could be used to hide a file: an entry that is withdrawn, or of category known-good or test, says by
the library's opinion that it is a false positive; all that is signed by the list's owner. The state of the
pulls protects from an older version of the list: a user who can write there can bring one back.
"""

# Not `from __future__ import annotations`: the library makes options of the types of fields.

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from threatexchange.content_type.content_base import ContentType
from threatexchange.content_type.file import FileContent
from threatexchange.content_type.photo import PhotoContent
from threatexchange.content_type.video import VideoContent
from threatexchange.exchanges.collab_config import CollaborationConfigWithDefaults
from threatexchange.exchanges.fetch_state import (
    FetchCheckpointBase,
    FetchDelta,
    FetchedSignalMetadata,
    SignalOpinion,
    SignalOpinionCategory,
)
from threatexchange.exchanges.signal_exchange_api import SignalExchangeAPIWithSimpleUpdates
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal
from threatexchange.signal_type.sha256 import VideoSHA256Signal
from threatexchange.signal_type.signal_base import (
    BytesHasher,
    SignalType,
    SimpleSignalType,
    TrivialSignalTypeIndex,
)

from hashscan.errors import HashscanError, OutputError, UsageError
from hashscan.lists import difference
from hashscan.lists.entries import entries_of_list
from hashscan.lists.pulling import client
from hashscan.lists.pulling.origin import checked_origin, write_origin
from hashscan.lists.storage.layout import ListFolder
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore, open_version
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY
from hashscan.secret_files import CredentialSources

_REVIEW = frozenset({"other", "terrorism", "ncii"})
"""Categories on whose word hashscan never acts either."""
_NOT_HARMFUL = frozenset({KNOWN_GOOD_CATEGORY, TEST_CATEGORY})

_log = logging.getLogger(__name__)


class _ExactSignal(SimpleSignalType, BytesHasher):
    """A digest of the bytes of a file, which the library has for films only."""

    algorithm = ""

    @classmethod
    def get_name(cls) -> str:
        return f"file_{cls.algorithm}"

    @classmethod
    def get_content_types(cls) -> list[type[ContentType]]:
        """Return the kinds of files for which the library has no such digest."""
        return [PhotoContent, FileContent]

    @classmethod
    def get_index_cls(cls) -> type[TrivialSignalTypeIndex[Any]]:
        return TrivialSignalTypeIndex

    @classmethod
    def validate_signal_str(cls, signal_str: str) -> str:
        """Return a digest in lower case; ValueError if the text is none."""
        digest = signal_str.strip().lower()
        if len(bytes.fromhex(digest)) != hashlib.new(cls.algorithm, usedforsecurity=False).digest_size:
            raise ValueError(f"no {cls.algorithm}")
        return digest

    @classmethod
    def hash_from_bytes(cls, bytes_: bytes) -> str:
        return hashlib.new(cls.algorithm, bytes_, usedforsecurity=False).hexdigest()

    @classmethod
    def hash_from_file(cls, file: Path) -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, cls.algorithm).hexdigest()

    @classmethod
    def get_examples(cls) -> list[str]:
        """Return no example: there is no list of samples."""
        return []


class FileMD5Signal(_ExactSignal):
    """The md5 of a file that is no film."""

    algorithm = "md5"


class FileSHA1Signal(_ExactSignal):
    """The sha1 of a file."""

    algorithm = "sha1"

    @classmethod
    def get_content_types(cls) -> list[type[ContentType]]:
        """Return all kinds of files: the library has no sha1."""
        return [PhotoContent, FileContent, VideoContent]


class FileSHA256Signal(_ExactSignal):
    """The sha256 of a file that is no film."""

    algorithm = "sha256"


_SIGNAL_TYPES: Mapping[str, tuple[type[SignalType], ...]] = {
    "md5": (FileMD5Signal, VideoMD5Signal),
    "sha1": (FileSHA1Signal,),
    "sha256": (FileSHA256Signal, VideoSHA256Signal),
    "pdq": (PdqSignal,),
}
"""The library's kinds of digests by algorithm; entries of others can't be matched by it."""


@dataclass
class _Required:
    url: str = field(metadata={"help": "address of the list: https, or a folder", "metavar": "URL"})
    root: str = field(
        metadata={"help": "file root.json that the list's owner gave you by another way", "metavar": "FILE"}
    )


@dataclass
class HashscanCollabConfig(CollaborationConfigWithDefaults, _Required):
    """The settings of one list."""

    token_file: str = field(
        default="",
        metadata={
            "help": "file with a bearer token for the server; readable by its owner only",
            "metavar": "FILE",
        },
    )
    ca_file: str = field(
        default="",
        metadata={"help": "authorities trusted to certify the server (PEM)", "metavar": "FILE"},
    )
    state: str = field(
        default="",
        metadata={
            "help": "folder for the state of the pulls; by default `hashscan` in threatexchange's own",
            "metavar": "FOLDER",
        },
    )

    def __post_init__(self) -> None:
        """Make the paths independent of the folder in which the command runs."""
        for name in ("root", "token_file", "ca_file", "state"):
            if path := getattr(self, name):
                setattr(self, name, str(Path(path).expanduser().absolute()))


@dataclass
class HashscanCheckpoint(FetchCheckpointBase):
    """The version of the list that a caller has."""

    list_id: str
    """Identifies address and root of the list."""
    version: int


@dataclass
class HashscanRecord(FetchedSignalMetadata):
    """The entries of one digest."""

    entries: list[tuple[str, str]]
    """Id and category of each."""

    def get_as_opinions(self) -> list[SignalOpinion]:
        """Return an opinion for each category, with the category as its tag."""
        return [
            SignalOpinion(False, _opinion(category), {category})
            for category in sorted({category for _, category in self.entries})
        ]


def _opinion(category: str) -> SignalOpinionCategory:
    if category in _NOT_HARMFUL:
        return SignalOpinionCategory.NEGATIVE_CLASS
    if category in _REVIEW:
        return SignalOpinionCategory.INVESTIGATION_SEED
    return SignalOpinionCategory.POSITIVE_CLASS


_Key = tuple[str, str]
_Delta: TypeAlias = FetchDelta[_Key, HashscanRecord, HashscanCheckpoint]


class HashscanSignalExchangeAPI(
    SignalExchangeAPIWithSimpleUpdates[HashscanCollabConfig, HashscanCheckpoint, HashscanRecord]
):
    """Lists that `hashscan publish` makes."""

    def __init__(self, collab: HashscanCollabConfig) -> None:
        self._collab = collab

    @classmethod
    def for_collab(cls, collab: HashscanCollabConfig) -> "HashscanSignalExchangeAPI":
        return cls(collab)

    @classmethod
    def get_name(cls) -> str:
        return "hashscan"

    @staticmethod
    def get_config_cls() -> type[HashscanCollabConfig]:
        return HashscanCollabConfig

    @staticmethod
    def get_checkpoint_cls() -> type[HashscanCheckpoint]:
        return HashscanCheckpoint

    @staticmethod
    def get_record_cls() -> type[HashscanRecord]:
        return HashscanRecord

    def fetch_iter(
        self, _supported_signal_types: Sequence[type[SignalType]], checkpoint: HashscanCheckpoint | None
    ) -> Iterator[_Delta]:
        """Yield what has changed since the checkpoint, or the whole list; nothing if nothing has."""
        try:
            delta = self._fetched(checkpoint)
        except HashscanError as error:
            # The command shows nothing less grave.
            _log.critical("%s: %s", error, error.remedy)
            raise
        if delta is not None:
            yield delta

    def _fetched(self, checkpoint: HashscanCheckpoint | None) -> _Delta | None:
        store, name = self._added()
        held = checkpoint.version if checkpoint else None
        if checkpoint and checkpoint.list_id != name:
            raise _start_again("the entries that are stored come from another list")
        staged = difference.staged_info(store, name)
        if held is not None and staged is not None and staged.version == held:
            difference.activate(store, name)
        newest = client.pull(store, name, stage=True).info.version
        if newest == held:
            return None
        folder = store.folder(name)
        new = _entries(folder, name, folder.staged() or folder.active(), newest)
        updates: dict[_Key, HashscanRecord | None] = dict(new)
        if held is not None:
            old = _entries(folder, name, folder.active(), held)
            updates = {key: record for key, record in new.items() if old.get(key) != record}
            updates |= dict.fromkeys(old.keys() - new.keys())
        return FetchDelta(updates, HashscanCheckpoint(name, newest))

    def _added(self) -> tuple[ListStore, str]:
        """Return the store of the pulls, and the name of the list in it, after adding it if it is new."""
        collab = self._collab
        try:
            root = Path(collab.root).read_bytes()
        except OSError as error:
            raise UsageError(
                f"the root {collab.root} can't be read: {error.strerror}", advice="Name the file root.json."
            ) from error
        origin = checked_origin(
            collab.url,
            ca_file=Path(collab.ca_file) if collab.ca_file else None,
            credentials=CredentialSources(token_file=collab.token_file or None),
        )
        identity = json.dumps([collab.name, origin.source, hashlib.sha256(root).hexdigest()])
        name = f"tx-{hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()}"
        base = Path(os.environ.get("TX_STATEDIR", "~/.threatexchange"), "hashscan")
        store = ListStore(Path(collab.state) if collab.state else base.expanduser().absolute())
        known = client.origin_of(store, name)
        if known is not None and known != origin:
            # Other credentials or authorities for the same list.
            with store.writing(name) as folder:
                write_origin(folder.source, origin)
        if known is None:
            client.add(store, name, origin, root)
        return store, name


def _entries(folder: ListFolder, name: str, version: Path | None, number: int) -> dict[_Key, HashscanRecord]:
    """Return the entries of a version by the library's kinds of digests."""
    opened = None
    if version is not None:
        opened = open_version(name, folder, version, datetime.now(UTC), VerificationLevel.CHECKSUMS)
    if opened is None or opened.info.version != number:
        raise _start_again(
            f"version {number} of the list is no longer here, so withdrawn entries can't be found"
        )
    if opened.handle is None:
        raise OutputError(f"version {number} of the list can't be used: {opened.info.problem}")
    found: dict[_Key, HashscanRecord] = {}
    for entry in entries_of_list(opened.handle):
        for kind in _SIGNAL_TYPES.get(entry.algorithm, ()):
            key = kind.get_name(), entry.value.hex()
            found.setdefault(key, HashscanRecord([])).entries.append((entry.id, entry.category))
    for record in found.values():
        record.entries.sort()
    return found


def _start_again(problem: str) -> UsageError:
    return UsageError(
        problem,
        advice="Drop the stored entries and fetch them again: `threatexchange fetch --clear`, then "
        "`threatexchange fetch`.",
    )


TX_MANIFEST = ThreatExchangeExtensionManifest(
    signal_types=(FileMD5Signal, FileSHA1Signal, FileSHA256Signal),
    apis=(HashscanSignalExchangeAPI,),
)
