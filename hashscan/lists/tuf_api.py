"""What is used of tuf, loaded without the clouds' libraries that would come with it.

securesystemslib has a signer for each cloud's key store, and loads the library of each that is installed,
which takes longer than all the rest. Nothing here signs with those. So whatever leads to its signers is
imported from this module, and this one by others on first use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLOUDS = ("azure.core.exceptions", "boto3", "google.cloud.kms")
"""What its signers ask for first of each; those that lack theirs are left out by securesystemslib itself."""


@contextmanager
def _without_clouds() -> Iterator[None]:
    # What is loaded already costs nothing, and is in use. Sources load theirs before any list is opened.
    hidden = [name for name in _CLOUDS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _without_clouds():
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
    from tuf.api.serialization import DeserializationError
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType, UpdaterConfig
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

__all__ = [
    "CryptoSigner",
    "DeserializationError",
    "EnvelopeType",
    "FetcherInterface",
    "MetaFile",
    "Metadata",
    "Root",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "TrustedMetadataSet",
    "Updater",
    "UpdaterConfig",
]
