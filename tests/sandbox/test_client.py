from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from hashscan.errors import ZygoteError, ZygoteKilledError
from hashscan.model import Reason
from hashscan.sandbox.client import (
    TRIAL_SHARE,
    WALL_FACTOR,
    DecoderProgram,
    PendingFile,
    Sandbox,
    SandboxOptions,
)
from hashscan.sandbox.decoders import DEATHS_PER_ZYGOTE, DecoderLost
from tests.examples import quick_first
from tests.sandbox.program import REPLY
from tests.sandbox.runner import processes
from tests.waiting import until

PROGRAM = DecoderProgram("tests.sandbox.program:load", (), REPLY.size)
SECONDS = 1.0
PATIENT = 100.0
"""Seconds that nothing takes, however busy the machine is."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"*" * 1234)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(scope="module", params=["auto", "off"])
def shared(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with started(request.param, PATIENT) as made:
        yield made


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    """A zygote of several tests, with a decoder of this test."""
    shared.start()
    yield shared
    shared.give_up()
    shared.discard()


@pytest.fixture(params=["auto", "off"])
def impatient(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with started(request.param, SECONDS / 2) as made:
        yield made


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try at once to start a zygote again."""
    monkeypatch.setattr("hashscan.sandbox.decoders.ZYGOTE_PAUSES", (0.0, 0.0))


@contextlib.contextmanager
def started(
    mode: Literal["auto", "off"], seconds: float, wall_factor: float = WALL_FACTOR
) -> Iterator[Sandbox]:
    options = SandboxOptions(mode, memory_bytes=1 << 28, seconds=seconds, wall_factor=wall_factor)
    with Sandbox(PROGRAM, options) as made:
        made.start()
        yield made


@pytest.fixture
def unconfined() -> Iterator[Sandbox]:
    """A sandbox without seccomp, so that the worker's own checks are tested."""
    with Sandbox(PROGRAM, SandboxOptions("off", seconds=PATIENT)) as made:
        yield made


def ask(sandbox: Sandbox, file: int, deed: str, owner: int = 1000, *, fresh: bool = False) -> int:
    begun = sandbox.begin(file, deed.encode(), owner, fresh=fresh)
    done, error, number = REPLY.unpack(sandbox.finish(begun))
    assert (done, error) == (1, 0)
    return int(number)


def lost(sandbox: Sandbox, file: int, deed: str) -> DecoderLost:
    begun = sandbox.begin(file, deed.encode(), 1000)
    with pytest.raises(DecoderLost) as caught:
        sandbox.finish(begun)
    return caught.value


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie waits only for its parent or process 1."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_reads_the_file_it_was_given(sandbox: Sandbox, file: int) -> None:
    assert ask(sandbox, file, "size") == 1234
    assert ask(sandbox, file, "first byte") == ord("*")


def test_worker_reads_while_the_decoder_does(sandbox: Sandbox, file: int) -> None:
    begun = sandbox.begin(file, b"size", 1000)
    assert os.pread(file, 4, 0) == b"****"
    assert REPLY.unpack(sandbox.finish(begun))[2] == 1234


@pytest.mark.parametrize(
    ("deed", "reason", "detail"),
    [
        ("fault", Reason.DECODER_DIED, "signal SIGSEGV"),
        ("memory", Reason.MEMORY, "out of memory"),
        ("memory in small pieces", Reason.MEMORY, "out of memory"),
        ("exit 0", Reason.DECODER_DIED, "exit code 0"),
        ("exit 7", Reason.DECODER_DIED, "exit code 7"),
        ("raise", Reason.DECODER_DIED, "an exception escaped the program"),
        ("leave", Reason.DECODER_DIED, "an exception escaped the program"),
        ("empty", Reason.DECODER_DIED, "the program's reply has the wrong size"),
        ("long", Reason.DECODER_DIED, "the program's reply has the wrong size"),
        ("send a nonce alone", Reason.DECODER_DIED, "its reply has the wrong size"),
        ("send a long one", Reason.DECODER_DIED, "its reply has the wrong size"),
        ("send a huge one", Reason.DECODER_DIED, "its reply has the wrong size"),
        ("send another nonce", Reason.DECODER_DIED, "it replied to something it wasn't asked"),
        ("send an unknown mark", Reason.DECODER_DIED, "its reply has an unknown mark"),
        ("three parts", Reason.DECODER_DIED, "it replied in parts"),
        ("deaf", Reason.DECODER_DIED, "it closed its socket"),
    ],
)
def test_misbehaviour_costs_one_file(
    sandbox: Sandbox, file: int, deed: str, reason: Reason, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deed == "deaf":
        # It never ends by itself.
        monkeypatch.setattr("hashscan.sandbox.client.DYING_SECONDS", 0.1)
    costs_one_file(sandbox, file, deed, reason, detail)


@pytest.mark.parametrize("deed", quick_first(["spin", "spin in C"]))
def test_silence_costs_one_file(impatient: Sandbox, file: int, deed: str) -> None:
    costs_one_file(impatient, file, deed, Reason.TIMEOUT, "over 0.5 s of processor time")


def costs_one_file(sandbox: Sandbox, file: int, deed: str, reason: Reason, detail: str) -> None:
    before = ask(sandbox, file, "pid")
    error = lost(sandbox, file, deed)
    assert (error.reason, error.detail) == (reason, detail)
    assert not alive(before)
    assert ask(sandbox, file, "size") == 1234
    assert ask(sandbox, file, "pid") != before


def test_abort_is_a_signal(sandbox: Sandbox, file: int) -> None:
    assert lost(sandbox, file, "abort").detail in {"signal SIGABRT", "signal SIGSEGV", "signal SIGILL"}
    assert ask(sandbox, file, "size") == 1234


def test_descriptor_in_a_reply_is_refused(unconfined: Sandbox, file: int) -> None:
    unconfined.start()
    before = len(descriptors())
    assert lost(unconfined, file, "with a descriptor").detail == "it sent a descriptor"
    ask(unconfined, file, "pid")
    assert len(descriptors()) == before


def test_message_without_bytes_is_no_reply(unconfined: Sandbox, file: int) -> None:
    assert lost(unconfined, file, "send nothing").reason is Reason.DECODER_DIED
    assert ask(unconfined, file, "size") == 1234


def test_stopped_decoder_is_ended(file: int) -> None:
    with started("off", SECONDS, wall_factor=1) as impatient:
        error = lost(impatient, file, "stop")
        assert (error.reason, error.detail) == (Reason.STARVED, "no answer within 1 s")
        assert ask(impatient, file, "size") == 1234


def test_time_in_which_a_decoder_had_no_processor_is_not_held_against_its_file(file: int) -> None:
    with started("auto", SECONDS, wall_factor=100) as impatient:
        decoder = ask(impatient, file, "pid")
        os.kill(decoder, signal.SIGSTOP)
        begun = impatient.begin(file, b"pid", 1000)
        going_on = threading.Timer(2.5 * SECONDS, os.kill, (decoder, signal.SIGCONT))
        going_on.start()
        assert REPLY.unpack(impatient.finish(begun))[2] == decoder
        going_on.join()


def test_file_whose_decoder_was_starved_is_tried_again(file: int) -> None:
    with started("auto", SECONDS, wall_factor=1) as impatient:
        (decoder,) = processes_of_zygote(impatient)
        os.kill(decoder, signal.SIGSTOP)
        assert ask(impatient, file, "pid") != decoder


@pytest.mark.parametrize(
    ("deed", "detail"),
    [("killed", "signal SIGKILL, perhaps for want of memory"), ("signalled", "signal SIGUSR1")],
)
def test_death_by_a_signal_from_outside_is_not_the_file_s(
    unconfined: Sandbox, file: int, deed: str, detail: str
) -> None:
    error = lost(unconfined, file, deed)
    assert (error.reason, error.detail) == (Reason.STARVED, detail)
    assert ask(unconfined, file, "size") == 1234


def test_file_over_its_time_in_a_used_decoder_is_tried_in_a_fresh_one(file: int) -> None:
    """An earlier file may have taken the decoder over, to have it spin over a later one."""
    with started("auto", SECONDS / 2) as impatient:
        assert ask(impatient, file, "spin from the second on") == 0
        assert ask(impatient, file, "spin from the second on") == 0


def test_processor_time_counts_from_the_answer_before(file: int) -> None:
    """Five files together use more than one may."""
    with started("auto", SECONDS / TRIAL_SHARE) as impatient:
        decoder = ask(impatient, file, "pid")
        begun = [impatient.begin(file, b"size after a while", 1000) for _ in range(5)]
        assert [REPLY.unpack(impatient.finish(one))[2] for one in begun] == [1234] * 5
        assert ask(impatient, file, "pid") == decoder, "no other had to take over"


@pytest.mark.parametrize("deed", ["twice", "flood"])
def test_second_reply_does_not_reach_the_next_file(sandbox: Sandbox, file: int, deed: str) -> None:
    begun = sandbox.begin(file, deed.encode(), 1000)
    # The first is a good reply when we look before the second has come.
    with contextlib.suppress(DecoderLost):
        assert REPLY.unpack(sandbox.finish(begun))[2] == 3
    assert ask(sandbox, file, "size") == 1234


def test_late_second_reply_does_not_reach_the_next_file(unconfined: Sandbox, file: int) -> None:
    before = ask(unconfined, file, "pid")
    assert ask(unconfined, file, "twice a little later") == 1
    link = unconfined._decoders.link
    assert link is not None
    select.select([link._socket], [], [])
    begun = unconfined.begin(file, b"size", 1000)
    # It spoke unasked, so it isn't even shown the file.
    until(lambda: not alive(before))
    assert REPLY.unpack(unconfined.finish(begun))[2] == 1234
    assert ask(unconfined, file, "pid") != before


def test_late_second_reply_during_the_next_file_is_refused(unconfined: Sandbox, file: int) -> None:
    assert ask(unconfined, file, "twice a little later") == 1
    # The old nonce comes 0.2 s later, and instead of its answer; a new decoder gives that.
    assert ask(unconfined, file, "size after a while") == 1234


def test_decoder_killed_under_an_innocent_file_is_replaced(impatient: Sandbox, file: int) -> None:
    victim = ask(impatient, file, "pid")
    begun = impatient.begin(file, b"spin", 1000)
    os.kill(victim, 9)
    # It had seen a file before, so this one gets a second decoder, and has that one's time to itself.
    with pytest.raises(DecoderLost) as caught:
        impatient.finish(begun)
    assert caught.value.reason is Reason.TIMEOUT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
def test_decoder_killed_under_its_first_file_is_replaced(sandbox: Sandbox, file: int, number: int) -> None:
    begun = sandbox.begin(file, b"size after a while", 1000)
    (decoder,) = processes_of_zygote(sandbox)
    os.kill(decoder, number)
    assert REPLY.unpack(sandbox.finish(begun))[2] == 1234


@pytest.mark.parametrize("deed", ["raise", "fault"])
def test_zygote_is_replaced_after_many_deaths(unconfined: Sandbox, file: int, deed: str) -> None:
    """Its layout of addresses is that of all its decoders."""
    unconfined.start()
    first = zygote_of(unconfined)
    for _ in range(DEATHS_PER_ZYGOTE - 1):
        lost(unconfined, file, deed)
    assert zygote_of(unconfined) == first
    lost(unconfined, file, deed)
    assert ask(unconfined, file, "size") == 1234
    assert zygote_of(unconfined) != first


def test_a_zygote_is_started_by_the_first_file(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("off")) as sandbox:
        assert sandbox._decoders._zygote is None
        ask(sandbox, file, "size")
        assert processes_of_zygote(sandbox)


def test_decoders_that_are_replaced_in_their_turn_leave_the_zygote(unconfined: Sandbox, file: int) -> None:
    unconfined.start()
    first = zygote_of(unconfined)
    assert len({ask(unconfined, file, "pid", fresh=True) for _ in range(2 * DEATHS_PER_ZYGOTE)}) > 60
    assert zygote_of(unconfined) == first


def zygote_of(sandbox: Sandbox) -> int:
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    return zygote._process.pid


def test_owner_over_budget_gets_no_decoder(file: int) -> None:
    options = SandboxOptions("auto", owner_losses=2)
    with Sandbox(PROGRAM, options) as sandbox:
        begun = [sandbox.begin(file, deed, 1000) for deed in (b"fault", b"size", b"fault", b"size", b"pid")]
        # The second death is in a decoder that has met another file, and there is no second try any more.
        found = [_reason(sandbox, one) for one in begun]
        assert found == [Reason.DECODER_DIED, None, *[Reason.OVER_BUDGET] * 3]
        assert _reason(sandbox, sandbox.begin(file, b"size", 1000, fresh=True)) is Reason.OVER_BUDGET
        assert ask(sandbox, file, "size", owner=1001) == 1234


def test_two_sandboxes_with_one_budget(file: int) -> None:
    options = SandboxOptions("auto", owner_losses=1)
    with Sandbox(PROGRAM, options) as sandbox, Sandbox(PROGRAM, options, sandbox) as other:
        assert _reason(other, other.begin(file, b"fault", 1000)) is Reason.DECODER_DIED
        assert _reason(sandbox, sandbox.begin(file, b"size", 1000)) is Reason.OVER_BUDGET
        sandbox.renew_budgets()
        assert ask(other, file, "size") == 1234


def test_seconds_of_decoders_that_answer_are_not_counted(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto", owner_seconds=0.1)) as sandbox:
        for _ in range(3):
            assert ask(sandbox, file, "size after a while") == 1234


def _reason(sandbox: Sandbox, begun: PendingFile) -> Reason | None:
    try:
        sandbox.finish(begun)
    except DecoderLost as loss:
        return loss.reason
    return None


def test_output_of_a_parser_goes_nowhere(sandbox: Sandbox, file: int) -> None:
    assert ask(sandbox, file, "print") == 5


def test_leaked_descriptors_don_t_cost_a_file(unconfined: Sandbox, file: int) -> None:
    first = ask(unconfined, file, "pid")
    # The third finds no descriptor left, and is asked again of a new decoder.
    assert [ask(unconfined, file, "leak") for _ in range(3)] == [6, 6, 6]
    assert ask(unconfined, file, "pid") != first


def test_decoder_serves_one_owner(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid", owner=1)
    assert ask(sandbox, file, "pid", owner=1) == first
    second = ask(sandbox, file, "pid", owner=2)
    assert second != first
    until(lambda: not alive(first))
    assert ask(sandbox, file, "pid", owner=1) not in {first, second}


def test_decoder_serves_256_files(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto")) as sandbox:
        pids = [ask(sandbox, file, "pid") for _ in range(513)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [256, 256, 1]


def test_fresh_decoder(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid")
    second = ask(sandbox, file, "pid", fresh=True)
    assert first != second
    assert ask(sandbox, file, "pid") == second


def test_started_decoder_counts_as_fresh(sandbox: Sandbox, file: int) -> None:
    before = processes_of_zygote(sandbox)
    assert ask(sandbox, file, "pid", fresh=True) in before


def test_file_given_up_does_not_answer_for_the_next(sandbox: Sandbox, file: int) -> None:
    before = ask(sandbox, file, "pid")
    begun = sandbox.begin(file, b"first byte", 1000)
    sandbox.give_up()
    until(lambda: not alive(before))
    assert ask(sandbox, file, "size") == 1234
    with pytest.raises(RuntimeError, match="given up"):
        sandbox.finish(begun)
    sandbox.give_up()
    assert ask(sandbox, file, "size") == 1234


DEEDS = ["pid", "size", "fault", "first byte", "exit 7", "size", "spin", "twice", "size", "fault", "fault"]


def test_files_under_way_cost_no_verdict_but_their_own(impatient: Sandbox, file: int) -> None:
    begun = [impatient.begin(file, deed.encode(), 1000) for deed in DEEDS]
    found: list[object] = []
    for one in begun:
        try:
            found.append(REPLY.unpack(impatient.finish(one))[2])
        except DecoderLost as loss:
            found.append(loss.detail)
    faulty, timed_out = "signal SIGSEGV", "over 0.5 s of processor time"
    assert found[1:7] == [1234, faulty, ord("*"), "exit code 7", 1234, timed_out]
    # Its first reply is a good one; the other costs the decoder its place, and the next file nothing.
    assert found[7:] == [3, 1234, faulty, faulty]
    assert ask(impatient, file, "pid") != found[0]


def test_answers_may_be_asked_for_in_any_order(sandbox: Sandbox, file: int) -> None:
    begun = [sandbox.begin(file, deed, 1000) for deed in (b"size", b"first byte", b"fault", b"size")]
    assert REPLY.unpack(sandbox.finish(begun[3]))[2] == 1234
    with pytest.raises(DecoderLost, match="SIGSEGV"):
        sandbox.finish(begun[2])
    assert [REPLY.unpack(sandbox.finish(one))[2] for one in begun[:2]] == [1234, ord("*")]
    assert REPLY.unpack(sandbox.finish(begun[0]))[2] == 1234


def test_many_files_under_way_go_to_several_decoders(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto", files_per_decoder=8)) as sandbox:
        begun = [sandbox.begin(file, b"pid", 1000) for _ in range(20)]
        begun += [sandbox.begin(file, b"pid", 1001), sandbox.begin(file, b"pid", 1001, fresh=True)]
        pids = [REPLY.unpack(sandbox.finish(one))[2] for one in begun]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [8, 8, 4, 1, 1]


def test_what_a_decoder_has_is_given_to_another_when_it_is_discarded(sandbox: Sandbox, file: int) -> None:
    begun = [sandbox.begin(file, b"pid", 1000) for _ in range(3)]
    first = REPLY.unpack(sandbox.finish(begun[0]))[2]
    sandbox.discard()
    second, third = (REPLY.unpack(sandbox.finish(one))[2] for one in begun[1:])
    assert first != second == third
    assert not alive(first)


@pytest.mark.slow
def test_wall_clock_counts_from_the_answer_before(file: int) -> None:
    with started("auto", PATIENT, wall_factor=5 / PATIENT) as impatient:
        decoder = ask(impatient, file, "pid")
        begun = [impatient.begin(file, b"size after a while", 1000) for _ in range(11)]
        assert [REPLY.unpack(impatient.finish(one))[2] for one in begun] == [1234] * 11
        assert ask(impatient, file, "pid") == decoder, "no other had to take over"


def test_more_than_the_socket_takes(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto", files_per_decoder=2000)) as sandbox:
        begun = [sandbox.begin(file, b"size after a while", 1000)]
        begun += [sandbox.begin(file, b"size", 1000) for _ in range(1500)]
        assert all(REPLY.unpack(sandbox.finish(one))[2] == 1234 for one in begun)


def test_discarded_decoder_is_gone(sandbox: Sandbox, file: int) -> None:
    before = ask(sandbox, file, "pid")
    sandbox.discard()
    assert not alive(before)
    sandbox.discard()
    assert ask(sandbox, file, "pid") != before


def test_answer_in_time_is_taken_late(impatient: Sandbox, file: int) -> None:
    begun = impatient.begin(file, b"size", 1000)
    time.sleep(SECONDS * 1.5)
    assert REPLY.unpack(impatient.finish(begun))[2] == 1234


def test_killed_zygote_is_replaced(file: int) -> None:
    marker = f"marker-{os.urandom(8).hex()}"
    with Sandbox(DecoderProgram(PROGRAM.target, ("", marker), REPLY.size), SandboxOptions("auto")) as sandbox:
        decoder = ask(sandbox, file, "pid")
        (zygote,) = (pid for pid, parent in processes(marker).items() if parent == os.getpid())
        os.kill(zygote, 9)
        until(lambda: not alive(decoder))
        assert ask(sandbox, file, "size") == 1234

        begun = sandbox.begin(file, b"size after a while", 1000, fresh=True)
        (zygote,) = (pid for pid, parent in processes(marker).items() if parent == os.getpid())
        os.kill(zygote, 9)
        assert REPLY.unpack(sandbox.finish(begun))[2] == 1234
    until(lambda: not processes(marker))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tests.sandbox.program:load_broken", "RuntimeError: this program was never any good"),
        ("tests.sandbox.program:missing", "has no attribute 'missing'"),
        ("tests.sandbox.nowhere:load", "No module named 'tests.sandbox.nowhere'"),
        ("tests.sandbox.program:load_ending", "exit status 9"),
    ],
)
def test_a_program_that_can_t_be_loaded(target: str, message: str, file: int) -> None:
    before = descriptors()
    with Sandbox(DecoderProgram(target, (), 8), SandboxOptions("auto")) as sandbox:
        for _ in range(2):
            with pytest.raises(ZygoteError) as caught:
                sandbox.begin(file, b"", 0)
            assert message in str(caught.value)
    assert descriptors() == before


@pytest.mark.usefixtures("no_pauses")
def test_zygote_that_is_killed_while_it_loads_is_started_again(file: int, tmp_path: Path) -> None:
    program = DecoderProgram(
        "tests.sandbox.program:load_killed", ("2", str(tmp_path / "counted")), REPLY.size
    )
    with Sandbox(program, SandboxOptions("auto")) as sandbox:
        assert ask(sandbox, file, "size") == 1234
    assert (tmp_path / "counted").read_bytes() == b"xxx"


@pytest.mark.usefixtures("no_pauses")
def test_zygote_that_is_killed_again_and_again_is_no_defect(file: int, tmp_path: Path) -> None:
    before = descriptors()
    program = DecoderProgram(
        "tests.sandbox.program:load_killed", ("99", str(tmp_path / "counted")), REPLY.size
    )
    with Sandbox(program, SandboxOptions("auto")) as sandbox, pytest.raises(ZygoteKilledError) as caught:
        sandbox.begin(file, b"size", 1000)
    assert caught.value.exit_code == 12
    assert "SIGKILL" in str(caught.value)
    assert (tmp_path / "counted").read_bytes() == b"xxx"
    assert descriptors() == before


@pytest.mark.usefixtures("no_pauses")
def test_zygote_for_which_there_is_no_descriptor(file: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with Sandbox(PROGRAM, SandboxOptions("auto")) as sandbox:
            with pytest.raises(ZygoteKilledError, match="Too many open files"):
                sandbox.begin(file, b"size", 1000)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert ask(sandbox, file, "size") == 1234
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_two_sandboxes_share_nothing(file: int) -> None:
    before = descriptors()
    with Sandbox(PROGRAM, SandboxOptions("off")) as first, Sandbox(PROGRAM, SandboxOptions("off")) as second:
        begun = [(one, one.begin(file, b"pid", 1)) for one in (first, second)]
        pids = [REPLY.unpack(one.finish(asked))[2] for one, asked in begun]
        assert len(set(pids)) == 2
        for one in (first, second):
            asked = one.begin(file, b"find a descriptor", 1)
            assert REPLY.unpack(one.finish(asked))[0] == 0
        first.close()
        until(lambda: not alive(pids[0]))
        assert ask(second, file, "size", owner=1) == 1234
    assert descriptors() == before


def test_misuse(unconfined: Sandbox, file: int) -> None:
    with pytest.raises(ValueError, match="4096"):
        unconfined.begin(file, bytes(4097), 0)
    unconfined.close()
    unconfined.close()
    with pytest.raises(RuntimeError, match="closed"):
        unconfined.begin(file, b"pid", 0)
    for program, options in (
        (DecoderProgram("a:b", (), 0), SandboxOptions("off")),
        (DecoderProgram("a:b", (), 1 << 20), SandboxOptions("off")),
        (PROGRAM, SandboxOptions("off", seconds=0)),
        (PROGRAM, SandboxOptions("off", memory_bytes=0)),
        (PROGRAM, SandboxOptions("off", files_per_decoder=0)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            Sandbox(program, options)


def test_forked_copy_is_refused_and_harms_nobody(sandbox: Sandbox, file: int) -> None:
    begun = sandbox.begin(file, b"pid", 1000)
    child = os.fork()
    if child == 0:
        try:
            sandbox.finish(begun)
        except RuntimeError:
            sandbox.close()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert REPLY.unpack(sandbox.finish(begun))[2] in processes_of_zygote(sandbox)


def processes_of_zygote(sandbox: Sandbox) -> list[int]:
    """The decoders of its zygote."""
    found = processes("tests.sandbox.program:load")
    return [pid for pid, parent in found.items() if parent == zygote_of(sandbox)]


def test_a_decoder_with_more_memory_serves_one_file(shared: Sandbox, file: int) -> None:
    usual = ask(shared, file, "pid")
    begun = shared.begin(file, b"pid", 1000, memory_bytes=1 << 31)
    behind = shared.begin(file, b"pid", 1000)
    large = REPLY.unpack(shared.finish(begun))[2]
    assert len({usual, large, REPLY.unpack(shared.finish(behind))[2]}) == 3


def test_memory_limit_of_a_request(shared: Sandbox, file: int) -> None:
    def reason(memory_bytes: int) -> Reason | None:
        return _reason(shared, shared.begin(file, b"half a gigabyte", 1000, memory_bytes=memory_bytes))

    assert [reason(0), reason(1 << 31), reason(0)] == [Reason.MEMORY, None, Reason.MEMORY]


def test_an_owner_has_a_budget_for_decoders_with_more_memory(file: int) -> None:
    options = SandboxOptions("auto", owner_large_seconds=1e-9)
    with Sandbox(PROGRAM, options) as sandbox:
        found = [
            _reason(sandbox, sandbox.begin(file, b"size", owner, memory_bytes=1 << 30)) for owner in (1, 1, 2)
        ]
        assert found == [None, Reason.OVER_BUDGET, None]
        assert ask(sandbox, file, "size", owner=1) == 1234


def parts_of(
    sandbox: Sandbox, file: int, deed: str, owner: int = 1000, most: int = 100, *, alone: bool = False
) -> Iterator[int]:
    for part in sandbox.parts(file, deed.encode(), owner, seconds=PATIENT, parts_max=most, alone=alone):
        yield REPLY.unpack(part)[2]


def test_a_reply_in_parts(sandbox: Sandbox, file: int) -> None:
    before = sandbox.begin(file, b"pid", 1000)
    assert list(parts_of(sandbox, file, "three parts")) == [0, 1, 2]
    assert list(parts_of(sandbox, file, "size")) == [1234]
    # The decoder is that of the owner's other files.
    first = REPLY.unpack(sandbox.finish(before))[2]
    assert list(parts_of(sandbox, file, "pid")) == [first]
    assert not sandbox.first
    assert ask(sandbox, file, "pid") == first
    (other,) = parts_of(sandbox, file, "pid", owner=1001)
    assert sandbox.first
    assert other != first
    until(lambda: not alive(first))


def test_a_decoder_that_replies_in_parts_alone(sandbox: Sandbox, file: int) -> None:
    before = ask(sandbox, file, "pid")
    found = [*parts_of(sandbox, file, "pid", alone=True), *parts_of(sandbox, file, "pid", alone=True)]
    assert sandbox.first
    (fresh,) = sandbox.parts(file, b"pid", 1000, seconds=PATIENT, parts_max=1, fresh=True)
    after = ask(sandbox, file, "pid")
    assert after == REPLY.unpack(fresh)[2]
    assert len({before, *found, after}) == 4
    until(lambda: not any(map(alive, (before, *found))))


def test_a_decoder_of_parts_is_replaced_before_the_kernel_ends_it(file: int) -> None:
    # The kernel's limit is for all its files together.
    with Sandbox(PROGRAM, SandboxOptions("auto", seconds=PATIENT, files_per_decoder=3)) as sandbox:
        limit = sandbox._cpu_seconds

        def pid(seconds: float) -> int:
            (part,) = sandbox.parts(file, b"pid", 1000, seconds=seconds, parts_max=1)
            number: int = REPLY.unpack(part)[2]
            return number

        first = pid(1.0)
        assert pid(1.0) == first
        second = pid(limit)
        assert second != first
        assert [pid(1.0), pid(1.0)] == [second] * 2
        assert pid(1.0) != second


def test_no_descriptor_is_left_in_a_decoder_that_replies_in_parts(sandbox: Sandbox, file: int) -> None:
    # It may have one file open besides its socket, so that the second one would fail.
    process = ask(sandbox, file, "pid")
    found = [part for _ in range(3) for part in parts_of(sandbox, file, "pid as a last part")]
    assert (found, ask(sandbox, file, "pid")) == ([process] * 3, process)


@pytest.mark.parametrize(
    ("deed", "received", "reason", "detail"),
    [
        ("no part", 0, Reason.DECODER_DIED, "the program's reply has the wrong size"),
        ("a long part", 1, Reason.DECODER_DIED, "the program's reply has the wrong size"),
        ("two parts and raise", 2, Reason.DECODER_DIED, "an exception escaped the program"),
        ("two parts and a fault", 2, Reason.DECODER_DIED, "signal SIGSEGV"),
        ("parts without end", 100, Reason.DECODER_DIED, "it replied in too many parts"),
    ],
)
def test_a_decoder_that_is_lost_between_parts(
    sandbox: Sandbox, file: int, deed: str, received: int, reason: Reason, detail: str
) -> None:
    found: list[int] = []
    with pytest.raises(DecoderLost) as caught:
        found.extend(parts_of(sandbox, file, deed))
    assert (found, caught.value.reason, caught.value.detail) == (list(range(received)), reason, detail)
    assert ask(sandbox, file, "size") == 1234


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_all_parts_share_the_processor_time(mode: Literal["auto", "off"], file: int) -> None:
    with started(mode, SECONDS, wall_factor=1000) as impatient, pytest.raises(DecoderLost) as caught:
        list(impatient.parts(file, b"two parts and spin", 1000, seconds=0.2, parts_max=100))
    assert caught.value.reason is Reason.TIMEOUT


def test_parts_that_nobody_takes_cost_no_memory_and_no_decoder_lives_on(sandbox: Sandbox, file: int) -> None:
    taken = parts_of(sandbox, file, "parts without end")
    assert next(taken) == 0
    link = sandbox._decoders.link
    assert link is not None
    # It waits for room in the socket, asleep.
    until(lambda: Path(f"/proc/{link.process}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    taken.close()
    assert not alive(link.process)
    assert ask(sandbox, file, "size") == 1234


def test_an_owner_without_a_budget_gets_no_parts(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto", seconds=PATIENT, owner_losses=1)) as sandbox:
        with pytest.raises(DecoderLost):
            list(parts_of(sandbox, file, "two parts and raise"))
        with pytest.raises(DecoderLost) as caught:
            list(parts_of(sandbox, file, "three parts"))
        assert caught.value.reason is Reason.OVER_BUDGET
        assert list(parts_of(sandbox, file, "three parts", owner=1)) == [0, 1, 2]


def test_an_owner_whose_parts_take_too_long_gets_no_more(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashscan.sandbox.client.PARTS_SECONDS", -1.0)
    with Sandbox(PROGRAM, SandboxOptions("auto", seconds=PATIENT, owner_parts_seconds=1.5)) as sandbox:
        for _ in range(2):
            assert list(parts_of(sandbox, file, "three parts")) == [0, 1, 2]
        with pytest.raises(DecoderLost) as caught:
            list(parts_of(sandbox, file, "three parts"))
        assert caught.value.reason is Reason.OVER_BUDGET
        assert list(parts_of(sandbox, file, "three parts", owner=1)) == [0, 1, 2]
        assert ask(sandbox, file, "size") == 1234


def test_a_file_on_trial_is_given_up_and_costs_its_owner_nothing(file: int) -> None:
    options = SandboxOptions("auto", seconds=PATIENT, owner_losses=1)
    with Sandbox(PROGRAM, options) as sandbox:
        for _ in range(2):
            begun = sandbox.begin(file, b"spin", 1000, trial_seconds=0.1)
            behind = sandbox.begin(file, b"size", 1000)
            with pytest.raises(DecoderLost) as caught:
                sandbox.finish(begun)
            assert (caught.value.reason, caught.value.on_trial) == (Reason.TIMEOUT, True)
            assert begun.used == 0.1
            assert REPLY.unpack(sandbox.finish(behind))[2] == 1234
        parts = sandbox.parts(
            file, b"two parts and spin", 1000, seconds=PATIENT, parts_max=9, trial_seconds=0.1
        )
        with pytest.raises(DecoderLost) as caught:
            list(parts)
        assert (caught.value.on_trial, sandbox.used) == (True, 0.1)
        assert ask(sandbox, file, "size") == 1234
