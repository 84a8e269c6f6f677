"""A source: files and folders of this machine, given as `example:///folder`."""

from __future__ import annotations

from collections.abc import Sequence

from hashscan.model import DIRECT, Access
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource

_SCHEME = b"example://"


class ExampleSource(FilesystemSource):
    """Files of this machine; a plug-in for a storage would derive from `ObjectSource` instead."""

    name = "example"

    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Take URLs of the scheme as paths."""
        super().__init__([target.removeprefix(_SCHEME) for target in targets], options, access)
