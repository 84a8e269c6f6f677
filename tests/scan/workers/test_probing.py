"""A decoder that is lost while libraries are asked what a file is costs the verdict of that file alone."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from hashscan.model import Entry, MemberLimits, Reason, Verdict
from tests.hashing.video.drawn import scenes, video
from tests.pictures import encoded, scene
from tests.scan.hostile import SPINS
from tests.scan.workers.test_worker import SETUP, check, digest_of, worker_with
from tests.waiting import until

pytest.importorskip("av")
pytestmark = [pytest.mark.usefixtures("forked_zygotes"), pytest.mark.slow]

LIMITS = MemberLimits(seconds=2.0)


def descendants(of: int) -> Iterator[tuple[int, bool]]:
    """The processes below one; True for those that spin over a marked file."""
    parents, spinning = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            spinning[int(folder.name)] = (folder / "cmdline").read_bytes().startswith(SPINS)
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents[int(folder.name)] = int(fields[1])
    for process in parents:
        above = process
        while above in parents and above != of:
            above = parents[above]
        if above == of and process != of:
            yield process, spinning[process]


@contextmanager
def signalled(number: int | None) -> Iterator[list[int]]:
    """Send a signal to each decoder that spins, as long as this lasts."""
    sent: list[int] = []
    ended = threading.Event()

    def send() -> None:
        while number is not None and not ended.wait(0.05):
            for process, spins in descendants(os.getpid()):
                if spins and process not in sent:
                    sent.append(process)
                    os.kill(process, number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGKILL, Reason.STARVED), (signal.SIGSTOP, Reason.STARVED), (None, Reason.TIMEOUT)],
)
def test_a_decoder_that_is_lost_in_a_probe_costs_one_verdict(
    tmp_path: Path, number: int | None, reason: Reason
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    contents = {
        "0 film": b"\0" + video(scenes([1]), form="avi", codec="mpeg4"),
        "1 marked": SPINS + random.Random(1).randbytes(5000),
        "2 film": b"\1" + video(scenes([1]), form="avi", codec="mpeg4"),
        "3 random": random.Random(2).randbytes(5000),
        "4 picture": encoded(scene(2), "PNG"),
        "5 text": b"some words\n" * 99,
    }
    for name, content in contents.items():
        (files / name).write_bytes(content)
    entry = Entry("e", "pdq", digest_of(encoded(scene(1, 160, 120), "PNG"), "pdq", tmp_path), "A1")
    before = {process for process, _ in descendants(os.getpid())}
    decoder = "tests.scan.hostile:load_endless_probe"
    # A stopped decoder is given up after so many times its processor time.
    sandbox = structs.replace(SETUP.sandbox, wall_factor=6.0 if number == signal.SIGSTOP else 100.0)
    with (
        worker_with(tmp_path, entry, decoder=decoder, containers=LIMITS, sandbox=sandbox) as worker,
        signalled(number) as sent,
    ):
        found = check(worker, files)
    assert {name: (result.verdict, result.reason) for name, result in found.items()} == {
        "0 film": (Verdict.MATCH, None),
        "1 marked": (Verdict.UNDECODED, reason),
        "2 film": (Verdict.MATCH, None),
        "3 random": (Verdict.CLEAN, None),
        "4 picture": (Verdict.CLEAN, None),
        "5 text": (Verdict.CLEAN, None),
    }
    assert bool(sent) == (number is not None)
    until(lambda: {process for process, _ in descendants(os.getpid())} <= before)
