"""The names that are used of tuf, imported without the cloud libraries that come with it.

securesystemslib has a signer for the key store of each cloud, and loads the library of each cloud that is
installed. This takes longer than all other imports together. hashscan signs with none of these signers.
Therefore every name whose import leads to them is imported from this module, and other modules import this
one on first use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLOUDS = ("azure.core.exceptions", "boto3", "google.cloud.kms")
"""The first module that securesystemslib imports for each cloud. If it is missing, securesystemslib leaves
that cloud's signer out.
"""


@contextmanager
def _without_clouds() -> Iterator[None]:
    # Modules that are already loaded cost nothing and are in use: sources load their own before any list is
    # opened.
    hidden = [name for name in _CLOUDS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _without_clouds():
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import CryptoSigner, SSlibKey
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
    from tuf.api.serialization import DeserializationError
    from tuf.ngclient.config import UpdaterConfig
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

__all__ = [
    "CryptoSigner",
    "DeserializationError",
    "Envelope",
    "FetcherInterface",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
    "VerificationError",
]
