"""A licensee's hash library in decoders: what it can do, what it answers, and what its faults cost."""

from __future__ import annotations

import ctypes
import errno
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from msgspec import json, structs
from PIL import Image, ImageOps

from hashscan.errors import LibraryError, SandboxError, UsageError
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.hash_algorithms import take_failure
from hashscan.hashing.photodna import MAX_PIXELS, PhotoDNA
from hashscan.hashing.records import REPLY_MAX, DecodedPicture, pack_request, unpack_reply
from hashscan.hashing.variants import MIRRORED, TRIMMED
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import HashLibrary, Reason
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from hashscan.sandbox.decoders import DecoderLost
from hashscan.sandbox.libraries import check_library
from hashscan.state.store.profile import profile_of
from tests import hash_library
from tests.compiled import needs_traces
from tests.pictures import scene

HASHES = ("hashscan.hashing.pdq:PDQ", "hashscan.hashing.photodna:PhotoDNA")
NAMES = ("pdq", "photodna")
PNG = next(one for one in FORMATS if one.pillow == "PNG")
JPEG = next(one for one in FORMATS if one.pillow == "JPEG")
SIZE = 144
ALIKE = 2000
PICTURE = scene(3)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> HashLibrary:
    return hash_library.build(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def sandbox(library: HashLibrary) -> Iterator[Sandbox]:
    arguments = (*HASHES, f"photodna={json.encode(library).decode()}")
    program = DecoderProgram("hashscan.hashing.media.decoder:load", arguments, REPLY_MAX, library.files)
    with Sandbox(program, SandboxOptions("auto", seconds=0.5, wall_factor=200)) as made:
        yield made


def reply(sandbox: Sandbox, content: bytes, *, fresh: bool = False) -> bytes:
    descriptor = os.memfd_create("picture")
    try:
        os.pwrite(descriptor, content, 0)
        request = pack_request(JPEG if content.startswith(b"\xff") else PNG)
        return sandbox.finish(sandbox.begin(descriptor, request, 1000, fresh=fresh))
    finally:
        os.close(descriptor)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def decoded(sandbox: Sandbox, content: bytes, *, fresh: bool = False) -> DecodedPicture:
    found = unpack_reply(
        reply(sandbox, content, fresh=fresh), JPEG if content.startswith(b"\xff") else PNG, NAMES
    )
    assert isinstance(found, DecodedPicture)
    return found


def digests(found: DecodedPicture) -> dict[tuple[int, int], bytes]:
    """Return the library's digests by rendering and turn, without those of quality 0."""
    return {
        (one.rendering, one.turn): one.value
        for one in found.digests
        if one.algorithm == "photodna" and one.quality
    }


def distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def test_pictures_as_stored_mirrored_as_shown_and_without_borders(sandbox: Sandbox) -> None:
    plain = digests(decoded(sandbox, png(PICTURE)))[0, 0]
    assert len(plain) == SIZE
    mirrored = digests(decoded(sandbox, png(ImageOps.mirror(PICTURE))))
    assert mirrored[0, MIRRORED] == plain
    assert distance(mirrored[0, 0], plain) > ALIKE
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decoded(sandbox, jpeg(PICTURE.rotate(90, expand=True), exif=exif))
    assert distance(digests(shown)[0, shown.runs[1].shown], plain) < ALIKE
    # This JPEG is decoded at a smaller scale.
    framed = ImageOps.expand(PICTURE.resize((1600, 1200)), 150, "white")
    found = digests(decoded(sandbox, jpeg(framed)))
    assert distance(found[TRIMMED, 0], plain) < ALIKE < distance(found[0, 0], plain)


def test_spare_decoders_load_it_too(sandbox: Sandbox) -> None:
    plain = digests(decoded(sandbox, png(PICTURE)))
    sandbox.prepare(1)
    assert digests(decoded(sandbox, png(PICTURE), fresh=True)) == plain


def faulty(width: int) -> bytes:
    return png(PICTURE.resize((width, 80)))


@needs_traces
@pytest.mark.parametrize("width", [hash_library.SHORT, hash_library.ERROR, hash_library.UNTOUCHED])
def test_a_failed_call_leaves_the_picture_undecoded(sandbox: Sandbox, width: int) -> None:
    found = decoded(sandbox, faulty(width))
    assert found.damage is Reason.HASH_FAILED
    assert digests(found) == {}
    # Neither the other algorithms nor the next picture are affected.
    assert found.runs[0].quality > 0
    assert decoded(sandbox, png(PICTURE)).damage is None


@needs_traces
def test_a_value_may_say_that_there_is_no_digest(sandbox: Sandbox) -> None:
    found = decoded(sandbox, faulty(hash_library.NOTHING))
    assert found.damage is None
    assert digests(found) == {}


@pytest.mark.parametrize(
    ("width", "reason"),
    [
        (hash_library.CRASH, Reason.DECODER_DIED),
        (hash_library.OUTSIDE, Reason.DECODER_DIED),
        (hash_library.HANG, Reason.TIMEOUT),
    ],
)
def test_a_fault_costs_one_picture(sandbox: Sandbox, width: int, reason: Reason) -> None:
    with pytest.raises(DecoderLost) as lost:
        reply(sandbox, faulty(width))
    assert lost.value.reason is reason
    assert digests(decoded(sandbox, png(PICTURE)))


def test_its_constructor_can_do_nothing(sandbox: Sandbox) -> None:
    level = sandbox.start()
    if not level.full or not level.uid_dropped:
        pytest.skip("this system has no full sandbox")
    tried = digests(decoded(sandbox, faulty(hash_library.REPORT)))[0, 0]
    assert tried[0] == 1
    assert set(tried[1 : hash_library.TRIED]) <= {errno.EPERM, errno.EACCES, errno.EAGAIN}
    assert not Path("/tmp/standin-was-here").exists()


def loading(library: HashLibrary, mode: Literal["required", "auto", "off"] = "auto") -> Sandbox:
    """Return a sandbox that does nothing but load the library."""
    return Sandbox(
        DecoderProgram("tests.sandbox.program_with_library:load", (), 2, library.files), SandboxOptions(mode)
    )


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_libraries_are_loaded_with_those_that_they_need(
    library: HashLibrary, mode: Literal["auto", "off"]
) -> None:
    with loading(library, mode) as sandbox:
        assert reply(sandbox, b"")[0] == 255


@pytest.mark.parametrize("tries", ["EXEC", "TRACE", "DIES"])
def test_a_library_that_ends_the_decoder_is_named(
    tries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.sandbox.decoders._PAUSES", ())
    with (
        loading(hash_library.build(tmp_path, tries)) as sandbox,
        pytest.raises(LibraryError, match="standin") as refused,
    ):
        sandbox.start()
    assert refused.value.exit_code == 2


def test_no_constructor_runs_where_the_required_filter_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder would die with it, and is refused for what it lacks."""
    monkeypatch.setattr(Sandbox, "seccomp_library", "libmissing.so.9")
    with (
        loading(hash_library.build(tmp_path, "DIES"), "required") as sandbox,
        pytest.raises(SandboxError, match="seccomp") as refused,
    ):
        sandbox.start()
    assert refused.value.exit_code == 2


def test_a_library_without_what_it_needs(library: HashLibrary) -> None:
    with (
        loading(structs.replace(library, dependencies=())) as sandbox,
        pytest.raises(LibraryError, match="libstandin-scale"),
    ):
        sandbox.start()


def test_a_library_that_the_program_refuses(library: HashLibrary) -> None:
    with (
        loading(structs.replace(library, library=library.dependencies[0])) as sandbox,
        pytest.raises(LibraryError),
    ):
        sandbox.start()


def attached(library: HashLibrary, **changes: object) -> PhotoDNA:
    """Load the library into this process, where its constructor tries nothing."""
    for path in library.files:
        found = ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    made = PhotoDNA()
    made.attach(found, structs.replace(library, **changes))
    return made


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hash": "missing"}, "no function missing"),
        ({"init": "missing"}, "no function missing"),
        ({"init_arguments": ("standin", 4)}, "returned -5"),
        ({"success": 1}, "returned 0, not 1"),
    ],
)
def test_a_library_that_can_t_be_used(library: HashLibrary, changes: dict[str, object], told: str) -> None:
    with pytest.raises(OSError, match=told):
        attached(library, **changes)


def test_nothing_is_hashed_without_a_library() -> None:
    hasher = PhotoDNA()
    assert hasher.digest(np.asarray(PICTURE)) == (bytes(SIZE), 0)
    assert take_failure([hasher])
    assert not take_failure([hasher])


def test_its_own_functions_for_borders_and_flips(library: HashLibrary) -> None:
    # Here, they are the function for whole pictures.
    own = attached(library, border="standin_hash", flip="standin_hash")
    pixels = np.asarray(PICTURE)
    (run,) = own.runs(pixels, turns=(0, MIRRORED), wanted=("trimmed",))
    assert run.values == 2 * own.digest(pixels)[0]
    assert not own.has_variants


@pytest.mark.parametrize("shape", [(49, 300, 3), (300, 49), (300, 300, 3), (300, 300)])
def test_small_and_flat_pictures_have_no_digest(library: HashLibrary, shape: tuple[int, ...]) -> None:
    hasher = attached(library)
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    if min(shape[:2]) > library.least_side:
        pixels[:] = 77
    assert hasher.digest(pixels) == (bytes(SIZE), 0)
    assert not hasher.failed


def test_large_pictures_are_given_reduced(library: HashLibrary) -> None:
    hasher = attached(library)
    pixels = np.asarray(PICTURE)
    large = pixels.repeat(8, axis=0).repeat(8, axis=1)
    assert large.shape[0] * large.shape[1] > MAX_PIXELS
    assert distance(hasher.digest(large)[0], hasher.digest(pixels)[0]) < ALIKE
    luma = np.asarray(PICTURE.convert("L"))
    grey = luma.repeat(8, axis=0).repeat(8, axis=1)
    assert distance(hasher.digest(grey)[0], hasher.digest(luma)[0]) < ALIKE


def test_another_library_or_table_has_pictures_hashed_again(library: HashLibrary) -> None:
    with_it = WorkerSetup((), SandboxOptions("off"), ("sha256", *NAMES), 10**7, photodna=library)
    stored = profile_of(with_it)
    without = profile_of(replace(with_it, algorithms=("sha256", "pdq"), photodna=None))
    assert stored.serves_pictures(profile_of(with_it))
    assert stored.serves_pictures(without)
    assert not without.serves_pictures(stored)
    changed = structs.replace(library, least_side=60)
    assert not stored.serves_pictures(profile_of(replace(with_it, photodna=changed)))
    os.utime(library.library)
    assert not stored.serves_pictures(profile_of(with_it))


def writable(path: Path) -> Path:
    path.chmod(0o775 if path.is_dir() else 0o757)
    return path


def given_away(path: Path) -> Path:
    os.chown(path, 65534, 0)
    return path


def linked(path: Path) -> Path:
    """Return a link to a file whose folder is another user's."""
    given_away(path.parent)
    other = path.parents[1] / "any.link"
    other.symlink_to(path)
    return other


def linked_twice(path: Path) -> Path:
    """Return a link of root's to one that lies in another user's folder."""
    middle = path.parents[1] / "middle"
    middle.mkdir()
    (middle / "any.link").symlink_to(path)
    given_away(middle)
    other = path.parents[1] / "any.link"
    other.symlink_to(middle / "any.link")
    return other


def linked_by_another(path: Path) -> Path:
    """Return another user's link, in a folder where users can replace only what is theirs."""
    path.parents[1].chmod(0o1777)
    other = path.parents[1] / "any.link"
    other.symlink_to(path)
    os.lchown(other, 65534, 0)
    return other


def linked_in_a_circle(path: Path) -> Path:
    path.with_name("any.link").symlink_to(path.with_name("any.link"))
    return path.with_name("any.link")


def fifo(path: Path) -> Path:
    os.mkfifo(path.with_name("any.fifo"))
    return path.with_name("any.fifo")


def emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    "changed",
    [
        *(writable, given_away, linked, linked_twice, linked_by_another, linked_in_a_circle, fifo, emptied),
        lambda path: writable(path.parent) / path.name,
        lambda path: given_away(path.parent) / path.name,
        lambda path: path.with_name("any.missing"),
        lambda path: Path(path.name),
    ],
)
def test_a_library_that_others_than_root_can_change(tmp_path: Path, changed: Callable[[Path], Path]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a library that is trusted")
    path = tmp_path / "folder" / "any.so"
    path.parent.mkdir()
    path.write_bytes(b"any")
    check_library(str(path))
    safe = tmp_path / "safe.link"
    safe.symlink_to("folder/../folder/any.so")
    check_library(str(safe))
    with pytest.raises(UsageError, match="any") as refused:
        check_library(str(changed(path)))
    assert refused.value.remedy
