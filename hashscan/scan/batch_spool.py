"""A queue of deferred batches in an anonymous temporary file, for use after all other batches."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from typing import IO

from hashscan.errors import OutputError
from hashscan.model import Batch
from hashscan.scan.workers.wire import pack_batch, unpack_batch


class BatchSpool:
    """A first-in, first-out queue of batches on disk.

    Raises:
        OutputError: the temporary file can't be written or read.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._batches = 0

    def put(self, batch: Batch) -> None:
        """Append a batch."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-")  # noqa: SIM115
            pickle.dump(pack_batch(batch), self._file)
        except OSError as error:
            raise _spool_error(error) from error
        self._batches += 1

    def batches(self) -> Iterator[Batch]:
        """Yield all batches in order; call it only when no more are added."""
        if self._file is None:
            return
        try:
            self._file.seek(0)
            for _ in range(self._batches):
                yield unpack_batch(pickle.load(self._file))  # noqa: S301 - written by this process
        except OSError as error:
            raise _spool_error(error) from error

    def close(self) -> None:
        """Close the temporary file, which deletes it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _spool_error(error: OSError) -> OutputError:
    return OutputError(
        f"the batches that wait, a temporary file in {tempfile.gettempdir()}, failed: {error.strerror}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
