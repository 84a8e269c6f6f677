"""Say why a file is what it is: its signature, the proof that it is none, the probes, its name."""

from __future__ import annotations

import os
from collections.abc import Iterator

from msgspec import Struct, structs

from hashscan.hashing.containers import TAIL_SIZE, UNRECOGNISED
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.formats import sniff
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.names import BEGIN_SIZE, claims_to_be_shown
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import ProbeAnswer
from hashscan.hashing.records import pack_request
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import MemberLimits
from hashscan.sandbox.client import Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.workers.container_opening import opening_plugin
from hashscan.scan.workers.worker import picture_plugin
from hashscan.schema import InvalidDocumentError, decode_json, validated

_SECONDS = 60.0


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
    plugin = opening_plugin(setup, MemberLimits(kinds=()), picture_plugin(setup))
    plugin = structs.replace(plugin, arguments=(*plugin.arguments, "explain=1"))
    with Sandbox(plugin, setup.sandbox) as sandbox:
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
