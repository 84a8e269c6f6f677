"""Describe how contents were digested; a cached digest is valid while this stays equal."""

from __future__ import annotations

import json
import os
import platform
import resource
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hashscan import __version__
from hashscan.c_parts import BUILT
from hashscan.hashing.container_kinds import is_opened, missing_extra
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS, installed_extras
from hashscan.hashing.recognition.recogniser import RECOGNITION_VERSION
from hashscan.hashing.variants import RENDERING_VERSION
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALGORITHMS, ContainerKind, HashLibrary
from hashscan.plugins import installed_versions
from hashscan.sandbox.client import SandboxOptions
from hashscan.secret_files import stamp_of
from hashscan.settings.values import memory_limit

_LIBRARIES = (
    "pillow",
    "numpy",
    "imagehash",
    "pillow_heif",
    "pillow_jxl_plugin",
    "libarchive_c",
    "inflate64",
    "pypdfium2",
    "resvg_py",
    "olefile",
    "av",
)
"""Libraries that decode and hash pictures, by normalized names. Their wheels contain the libraries below
them."""

_RECOGNISERS = ("av", "pillow")
"""Libraries that are asked what a file is."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The algorithms, formats, limits and versions by which a content was digested."""

    exact: tuple[str, ...]
    """Algorithms over bytes, each with its version after a slash, in the order of the digests."""
    pictures: tuple[str, ...]
    """Algorithms over pictures, in the order in which the decoder was asked."""
    variants: tuple[str, ...]
    rendering: int
    max_pixels: int
    formats: tuple[str, ...]
    extras: tuple[str, ...]
    """Available extras that decode further formats, and C, without which JPEGs are not decoded."""
    limits: tuple[str, ...]
    """Limits of decoders and versions of their libraries, on which the loss of a decoder depends."""
    videos: str
    """The algorithm by which videos were sampled, with its version; empty if they were not."""
    opens: str
    """The means to open containers: kernel and rights, on which the sandbox depends; empty without any."""
    recognises: tuple[str, ...]
    """The version of recognition, and the libraries that say what a file is that no signature tells."""
    library: str
    """A code for the library of PhotoDNA and how it was called; empty if it was not."""

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def exact_names(self) -> tuple[str, ...]:
        """The algorithms over bytes, without versions."""
        return _names(self.exact)

    @property
    def picture_names(self) -> tuple[str, ...]:
        """The algorithms over pictures, without versions."""
        return _names(self.pictures)

    def serves(self, wanted: Profile) -> bool:
        """Return True if a cached content that is no picture need not be read again for a scan."""
        return set(wanted.exact) <= set(self.exact) and self.formats == wanted.formats

    def serves_pictures(self, wanted: Profile) -> bool:
        """Return True if a cached picture need not be read again for a scan."""
        return (
            self.serves(wanted)
            and set(wanted.pictures) <= set(self.pictures)
            and (self.variants, self.rendering, self.max_pixels)
            == (wanted.variants, wanted.rendering, wanted.max_pixels)
            and wanted.library in {"", self.library}
        )

    @property
    def is_readable(self) -> bool:
        """True if its algorithms have today's versions, so that the lengths of their digests are known."""
        return set(_versioned(ALGORITHMS)).issuperset((*self.exact, *self.pictures))

    def means_the_same(self, wanted: Profile) -> bool:
        """Return True if cached digests can be matched today, though a scan may want more or others."""
        same = (self.formats, self.rendering) == (wanted.formats, wanted.rendering)
        return same and self.is_readable


def meaning_of(wanted: Profile) -> str:
    """Return a short code that differs between versions of hashscan with incompatible digests."""
    return f"{zlib.crc32(repr((wanted.formats, wanted.rendering, _versioned(ALGORITHMS))).encode()):08x}"


def profile_of(setup: WorkerSetup) -> Profile:
    return Profile(
        exact=_versioned(setup.exact),
        pictures=_versioned(setup.pictures),
        variants=setup.variants,
        rendering=RENDERING_VERSION,
        max_pixels=setup.max_pixels,
        formats=tuple(f"{known.name}/{known.pillow}" for known in FORMATS),
        extras=(*installed_extras(), *(("C",) if BUILT else ())),
        limits=(*_limits(setup.sandbox), *_container_limits(setup)),
        recognises=tuple(_recognises(setup)),
        videos="" if setup.videos is None else _versioned(("vpdq",))[0],
        opens=_means_of_opening(setup),
        library=_library_code(setup.photodna),
    )


def _recognises(setup: WorkerSetup) -> Iterator[str]:
    """Yield on what it depends what a file is taken for that no signature tells."""
    yield f"{RECOGNITION_VERSION}, {'root' if os.geteuid() == 0 else 'user'}, {setup.sandbox.mode}"
    found = installed_versions()
    yield from (f"{library} {found[library]}" for library in _RECOGNISERS if library in found)


def _library_code(library: HashLibrary | None) -> str:
    if library is None:
        return ""
    stamps = [stamp_of(Path(path))[2:4] for path in library.files]
    return f"{zlib.crc32(repr((library, stamps)).encode()):08x}"


def _means_of_opening(setup: WorkerSetup) -> str:
    if setup.containers is None:
        return ""
    user = "root" if os.geteuid() == 0 else "user"
    opened = ", ".join(known.name for known in FORMATS if _opens(known, setup.containers.kinds))
    return f"{platform.release()}, {user}, {setup.sandbox.mode}, {zlib.crc32(opened.encode()):08x}"


def _opens(known: FileFormat, kinds: Collection[ContainerKind]) -> bool:
    return is_opened(known, kinds) and not missing_extra(known)


def _container_limits(setup: WorkerSetup) -> Iterator[str]:
    if setup.containers is not None:
        yield f"containers: {setup.containers}"


def _limits(options: SandboxOptions) -> Iterator[str]:
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = options.memory_bytes if allowed == resource.RLIM_INFINITY else min(options.memory_bytes, allowed)
    yield f"{options.mode}, {memory} bytes, {options.seconds:g} s"
    yield f"large: {min(options.large_memory_bytes, memory_limit() // 2)} bytes"
    yield f"Python {platform.python_version()}, hashscan {__version__}"
    found = installed_versions()
    yield from (f"{library} {found[library]}" for library in _LIBRARIES if library in found)


def from_text(text: str) -> Profile:
    """Parse what `to_text` returned."""
    try:
        fields: dict[str, Any] = json.loads(text)
        found: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        return Profile(**found)
    except (TypeError, AttributeError) as error:
        raise ValueError("this is not a stored profile") from error


def _versioned(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}/{ALGORITHMS[name].version}" for name in names)


def _names(versioned: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.partition("/")[0] for name in versioned)
