"""The table of answers, alone and between processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.locking import record_locked
from hashscan.scan.workers.decode_cache import DecodeCache
from tests.examples import examples


@pytest.fixture
def decode_cache() -> Iterator[DecodeCache]:
    with DecodeCache() as table:
        yield table


def content(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_an_answer_is_kept_for_its_owner_and_content_only(decode_cache: DecodeCache) -> None:
    decode_cache.put(1000, content(1), b"one")
    assert decode_cache.get(1000, content(1)) == b"one"
    assert decode_cache.get(1001, content(1)) is None
    assert decode_cache.get(1000, content(2)) is None


def test_the_latest_answer_counts(decode_cache: DecodeCache) -> None:
    decode_cache.put(0, content(1), b"first")
    decode_cache.put(0, content(1), b"second")
    assert decode_cache.get(0, content(1)) == b"second"


def test_a_trait_is_met_from_the_second_time_on(decode_cache: DecodeCache) -> None:
    traits = [b"trait %d" % number for number in range(1000)]
    assert sum(decode_cache.seen_before(trait) for trait in traits) < 5
    assert sum(decode_cache.seen_before(trait) for trait in traits) > 990


def test_the_newest_answers_are_kept_in_little_memory() -> None:
    with DecodeCache(ring_bytes=64 * 1024) as table:
        for number in range(5000):
            table.put(7, content(number), b"%d" % number * 100)
        kept = [number for number in range(5000) if table.get(7, content(number)) is not None]
        assert kept == list(range(kept[0], 5000))
        assert len(kept) > 64 * 1024 / 600
        assert all(table.get(7, content(number)) == b"%d" % number * 100 for number in kept)
        table.put(7, content(1), bytes(64 * 1024))
        assert table.get(7, content(1)) is None
        assert table.get(7, content(4999)) is not None


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.binary(max_size=900)), max_size=60))
def test_whatever_is_recalled_was_kept_last(steps: list[tuple[int, int, bytes]]) -> None:
    known: dict[tuple[int, int], bytes] = {}
    with DecodeCache(ring_bytes=8 * 1024) as table:
        for owner, number, answer in steps:
            table.put(owner, content(number), answer)
            known[owner, number] = answer
            for (whose, which), expected in known.items():
                assert table.get(whose, content(which)) in (expected, None)
            assert table.get(owner, content(number)) == answer


def test_what_is_half_written_is_not_believed(decode_cache: DecodeCache) -> None:
    decode_cache.put(0, content(1), b"a" * 500)
    start = decode_cache._memory.find(b"a" * 500)
    decode_cache._memory[start + 250 : start + 300] = b"b" * 50
    assert decode_cache.get(0, content(1)) is None


def test_any_state_of_the_table_is_survived(decode_cache: DecodeCache) -> None:
    """A worker that was killed may leave anything."""
    decode_cache.put(0, content(1), b"a" * 500)
    decode_cache._memory[:] = b"\xff" * len(decode_cache._memory)
    assert decode_cache.get(0, content(1)) is None
    decode_cache.put(0, content(1), b"again")
    assert decode_cache.get(0, content(1)) == b"again"


def test_without_a_shared_file_each_has_its_own_table() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
        table = DecodeCache()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    with table, pickle.loads(pickle.dumps(table)) as other:
        for one in (table, other):
            assert one.get(1, content(1)) is None
            one.put(1, content(1), b"one")
            assert one.get(1, content(1)) == b"one"


def _other_process(table: DecodeCache, connection: Connection) -> None:
    table.put(1, content(2), b"from the other")
    connection.send(table.get(1, content(1)))
    with record_locked(table._descriptor):
        connection.send(None)
        signal.pause()


def test_processes_share_it_and_one_that_is_killed_leaves_it_usable(decode_cache: DecodeCache) -> None:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    decode_cache.put(1, content(1), b"from this one")
    process = context.Process(target=_other_process, args=(decode_cache, theirs))
    process.start()
    assert ours.recv() == b"from this one"
    ours.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert decode_cache.get(1, content(2)) == b"from the other"
    decode_cache.put(1, content(3), b"after")
    assert decode_cache.get(1, content(3)) == b"after"
