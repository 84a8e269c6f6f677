"""Decoders that are forked ahead: they have seen no file, and end with all others."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.model import Reason
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from hashscan.sandbox.decoders import DEATHS_PER_ZYGOTE, DecoderLost
from tests.sandbox.program import REPLY
from tests.waiting import until

PROGRAM = DecoderProgram("tests.sandbox.program_with_sample:load", (), REPLY.size)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"*" * 1234)
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["auto", "off"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(PROGRAM, SandboxOptions(request.param, memory_bytes=1 << 28, seconds=100.0)) as made:
        made.start()
        yield made


def ask(sandbox: Sandbox, file: int, deed: str, owner: int) -> int:
    done, error, number = REPLY.unpack(sandbox.finish(sandbox.begin(file, deed.encode(), owner)))
    assert (done, error) == (1, 0)
    return int(number)


def decoders_of(sandbox: Sandbox) -> set[int]:
    """The living decoders: children of the zygote."""
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    pid = zygote._process.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(child) for child in text.split()}


def prepared(sandbox: Sandbox, number: int) -> set[int]:
    """Have spare decoders forked, and wait until they are."""
    sandbox.prepare(number)
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    zygote._take_answers()
    return decoders_of(sandbox)


def test_one_that_was_forked_ahead_is_used_for_the_next_owner(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid", 1)
    spares = prepared(sandbox, 2) - {first}
    assert len(spares) == 2
    assert ask(sandbox, file, "pid", 1) == first
    second = ask(sandbox, file, "pid", 2)
    third = ask(sandbox, file, "pid", 3)
    assert {second, third} == spares
    until(lambda: decoders_of(sandbox) == {third})
    assert ask(sandbox, file, "pid", 4) not in {first, second, third}


def test_it_has_handled_nothing_but_the_sample(sandbox: Sandbox, file: int) -> None:
    for owner in range(3):
        prepared(sandbox, 2)
        assert ask(sandbox, file, "samples", owner + 1) == (0 if owner == 0 else 1)
        assert ask(sandbox, file, "others", owner + 1) == 2


def test_it_has_no_descriptor_but_its_socket_and_the_file(sandbox: Sandbox, file: int) -> None:
    ask(sandbox, file, "size", 1)
    prepared(sandbox, 1)
    assert ask(sandbox, file, "samples", 2) == 1
    assert ask(sandbox, file, "descriptors", 2) == 2


def test_no_decoder_can_change_the_sample_of_others(file: int) -> None:
    """Not even without seccomp."""
    with Sandbox(PROGRAM, SandboxOptions("off", seconds=100.0)) as sandbox:
        ask(sandbox, file, "size", 1)
        for owner in (2, 3):
            prepared(sandbox, 1)
            assert ask(sandbox, file, "samples", owner) == 1
            assert ask(sandbox, file, "spoil", owner) == 0


def test_one_that_was_killed_meanwhile_costs_no_file(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid", 1)
    spares = prepared(sandbox, 2) - {first}
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    # Each has said that it is ready.
    until(lambda: all(select.select([connection], [], [], 0)[0] for connection, _ in zygote._spares))
    for spare in spares:
        os.kill(spare, signal.SIGKILL)
    until(lambda: not any(map(alive, spares)))
    assert ask(sandbox, file, "pid", 2) not in {first, *spares}


def test_those_end_that_may_have_been_killed_with_the_present_one(file: int) -> None:
    """A file is tried twice at most, and the ends of those that were killed are not seen at once."""
    # Confined decoders can't send the signal.
    with Sandbox(PROGRAM, SandboxOptions("off", seconds=100.0)) as sandbox:
        first = ask(sandbox, file, "pid", 1)
        spares = prepared(sandbox, 2) - {first}
        with pytest.raises(DecoderLost) as caught:
            sandbox.finish(sandbox.begin(file, b"killed", 1))
        assert caught.value.reason is Reason.STARVED
        until(lambda: not spares & decoders_of(sandbox))
        assert ask(sandbox, file, "pid", 2) not in {first, *spares}


def test_it_does_not_wait_for_the_zygote(sandbox: Sandbox, file: int) -> None:
    """Forking others and waiting for killed ones takes the zygote longer than a small picture."""
    first = ask(sandbox, file, "pid", 1)
    spares = prepared(sandbox, 1) - {first}
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    os.kill(zygote._process.pid, signal.SIGSTOP)
    sandbox.prepare(2)
    try:
        assert {ask(sandbox, file, "pid", 2)} == spares
    finally:
        os.kill(zygote._process.pid, signal.SIGCONT)
    until(lambda: not alive(first))
    assert ask(sandbox, file, "pid", 3) not in {first, *spares}


def test_a_lost_decoder_leaves_the_spare_ones(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid", 1)
    spares = prepared(sandbox, 1) - {first}
    with pytest.raises(DecoderLost) as caught:
        sandbox.finish(sandbox.begin(file, b"fault", 2))
    assert caught.value.reason is Reason.DECODER_DIED
    assert not spares & decoders_of(sandbox)
    assert ask(sandbox, file, "size", 2) == 1234


def test_they_end_with_their_zygote(sandbox: Sandbox, file: int) -> None:
    ask(sandbox, file, "size", 1)
    all_of_them = prepared(sandbox, 2)
    assert len(all_of_them) == 3
    zygote = sandbox._decoders._zygote
    assert zygote is not None
    os.kill(zygote._process.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, all_of_them)))
    assert ask(sandbox, file, "size", 2) == 1234


def test_they_end_with_the_sandbox(file: int) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Sandbox(PROGRAM, SandboxOptions("auto", seconds=100.0)) as sandbox:
        ask(sandbox, file, "size", 1)
        all_of_them = prepared(sandbox, 2)
    until(lambda: not any(map(alive, all_of_them)))
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_replaced_zygote_takes_its_spare_decoders_along(sandbox: Sandbox, file: int) -> None:
    ask(sandbox, file, "size", 1)
    spares = prepared(sandbox, 2)
    for number in range(DEATHS_PER_ZYGOTE):
        with pytest.raises(DecoderLost):
            sandbox.finish(sandbox.begin(file, b"exit 7", number + 2))
        sandbox.prepare(1)
    until(lambda: not any(map(alive, spares)))
    assert ask(sandbox, file, "size", 1) == 1234


def test_a_large_picture_gets_one_of_its_own(sandbox: Sandbox, file: int) -> None:
    first = ask(sandbox, file, "pid", 1)
    spares = prepared(sandbox, 1) - {first}
    begun = sandbox.begin(file, b"pid", 1, memory_bytes=1 << 29)
    large = REPLY.unpack(sandbox.finish(begun))[2]
    assert large not in {first, *spares}
    assert {ask(sandbox, file, "pid", 1)} == spares


def alive(pid: int) -> bool:
    """Return True if it runs; a zombie waits only for its parent or process 1."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(params=["auto", "off"])
def parking(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    options = SandboxOptions(request.param, memory_bytes=1 << 28, seconds=100.0, parked=2)
    with Sandbox(PROGRAM, options) as made:
        made.start()
        yield made


def test_owners_get_their_decoders_back(parking: Sandbox, file: int) -> None:
    first = {owner: ask(parking, file, "pid", owner) for owner in (1, 2, 3)}
    assert len(set(first.values())) == 3
    for owner in (1, 2, 3, 2, 1):
        assert ask(parking, file, "pid", owner) == first[owner]
    # A fourth takes the place of the one that was used least.
    fourth = ask(parking, file, "pid", 4)
    assert fourth not in first.values()
    until(lambda: first[3] not in decoders_of(parking))
    assert ask(parking, file, "pid", 1) == first[1]
    assert ask(parking, file, "pid", 3) not in {*first.values(), fourth}


def test_none_sees_files_of_two_owners(parking: Sandbox, file: int) -> None:
    counts = dict.fromkeys(range(1, 6), 0)
    before: dict[int, int] = {}
    for owner in (1, 2, 3, 4, 5, 5, 4, 1, 2, 2, 1, 3, 5, 1) * 2:
        pid = ask(parking, file, "pid", owner)
        counts[owner] = counts[owner] + 2 if before.get(owner) == pid else 2
        before[owner] = pid
        assert ask(parking, file, "others", owner) == counts[owner]


def test_one_that_is_set_aside_is_stopped(parking: Sandbox, file: int) -> None:
    first = ask(parking, file, "pid", 1)
    ask(parking, file, "size", 2)
    until(lambda: state_of(first) == "T")
    assert ask(parking, file, "pid", 1) == first


def test_a_fresh_one_is_fresh_all_the_same(parking: Sandbox, file: int) -> None:
    first = ask(parking, file, "pid", 1)
    second = ask(parking, file, "pid", 2)
    begun = parking.begin(file, b"pid", 1, fresh=True)
    fresh = REPLY.unpack(parking.finish(begun))[2]
    assert fresh not in {first, second}
    assert ask(parking, file, "pid", 1) == fresh


def test_one_that_dies_while_it_is_set_aside_costs_no_file(parking: Sandbox, file: int) -> None:
    first = ask(parking, file, "pid", 1)
    ask(parking, file, "size", 2)
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    assert ask(parking, file, "pid", 1) != first


def test_one_that_says_something_unasked_is_ended(file: int) -> None:
    with Sandbox(PROGRAM, SandboxOptions("off", seconds=100.0, parked=2)) as sandbox:
        first = ask(sandbox, file, "pid", 1)
        ask(sandbox, file, "twice a little later", 1)
        ask(sandbox, file, "size", 2)
        assert ask(sandbox, file, "size", 1) == 1234
        assert first not in {ask(sandbox, file, "pid", 2)}


@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_one_whose_owner_has_no_more_files_is_ended(
    parking: Sandbox, file: int, ends_by_itself: bool
) -> None:
    first = ask(parking, file, "pid", 1)
    prepared(parking, 1)
    if not ends_by_itself:
        os.kill(first, signal.SIGSTOP)  # as one that was taken over, and goes on
    parking.leave()
    parking.leave()
    second = ask(parking, file, "pid", 2)
    assert second != first
    until(lambda: not alive(first))
    parking.leave()
    parking.start()
    unused = prepared(parking, 1)
    parking.leave()
    assert ask(parking, file, "pid", 1) in unused - {first, second}


def test_many_owners_leave_no_process_behind(parking: Sandbox, file: int) -> None:
    for owner in range(30):
        ask(parking, file, "size", owner)
        if owner % 3 == 0:
            with pytest.raises(DecoderLost):
                parking.finish(parking.begin(file, b"fault", owner))
        ask(parking, file, "size", owner % 4)
    until(lambda: len(decoders_of(parking)) <= 3)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
