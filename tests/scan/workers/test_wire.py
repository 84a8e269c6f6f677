"""Messages between the processes of a pool arrive as they were sent."""

from __future__ import annotations

import pickle

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.model import (
    Batch,
    BatchResult,
    Digest,
    FileResult,
    FileStat,
    Item,
    Match,
    Picture,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.scan.workers.wire import pack_batch, pack_results, unpack_batch, unpack_results

numbers = st.integers(-(2**70), 2**70)
names = st.binary(min_size=1, max_size=20)
stats = st.builds(FileStat, *([numbers] * 7))
items = st.builds(Item, names, stats, *([st.text(max_size=3)] * 3))
batches = st.builds(
    Batch,
    st.just("file"),
    names,
    st.binary(max_size=20),
    numbers,
    numbers,
    st.lists(items, max_size=3).map(tuple),
)
matches = st.builds(
    Match, st.just("list"), st.just("id"), st.just("pdq"), st.just("A1"), st.integers(0, 31), st.just(31)
)
outcomes = st.one_of(
    st.builds(FileResult, names, stats, st.just(Verdict.CLEAN)),
    st.builds(
        FileResult,
        names,
        stats,
        st.sampled_from(Verdict),
        st.sampled_from([None, *Reason]),
        st.text(max_size=5),
        st.text(max_size=5),
        st.lists(matches, max_size=2).map(tuple),
        st.lists(st.builds(Digest, st.just("md5"), names), max_size=2).map(tuple),
        st.sampled_from([None, Picture("JPEG", 2, 3)]),
        st.booleans(),
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches)
def test_a_batch_arrives(batch: Batch) -> None:
    arrived = unpack_batch(pickle.loads(pickle.dumps(pack_batch(batch))))
    assert arrived == batch
    assert all(type(item.stat) is FileStat for item in arrived.items)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches, st.data())
def test_an_answer_arrives(batch: Batch, data: st.DataObject) -> None:
    plain = [FileResult(item.name, item.stat, Verdict.CLEAN) for item in batch.items]
    results = tuple(data.draw(st.one_of(st.just(result), outcomes)) for result in plain)
    sandbox = data.draw(st.sampled_from([None, SandboxLevel("auto", 3, seccomp=True)]))
    deferred = data.draw(st.sampled_from([(), ((0, 15 << 40),)]))
    read, holes = data.draw(st.integers(0, 2**63)), data.draw(st.integers(0, 2**63))
    answer = BatchResult(results, read, sandbox, deferred=deferred, hole_bytes=holes)
    assert unpack_results(batch, pickle.loads(pickle.dumps(pack_results(batch, answer)))) == answer


def test_clean_files_take_a_byte_or_two() -> None:
    listed = tuple(Item(b"%d" % number, FileStat(1, number, 2, 3, 4, 1, 0)) for number in range(64))
    batch = Batch("file", b"/t", b"", 1, 2, listed)
    answer = BatchResult(tuple(FileResult(item.name, item.stat, Verdict.CLEAN) for item in listed), 128)
    assert len(pickle.dumps(pack_results(batch, answer))) < 2 * 64 + 64
