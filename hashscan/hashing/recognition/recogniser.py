"""Ask the libraries that open files for what they take one that no signature tells; in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import FURTHER, PROBED, may_be_played, may_hold_others, structure
from hashscan.schema import Count, Text

RECOGNITION_VERSION = 1
"""To be raised when a change of this package may recognise what was none: clean files are read again."""

MOTION_JPEG = "libavformat: mjpeg"


class Probed(NamedTuple):
    """A format that a library takes a file for."""

    kind: FileFormat
    """A format of `formats.FORMATS`: a container, or a picture."""
    certain: bool
    """False if the library may err: the file is none unless something can be read of it."""
    start: int = 0
    """Offset of the first byte of it in the file, for an archive behind something else."""
    by: str = ""
    """The library, and its name of the format."""
    score: int = 0
    """The library's measure of how sure it is; 0 if it has none."""


class ProbeAnswer(Struct):
    """A format that a library takes a file for, as the sandbox sends it to explain what a file is."""

    kind: Text
    certain: bool
    start: Count
    by: Text
    score: Count


class Probe(Protocol):
    """A function that asks one library, or searches by the rules of some programs."""

    def __call__(self, file: PreadFile, /) -> Iterable[Probed]:
        """Yield what programs may take the file for; nothing if it is none for them."""


class Recogniser:
    """All probes."""

    def __init__(
        self,
        *,
        archives: Sequence[Probe] = (),
        documents: Sequence[Probe] = (),
        headers: Sequence[Probe] = (),
        texts: Sequence[Probe] = (),
        players: Sequence[Probe] = (),
        unpackers: Sequence[Probe] = (),
    ) -> None:
        """Take the probes.

        Args:
            archives: those that find an archive anywhere in a file.
            documents: those that find a document anywhere in a file.
            headers: those that look at a file's first bytes.
            texts: those that find a text with pictures anywhere in a file.
            players: those of libraries that play a file which is something else for other programs, too.
            unpackers: those that find an archive in a file which is something else.
        """
        self._archives, self._documents, self._headers, self._texts = archives, documents, headers, texts
        self._players, self._unpackers = players, unpackers

    def played(self, file: PreadFile) -> Iterator[Probed]:
        """Yield what players take a file for that has another format, as `kinds` does."""
        return _asked(self._players, file)

    def unpacked(self, file: PreadFile) -> Iterator[Probed]:
        """Yield the archives that programs find in a file that has another format, as `kinds` does."""
        return _asked(self._unpackers, file)

    def read(self, file: PreadFile) -> Iterator[Probed]:
        """Yield the texts and documents with pictures that programs find in a part of a file."""
        return _asked((*self._documents, *self._texts), file)

    def kinds(self, file: PreadFile) -> Iterator[Probed]:
        """Yield all that programs may take a file for, each once at one place; certain ones of a probe first.

        A probe that fails costs what it would have found, and no other one.

        Raises:
            Exception: the first that a probe has raised, after all else was yielded.
        """
        return _asked(self._probes_of(file), file)

    def _probes_of(self, file: PreadFile) -> Iterator[Probe]:
        """Yield the probes that may find something.

        Of a file with the structure of a format that no viewer shows, `none_kinds` would have proven that it
        is none if it had no traces; so those that follow the traces are asked.
        """
        is_bare = bool(structure(file))
        if not is_bare or may_hold_others(file, FURTHER):
            yield from self._archives
            yield from self._documents
        file.seek(0)
        is_played = not is_bare or may_be_played(file.read(PROBED))
        if is_played:
            yield from self._headers
        if not is_bare or _has_line(file):
            yield from self._texts
        if is_played:
            yield from self._players


_LINE = re.compile(rb"\n(?:begin(?:-base64)? [0-7]{3}|=ybegin )")
"""Begin of a line by which programs find a file in a text that they take any bytes for."""


def _has_line(file: PreadFile) -> bool:
    last = b""
    file.seek(0)
    while piece := file.read(PROBED):
        if _LINE.search(last + piece) is not None:
            return True
        last = piece[-32:]
    return False


def _asked(probes: Iterable[Probe], file: PreadFile) -> Iterator[Probed]:
    certain: dict[tuple[str, int], bool] = {}
    failure: Exception | None = None
    for probe in probes:
        file.seek(0)
        try:
            found = sorted(probe(file), key=lambda each: not each.certain)
        except MemoryError:
            raise
        except Exception as error:
            failure = failure or error
            continue
        for probed in found:
            place = probed.kind.name, probed.start
            if place not in certain or (probed.certain and not certain[place]):
                certain[place] = probed.certain
                yield probed
    if failure is not None:
        raise failure
