"""Count the known files that the new entries of a list's versions matched in the last week.

The check of one version alone would admit a wrong list in small parts: each version matches a few files
less than would have to be confirmed. So the files of all versions that were admitted within a week count
together, until a person confirms a version. A file that several of them match counts several times.

Nobody but the user who pulls can write the file; without it, or if it is not valid, counting starts again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from hashscan.lists.storage.atomic_files import output_errors, replace_file
from hashscan.lists.storage.layout import ListFolder
from hashscan.schema import Count, InvalidDocumentError, decode_file, encode_file

_WINDOW_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class AdmittedVersion:
    """A version that was admitted, and the number of known files that its new entries matched."""

    at: Count
    """Seconds since 1970."""
    files: Count


@dataclass(frozen=True, slots=True)
class _Stored:
    versions: dict[str, AdmittedVersion]


class RecentHits:
    """The versions of one list that were admitted within a week."""

    def __init__(self, folder: ListFolder) -> None:
        """Read them.

        Raises:
            OutputError: the file exists, but can't be read.
        """
        self._path = folder.recent_hits
        self._versions: dict[str, AdmittedVersion] = {}
        with output_errors(f"can't read {self._path}"):
            try:
                self._versions = decode_file(self._path.read_bytes(), _Stored).versions
            except (FileNotFoundError, InvalidDocumentError):
                return
        since = time.time() - _WINDOW_SECONDS
        self._versions = {name: one for name, one in self._versions.items() if one.at > since}

    def files_besides(self, version: int) -> int:
        """Return the number of files that the entries of all other versions matched."""
        return sum(one.files for name, one in self._versions.items() if name != str(version))

    def admit(self, version: int, files: int) -> None:
        """Store that a version was admitted.

        Raises:
            OutputError: it can't be written.
        """
        self._versions[str(version)] = AdmittedVersion(int(time.time()), files)
        with output_errors(f"can't write {self._path}"):
            replace_file(self._path, encode_file(_Stored(self._versions)))


def forget_hits(folder: ListFolder) -> None:
    """Start counting again, after a person has confirmed a version.

    Raises:
        OutputError: the file can't be removed.
    """
    with output_errors(f"can't remove {folder.recent_hits}"):
        folder.recent_hits.unlink(missing_ok=True)
