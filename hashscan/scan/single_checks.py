"""Check single files and single digests, without a scan, and say why a file is what it is."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Sequence
from contextlib import suppress

from msgspec import Struct, structs

from hashscan.errors import TargetError, UsageError
from hashscan.hashing.containers import TAIL_SIZE, UNRECOGNISED
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.formats import sniff
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.names import BEGIN_SIZE, claims_to_be_shown
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import ProbeAnswer
from hashscan.hashing.records import pack_request
from hashscan.lists.formats.text import read_photodna
from hashscan.matching.evaluation import Query
from hashscan.matching.policy import sort_key
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    ALGORITHMS,
    MATCHED,
    Batch,
    FileResult,
    FileStat,
    Match,
    MemberLimits,
    Reason,
    StoredContentData,
    Verdict,
)
from hashscan.sandbox.client import Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.workers.container_opening import opening_program
from hashscan.scan.workers.worker import Worker, picture_program
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.sources.base import ListingOptions, UnlistedFolder, UnreadableName
from hashscan.sources.filesystem.safe_open import FILE_FLAGS, PASS_FLAGS, open_absolute
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.filesystem.targets import leads_somewhere, real_path
from hashscan.sources.patterns import Patterns
from hashscan.text import plural

_SECONDS = 60.0
LOOKED_UP = (*MATCHED, "vpdq")
"""Algorithms by which known files can be looked up."""

_NOWHERE = FileStat(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0, links=0, uid=0)


def check_file(worker: Worker, path: bytes) -> FileResult:
    """Check one file as a scan would; a symlink that the caller named is followed.

    Args:
        path: the file; a symlink that the caller named is followed.

    Raises:
        TargetError: there is no such file, or it is not a file.
    """
    return read_file(worker, path)[0]


def read_file(worker: Worker, path: bytes) -> tuple[FileResult, StoredContentData | None]:
    """Check one file, and also return the data for the cache, if the worker keeps it and there is any.

    See `check_file` for arguments and errors.
    """
    if _is_folder(path):
        raise TargetError(f"{os.fsdecode(path)} is a folder", advice="Scan folders with `hashscan scan`.")
    source = FilesystemSource((path,), ListingOptions(exclude=Patterns.compile((), None)))
    for listing in source.listings():
        if isinstance(listing, Batch):
            answer = worker.check(listing)
            return answer.results[0], answer.kept[0] if answer.kept else None
        if isinstance(listing, UnreadableName):
            lost = FileResult(listing.name, _NOWHERE, Verdict.UNREADABLE, listing.reason, listing.detail)
            return lost, None
        if isinstance(listing, UnlistedFolder):
            # It is not known if it is a folder, where another user's FUSE is on the way to it.
            reason = Reason[listing.reason.name]
            lost = FileResult(os.path.basename(path), _NOWHERE, Verdict.UNREADABLE, reason, listing.detail)
            return lost, None
    return FileResult(os.path.basename(path), _NOWHERE, Verdict.UNREADABLE, Reason.VANISHED), None


def explain_file(path: bytes, setup: WorkerSetup) -> Explanation:
    """Return why a file is what it is.

    Args:
        path: the file; a symlink that the caller named is followed.

    Raises:
        TargetError: it can't be read.
        SandboxError: the demanded sandbox level is not available.
    """
    try:
        descriptor = open_absolute(real_path(path), FILE_FLAGS)
        try:
            return explanation_of(descriptor, os.path.basename(path), setup)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TargetError(f"{os.fsdecode(path)}: {error.strerror}", advice="Name a file.") from error


def is_named(item: bytes) -> bool:
    """Return True if an argument is an existing path, or one into another user's FUSE, which is not asked."""
    return bool(item) and (leads_somewhere(item) or os.path.islink(item))


def _is_folder(path: bytes) -> bool:
    """Return True for a folder; False where another user's FUSE would have to be asked."""
    try:
        os.close(open_absolute(real_path(path), PASS_FLAGS))
    except OSError:
        return False
    return True


def digests_named(text: str, known: Sequence[str] = MATCHED) -> dict[str, bytes]:
    """Return a digest that is written as hex digits, under each algorithm whose digests have its length.

    Args:
        text: hex digits, with or without `ALGORITHM:` before them; of PhotoDNA, base64 too.
        known: the algorithms that may be named.

    Raises:
        UsageError: the text is no digest.
    """
    name, colon, digits = text.rpartition(":")
    names = [name.lower()] if colon else list(known)
    if names == ["photodna"] and "photodna" in known:
        with suppress(ValueError):
            of_form, digits = read_photodna(digits)
            names = [of_form]
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    # fromhex allows white space between the digits.
    if value and len(digits) == 2 * len(value):
        found = {n: value for n in names if n in known and ALGORITHMS[n].size == len(value)}
        if found:
            return found
    if digits and not digits.strip(string.hexdigits):
        lengths = ", ".join(f"{name} {2 * ALGORITHMS[name].size}" for name in known)
        raise UsageError(
            f"{text!r} is neither a file nor a digest that can be checked: it has "
            f"{plural(len(digits), 'digit')}",
            advice=f"Digits of a digest: {lengths}.",
        )
    raise UsageError(
        f"{text!r} is neither a file nor a digest",
        advice="Name an existing file, or a digest in hexadecimal, such as sha256:… or pdq:….",
    )


def match_digest(worker: Worker, algorithm: str, value: bytes) -> list[Match]:
    """Return all entries within the threshold of one digest, closest first."""
    return sorted((match for _, match in worker.matcher.ask(algorithm, [Query(value)])), key=sort_key)


class Explanation(Struct):
    """The steps by which the kind of a file is decided, in their order."""

    signatures: list[str]
    """Names of the formats that its first and last bytes tell; with one, the proofs are not tried."""
    none_by: str = ""
    """The row of `none_kinds` that proves that no viewer shows a picture of it."""
    probes: list[ProbeAnswer] | None = None
    """The formats that libraries take it for; None if they were not asked."""
    lost: str = ""
    """The reason why they were not asked, or did not answer."""
    named: bool = False
    """True if its name claims a kind that viewers open."""

    def lines(self) -> Iterator[str]:
        yield f"signatures: {', '.join(self.signatures) or 'none'}"
        if not self.signatures:
            yield f"proven to show nothing: {f'by the row {self.none_by}' if self.none_by else 'no'}"
        for probe in self.probes or ():
            sure = "certain" if probe.certain else "only if something can be read of it"
            score = f", score {probe.score}" if probe.score else ""
            yield f"probe: {probe.kind} at byte {probe.start} ({probe.by or 'own search'}{score}), {sure}"
        if self.probes == []:
            yield "probes: nothing recognised"
        if self.lost:
            yield f"probes: not answered, {self.lost}"
        yield f"its name claims a kind that viewers open: {'yes' if self.named else 'no'}"


def explanation_of(descriptor: int, name: bytes, setup: WorkerSetup) -> Explanation:
    """Return why an open file is what it is."""
    file = PreadFile(descriptor)
    kind = sniff(file.read(TAIL_SIZE))
    containers, _ = containers_within(file, kind)
    known = dict.fromkeys(each.name for each in (kind, *containers) if each is not None)
    found = Explanation(list(known))
    if not known and file.size:
        found.none_by = none_kind(file)
    file.seek(0)
    found.named = claims_to_be_shown(name, found.none_by, b"" if known else file.read(BEGIN_SIZE))
    if found.none_by or not file.size:
        return found
    program = opening_program(setup, MemberLimits(kinds=()), picture_program(setup))
    program = structs.replace(program, arguments=(*program.arguments, "explain=1"))
    with Sandbox(program, setup.sandbox) as sandbox:
        if not sandbox.start().full:
            found.lost = "the sandbox is not full"
            return found
        owner = os.fstat(descriptor).st_uid
        try:
            pending = sandbox.begin(descriptor, pack_request(UNRECOGNISED), owner, seconds=_SECONDS)
            found.probes = validated(decode_json(sandbox.finish(pending)), list[ProbeAnswer])
        except DecoderLost as lost:
            found.lost = f"{lost.reason.value}: {lost.detail}"
        except InvalidDocumentError as error:
            found.lost = str(error)
    return found
