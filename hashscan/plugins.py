"""Plug-ins: installed packages that add algorithms, formats, sources and other rows to the registry.

A package declares the entry point group `hashscan.plugins`; each entry point names a `Plugin`. The module
that holds it is imported at every start of hashscan, so it imports nothing but this module: rows name
classes, which are imported when they are used.

Only the folders of this installation's own packages are searched (`site.getsitepackages()`), neither the
user's nor those of PYTHONPATH, and a module that would be imported from elsewhere is refused. A plug-in that
fails is left out, and named by `hashscan --version`; no other command fails because of it unless it is asked
for what the plug-in adds.

With 162 packages, the search here takes 0.9 ms at every start (median of 200); to import
`importlib.metadata` and to ask it takes 15 ms each. Decoders are started without `site`, and so without
plug-ins: an algorithm's class brings its `Algorithm` along (`PictureHash.algorithm`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

from msgspec import Struct

_GROUP = b"[hashscan.plugins]"
_ENTRY_POINTS_MAX = 1 << 20
_PIECE = 1 << 16
_SHOWN_MAX = 100
"""Most characters of a name that are kept."""
_IMPORT_SECONDS = 10.0
"""Longest time in which a plug-in may be imported; otherwise no command would ever begin."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,31}")
_ALGORITHM_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,15}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_BITS_MAX = 1 << 13
_REASON_MAX = 300

Metric = Literal["exact", "hamming", "quadrants", "euclidean", "video", "none"]


class Algorithm(Struct, frozen=True):
    """The properties of a hash algorithm on which lists and hashing must agree."""

    name: str
    """The usual name in lower case, as in lists and reports."""

    bits: int
    """Length of a digest in bits; always a multiple of eight."""

    metric: Metric
    """The way two digests are compared; entries of metric none are only stored and counted.

    With quadrants, a digest has those of four parts of a picture, of which two must be near by Hamming
    distance (see `lists.index.quadrants`). With euclidean, digests are vectors of bytes, compared by their
    squared Euclidean distance. With video, a digest is of one frame of a video: frames are compared by
    Hamming distance, and videos by how many of their frames are alike.
    """

    of_picture: bool
    """True if the digest is of the decoded picture, False if it is of the bytes."""

    threshold: int = 0
    """Largest distance at which an entry matches."""

    review_only: bool = False
    """True for algorithms too weak to accuse a file by themselves."""

    min_quality: int = 0
    """Digests of lower quality (0 to 100) are not matched, only counted."""

    licensed: bool = False
    """True if nothing but a library that the operator has licensed computes it."""

    version: int = 1
    """Version of the digests; raised whenever hashscan computes another digest of the same content, which
    makes cached ones invalid."""

    @property
    def size(self) -> int:
        """Length of a digest in bytes."""
        return self.bits // 8

    @property
    def farthest(self) -> int:
        """Largest possible distance of two digests."""
        if self.metric == "quadrants":
            return self.bits // 4
        return self.size * 255**2 if self.metric == "euclidean" else self.bits

    @property
    def unit(self) -> str:
        """The unit of distances, for people."""
        return "squared" if self.metric == "euclidean" else "bits"

    @property
    def matched(self) -> bool:
        """True if each digest of a file is compared with entries by itself.

        Scans compute it, but licensed ones only with their library.
        """
        return self.metric in {"exact", "hamming", "quadrants", "euclidean"}

    @property
    def scanned(self) -> bool:
        """True if scans look for entries of it."""
        return self.matched or self.metric == "video"

    @property
    def indexed(self) -> bool:
        """True if lists are searched for it."""
        return self.metric != "none"


class Row(Struct, frozen=True):
    """One row of the registry."""

    name: str
    target: str
    """Location of its class: `package.module:Class`."""
    summary: str
    """Description for a person who chooses among them."""


class Plugin(Struct, frozen=True):
    """The additions of one plug-in, as its package declares them."""

    rows: Mapping[str, tuple[Row, ...]] = {}
    """Rows by the kind of their registry, such as `list format` (see `Registry.kind`)."""
    algorithms: tuple[Algorithm, ...] = ()
    """Algorithms; each has a row `exact hash` or `picture hash` of its name too."""


class InstalledPlugin(Struct):
    """A plug-in that was found."""

    name: str
    package: str
    """Name and version of its distribution: `hashscan-example-1.0`."""
    plugin: Plugin
    trouble: str = ""
    """The reason why it, or a part of it, is left out; empty if nothing is."""


def _found_entry_points(folders: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, target, distribution and folder of each entry point of the group."""
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if not name.endswith(".dist-info"):
                continue
            package = name.removesuffix(".dist-info")[:_SHOWN_MAX]
            _, group, after = _entry_points(f"{folder}/{name}/entry_points.txt").partition(_GROUP)
            if not group:
                continue
            for line in after.decode("utf-8", "replace").splitlines()[1:]:
                if line.startswith("["):
                    break
                entry, equals, target = (part.strip() for part in line.partition("="))
                if equals:
                    yield entry[:_SHOWN_MAX], target, package, folder


def _entry_points(path: str) -> bytes:
    """Return the content of a file of entry points; empty if it can't be read."""
    try:
        # Non-blocking, because it may be a FIFO.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        # In pieces, since memory for the largest file takes ten times as long as reading the usual one.
        text = piece = os.read(file, _PIECE)
        while len(piece) == _PIECE and len(text) < _ENTRY_POINTS_MAX:
            piece = os.read(file, _PIECE)
            text += piece
        return text
    except OSError:
        return b""
    finally:
        os.close(file)


def _declared(target: str, folder: str) -> Plugin:
    """Import a declaration, and return it; one that is not valid, or would be imported from outside of the
    folder, is an error."""
    if not _TARGET.fullmatch(target):
        raise ValueError("its entry point is not of the form package.module:NAME")
    module, _, attribute = target.partition(":")
    check_place(module, [folder])
    found = getattr(import_module(module), attribute)
    if not isinstance(found, Plugin):
        raise ValueError(f"{target} is no hashscan.plugins.Plugin")
    _check(found)
    return found


def installed_versions() -> dict[str, str]:
    """Return the version of each installed distribution by its normalized name, as its folder's name says.

    `importlib.metadata` takes longer: it imports the email package, and parses whole descriptions as mail.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            # A zip archive, or a folder that doesn't exist.
            continue
        for name in sorted(names):
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix in {"dist-info", "egg-info"}:
                library, _, version = stem.partition("-")
                found.setdefault(library.lower(), version)
    return found


def check_place(module: str, folders: Sequence[str] | None = None) -> None:
    """Make sure that a module would be imported from a folder of installed packages; nothing of it is run.

    Args:
        module: its dotted name.
        folders: the only folders; None for those of this installation's packages.

    Raises:
        ValueError: it is not there.
    """
    from importlib.util import find_spec

    within = _folders() if folders is None else folders
    spec = find_spec(module.partition(".")[0])
    places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    found = [os.path.abspath(place) for place in places if place]
    inside = (any(place.startswith(os.path.join(folder, "")) for folder in within) for place in found)
    # A package without an `__init__` may have several folders.
    if not found or not all(inside):
        raise ValueError(f"module {module} is not in {' or '.join(within)}")


def _check(plugin: Plugin) -> None:
    for kind, rows in plugin.rows.items():
        for row in rows:
            if not (_NAME.fullmatch(row.name) and _TARGET.fullmatch(row.target) and row.summary):
                raise ValueError(f"its {kind} {row.name!r} has a name, target or summary that no row has")
    for algorithm in plugin.algorithms:
        kind = "picture hash" if algorithm.of_picture else "exact hash"
        if not (
            _ALGORITHM_NAME.fullmatch(algorithm.name)
            and algorithm.bits % 8 == 0
            and 64 <= algorithm.bits <= _BITS_MAX
            and algorithm.metric == ("hamming" if algorithm.of_picture else "exact")
            and 0 <= algorithm.threshold < algorithm.bits // 4
            and 0 <= algorithm.min_quality <= 100
        ):
            raise ValueError(f"its algorithm {algorithm.name!r} has a value that none can have")
        if algorithm.name not in {row.name for row in plugin.rows.get(kind, ())}:
            raise ValueError(f"its algorithm {algorithm.name} has no {kind}")
    names = {algorithm.name for algorithm in plugin.algorithms}
    for kind in ("exact hash", "picture hash"):
        for row in plugin.rows.get(kind, ()):
            if row.name not in names:
                raise ValueError(f"its {kind} {row.name} has no algorithm")


def _load(folders: Sequence[str]) -> list[InstalledPlugin]:
    found: list[InstalledPlugin] = []
    for name, target, package, folder in _found_entry_points(folders):
        installed = InstalledPlugin(name, package, Plugin())
        try:
            if any(other.name == name for other in found):
                raise ValueError("another plug-in has this name")
            with _time_limit():
                installed.plugin = _declared(target, folder)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            installed.trouble = _reason(error)
        found.append(installed)
    return found


@contextmanager
def _time_limit() -> Iterator[None]:
    """Interrupt the body (TimeoutError) after some seconds; in the main thread only, as other threads can't
    be interrupted."""
    import signal

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"it takes more than {_IMPORT_SECONDS:.0f} s to be imported")

    try:
        before = signal.signal(signal.SIGALRM, interrupt)
    except ValueError:
        yield
        return
    try:
        # Again each second, as the module may suppress the first one.
        signal.setitimer(signal.ITIMER_REAL, _IMPORT_SECONDS, 1.0)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _reason(error: BaseException) -> str:
    text = f"{error}" if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return text[:_REASON_MAX]


def _folders() -> list[str]:
    """Return the folders of this installation's packages; none in an interpreter without `site`."""
    site: Any = sys.modules.get("site")
    if site is None or sys.flags.no_site:
        return []
    folders: dict[str, str] = {}
    for folder in site.getsitepackages():
        # One may be a link to another: `lib64` to `lib`.
        folders.setdefault(os.path.realpath(folder), os.path.abspath(folder))
    return list(folders.values())


INSTALLED: list[InstalledPlugin] = _load(_folders())
"""The plug-ins of this installation, also those that are left out."""


def with_algorithms(own: Mapping[str, Algorithm]) -> dict[str, Algorithm]:
    """Return hashscan's algorithms and then those of plug-ins; a plug-in with a taken name is left out."""
    every = dict(own)
    for installed in INSTALLED:
        taken = [algorithm.name for algorithm in installed.plugin.algorithms if algorithm.name in every]
        if taken:
            installed.plugin = Plugin()
            installed.trouble = f"there is an algorithm {taken[0]} already"
        every |= {algorithm.name: algorithm for algorithm in installed.plugin.algorithms}
    return every


def rows_of(kind: str) -> Iterator[tuple[InstalledPlugin, Row]]:
    """Yield the rows of one kind that plug-ins add."""
    for installed in INSTALLED:
        for row in installed.plugin.rows.get(kind, ()):
            yield installed, row


def versioned(version: str) -> str:
    """Return a version of hashscan together with those of the plug-ins that add algorithms.

    The nodes of a cluster must have the same.
    """
    return "+".join([version, *(i.package for i in INSTALLED if i.plugin.algorithms)])
