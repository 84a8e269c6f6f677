"""What the libraries that open files take a file for that no signature tells; it runs in the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from hashscan.hashing.format_signatures import FileFormat
    from hashscan.hashing.pread import PreadFile


class Probed(NamedTuple):
    """What a library takes a file for."""

    kind: FileFormat
    """A format of `formats.FORMATS`: a container, or a picture."""
    certain: bool
    """False if the library may err: the file is none unless something can be read of it."""


class Probe(Protocol):
    """One library that is asked, or the rules by which some programs search; a function."""

    def __call__(self, file: PreadFile, /) -> Iterable[Probed]:
        """Yield what programs may take the file for; nothing if it is none for them."""


class Recogniser:
    """All probes."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes

    def kinds(self, file: PreadFile) -> Iterator[Probed]:
        """Yield all that programs may take a file for, each once; the certain ones of a probe first."""
        seen: set[str] = set()
        for probe in self._probes:
            file.seek(0)
            for probed in sorted(probe(file), key=lambda each: not each.certain):
                if probed.kind.name not in seen:
                    seen.add(probed.kind.name)
                    yield probed
