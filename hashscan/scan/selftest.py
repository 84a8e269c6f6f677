"""The self-test: prove with a harmless test picture that a scan on this machine finds it through every list.

It is computed in integers, so that its bytes are the same on every machine, and written as a portable graymap
(PGM), which needs no library. The demonstration list contains its digests.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hashscan.errors import (
    EXIT_DEFECT,
    EXIT_INCOMPLETE,
    EXIT_OUTPUT,
    EXIT_USAGE,
    LibraryError,
    UsageError,
)
from hashscan.hashing.container_kinds import missing_recogniser
from hashscan.hashing.formats import FORMATS, counting_hint, install_hint, installed_extras
from hashscan.lists.entries import canary_entries, find_entry
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.layout import DEMO
from hashscan.lists.store import ListStore, OpenedLists
from hashscan.locking import ScanLock
from hashscan.matching.worker_setup import (
    WorkerSetup,
    algorithms_to_compute,
    asked_algorithms,
    checked_library,
    licensed_by,
    sandbox_options,
)
from hashscan.model import ALWAYS_COMPUTED, FileResult, ListInfo, Reason, TrustState
from hashscan.scan.decoder_check import undecoded_samples
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.runner import run_scan
from hashscan.scan.single_checks import check_file
from hashscan.scan.workers.worker import Worker
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ReportTarget, ScanSettings
from hashscan.state_dir import StateDir

PICTURE_SIDE = 256
"""Width and height in pixels."""

_COUNTED = frozenset({"JPEG", "TIFF"})
"""Formats whose faults the module in C counts."""
_WAVES = ((3, 5, 0), (7, -2, 60), (-4, 9, 130), (11, 6, 200), (1, 13, 20))
"""Cycles across, cycles down and phase of each wave that the picture is the sum of."""


def _triangle(angle: int) -> int:
    """Return a triangle wave between -128 and 128 with a period of 256, computed in integers."""
    place = angle % 256
    return 2 * place - 128 if place < 128 else 384 - 2 * place


def make_test_picture(comment: str = "") -> bytes:
    """Return the test picture as the content of a file; a comment changes the bytes, but not the picture."""
    pixels = bytearray()
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            light = sum(_triangle(across * x + down * y + phase) for across, down, phase in _WAVES)
            pixels.append(128 + light * 127 // (128 * len(_WAVES)))
    note = f"# {comment}\n" if comment else ""
    return f"P5\n{note}{PICTURE_SIDE} {PICTURE_SIDE}\n255\n".encode("ascii") + bytes(pixels)


_EXACT = "sha256"
_PERCEPTUAL = "pdq"


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step of the self-test."""

    passed: bool
    message: str
    failure: int = EXIT_DEFECT
    """The exit code if the step has not passed: incomplete if the cause is a list, an output error if the
    cause is the machine, a defect if the cause is our code."""


def run_selftest(limits: DecodingLimits, state: StateDir) -> Iterator[Step]:
    """Scan the test picture with the demonstration list, then check it against every list of this machine.

    Raises:
        LockedError: a scan is running.
        OutputError: the state folder can't be used.
        SandboxError: the demanded sandbox level is not available.
    """
    with ScanLock(state):
        yield Step(True, f"the state folder {state} can be written to")
    with tempfile.TemporaryDirectory(prefix="hashscan-selftest-") as name:
        uploads = Path(name) / "uploads"
        uploads.mkdir()
        (uploads / "same").write_bytes(make_test_picture())
        (uploads / "likeness").write_bytes(make_test_picture("other bytes, same picture"))
        (uploads / "unlisted").write_bytes(b"nothing of note\n")
        yield from _scan(limits, uploads, Path(name) / "report.jsonl")
        yield from _decoders(limits, Path(name))
        yield from _hash_library(limits, uploads / "same")
        store = ListStore(state.lists)
        for list_name in store.names():
            yield _check_list(store, list_name, limits, uploads)


def _scan(limits: DecodingLimits, uploads: Path, report: Path) -> Iterator[Step]:
    """Run a real scan of the picture, the picture with other bytes, and a file that is on no list."""
    outcome = run_scan(
        ScanSettings(
            targets=(bytes(uploads),),
            lists=("demo",),
            reports=(ReportTarget("jsonl", report),),
            state=None,
            workers=1,
            decoding=limits,
        ),
        Observer(),
    )
    records = [json.loads(line) for line in report.read_text(encoding="ascii").splitlines()]
    for info in outcome.lists:
        yield Step(
            True, f"list {info.name} version {info.version}: {info.state.value}, {info.entries} entries"
        )
    # Too few processes are allowed, for example.
    starved = any(record.get("reason") == Reason.STARVED.value for record in records)
    failure = EXIT_OUTPUT if starved else EXIT_DEFECT
    level = outcome.summary.sandbox
    if level is None:
        yield Step(False, "no picture was decoded", failure)
    else:
        yield Step(
            level.full or level.mode == "off",
            f"sandbox {level.summary}: Landlock {level.landlock or 'missing'}, "
            f"seccomp {'on' if level.seccomp else 'missing'}, "
            f"user {'changed' if level.uid_dropped else 'kept'}, "
            f"capabilities {'dropped' if level.capabilities_dropped else 'kept'}, "
            f"limits {'set' if level.limits else 'missing'}",
            EXIT_OUTPUT,
        )
        missing = [] if level.full else ["a full sandbox"]
        missing += [f"hashscan[{extra}]" for extra in [missing_recogniser()] if extra]
        known = f"by signatures only; {' and '.join(missing)} missing" if missing else "by probing"
        yield Step(True, f"files are recognised {known}")
    found = {Path(r["path"]).name: _algorithms(r) for r in records if r["type"] == "finding"}
    yield Step(
        {_EXACT, _PERCEPTUAL} <= found.get("same", set()),
        "the test picture is found by its bytes and by likeness",
        failure,
    )
    yield Step(found.get("likeness") == {_PERCEPTUAL}, "with other bytes it is found by likeness", failure)
    yield Step("unlisted" not in found, "a file that is on no list is not accused")
    yield Step(
        outcome.summary.files == 3 and outcome.exit_code == 1 and records[-1]["type"] == "summary",
        "three files, three verdicts, exit code 1",
        failure,
    )


def _decoders(limits: DecodingLimits, folder: Path) -> Iterator[Step]:
    """Check each decoder with a picture of our own, and perceptual matching in the common formats.

    The common formats are those that nearly all pictures have.
    """
    from hashscan.hashing.media.samples import encodings
    from hashscan.hashing.pillow_internals import private_decoder_works

    functions = "private functions decode" if private_decoder_works() else "public functions decode all"
    yield Step(True, f"Pillow's {functions} JPEGs")
    with ListStore(None).open([DEMO], datetime.now(UTC)) as opened:
        setup = _setup(opened, limits)
        undecoded = undecoded_samples(setup)
        names = {known.name: known for known in FORMATS if known.pillow is not None}
        yield Step(True, f"decoded: {', '.join(name for name in names if name not in undecoded)}")
        for name, reason in undecoded.items():
            extra = names[name].extra
            lacking = bool(extra) and extra not in installed_extras()
            hint = install_hint(names[name]) or (counting_hint() if name in _COUNTED else "")
            yield Step(lacking, f"not decoded: {name}, {reason}{hint}")
        with Worker(setup) as worker:
            for name, content in encodings(make_test_picture()):
                place = folder / "encoded"
                place.write_bytes(content)
                found = {match.algorithm for match in check_file(worker, bytes(place)).matches}
                yield Step(found == {_PERCEPTUAL}, f"the test picture as {name} is found by likeness")


def _setup(opened: OpenedLists, limits: DecodingLimits) -> WorkerSetup:
    return WorkerSetup(
        lists=opened.handles,
        sandbox=sandbox_options(limits),
        algorithms=algorithms_to_compute(asked_algorithms(opened.handles)),
        max_pixels=limits.max_pixels,
    )


def _hash_library(limits: DecodingLimits, picture: Path) -> Iterator[Step]:
    """Have a decoder load the library of PhotoDNA, if there is one, and hash a picture."""
    if limits.photodna is None:
        return
    named = f"the PhotoDNA library {limits.photodna.library}"
    try:
        library = checked_library(limits)
        algorithms = (*ALWAYS_COMPUTED, *licensed_by(library))
        setup = WorkerSetup(
            (), sandbox_options(limits), algorithms, limits.max_pixels, with_digests=True, photodna=library
        )
        with Worker(setup) as worker:
            found = check_file(worker, bytes(picture))
    except (LibraryError, UsageError) as error:
        yield Step(False, f"{error}. {error.remedy}", error.exit_code)
        return
    if any(digest.algorithm in licensed_by(library) and digest.quality for digest in found.digests):
        yield Step(True, f"{named} loads, and hashes the test picture")
    else:
        why = "it has no digest" if found.reason is None else found.reason.value
        yield Step(False, f"{named} loads, and does not hash the test picture: {why}", EXIT_USAGE)


def _algorithms(record: dict[str, Any]) -> set[str]:
    return {match["algorithm"] for match in record["matches"]}


def _check_list(store: ListStore, name: str, limits: DecodingLimits, uploads: Path) -> Step:
    with store.open([name], datetime.now(UTC)) as opened:
        (info,) = opened.infos
        if info.state is TrustState.SERVICE:
            return Step(True, f"list {name} is a matching service: nothing is proved of it")
        if not opened.handles:
            return Step(False, f"list {name} is {info.state.value}: {info.problem}", EXIT_INCOMPLETE)
        if info.state.is_unsigned:
            return Step(
                True,
                f"list {name} is not signed: such a list has no test picture, so nothing is proved of it",
            )
        with Worker(_setup(opened, limits)) as worker:
            by_bytes, by_likeness = (
                check_file(worker, bytes(uploads / file)) for file in ("same", "likeness")
            )
        return _list_result(info, opened.handles[0], by_bytes, by_likeness)


def _list_result(info: ListInfo, handle: ListHandle, by_bytes: FileResult, by_likeness: FileResult) -> Step:
    """Report if a list's own entries of the picture were found, and if not, why."""
    named = f"list {info.name} version {info.version}, {info.state.value},"
    lacking = [
        algorithm
        for algorithm, result in ((_EXACT, by_bytes), (_PERCEPTUAL, by_likeness))
        if _id_of(algorithm) not in {match.entry_id for match in result.matches}
    ]
    if not lacking:
        return Step(True, f"{named} finds the test picture by its bytes and by likeness")
    if any(find_entry(handle, _id_of(algorithm)) is None for algorithm in lacking):
        return Step(
            False,
            f"{named} lacks the test picture by {' and '.join(lacking)}, so nothing is proved of it: "
            "ask its owner for a release that `hashscan publish` made",
            EXIT_INCOMPLETE,
        )
    return Step(
        False,
        f"{named} holds the test picture but doesn't find it by {' and '.join(lacking)}: "
        "check it with `hashscan lists verify`",
    )


def _id_of(algorithm: str) -> str:
    """Return the id of the picture's entry, which is the same in every signed list."""
    return next(entry.id for entry in canary_entries() if entry.algorithm == algorithm)
