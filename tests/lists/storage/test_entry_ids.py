from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.storage import entry_ids as ids_module
from hashscan.lists.storage.columns import EntryBlock
from hashscan.lists.storage.entry_ids import ConflictError, IdRegistry, Row, first_shared_id
from tests.examples import examples

IDS = st.lists(st.text("ab~ ", min_size=1, max_size=3).map(lambda text: f"x{text}x"), max_size=25)


def in_blocks(ids: list[str], length: int) -> list[NDArray[np.bytes_]]:
    """Blocks of ids, each as wide as its longest."""
    return [np.array([i.encode() for i in ids[at : at + length]]) for at in range(0, len(ids), length)]


@given(new=IDS, old=IDS, lengths=st.tuples(st.integers(1, 30), st.integers(1, 30)), run=st.integers(1, 9))
@settings(deadline=None, max_examples=examples(80))
def test_the_first_shared_id_is_found_whatever_the_widths(
    tmp_path_factory: pytest.TempPathFactory,
    new: list[str],
    old: list[str],
    lengths: tuple[int, int],
    run: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids_module, "_RUN", run)
        folder = tmp_path_factory.mktemp("shared")
        shared = first_shared_id(lambda: in_blocks(new, lengths[0]), in_blocks(old, lengths[1]), folder)
        assert not list(folder.iterdir())
    assert shared == next((entry_id for entry_id in new if entry_id in old), None)


def block_of(ids: list[str], values: list[int], algorithm: str, first: int) -> EntryBlock:
    return EntryBlock(
        algorithm,
        np.array([entry_id.encode() for entry_id in ids]),
        np.array([value % 2 for value in values], dtype=np.uint8),
        np.array([[value // 2] * {"md5": 16, "sha1": 20}[algorithm] for value in values], dtype=np.uint8),
        np.arange(first, first + len(ids)),
    )


@given(
    notes=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3), st.sampled_from(["md5", "sha1"])),
        max_size=12,
    ),
    run=st.integers(1, 5),
)
@settings(deadline=None, max_examples=examples(120))
def test_repeats_and_the_first_conflict(
    tmp_path_factory: pytest.TempPathFactory, notes: list[tuple[str, int, str]], run: int
) -> None:
    said: dict[str, tuple[int, tuple[int, str]]] = {}
    rows: dict[str, list[bool]] = {}
    conflict = None
    last: dict[str, Row] = {}
    for place, (entry_id, value, algorithm) in enumerate(notes, start=1):
        flags = rows.setdefault(algorithm, [])
        row = Row(algorithm, len(flags), place)
        flags.append(entry_id in said)
        if said.setdefault(entry_id, (place, (value, algorithm)))[1] != (value, algorithm):
            conflict = conflict or (last[entry_id], row)
        last[entry_id] = row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids_module, "_RUN", run)
        ledger = IdRegistry(tmp_path_factory.mktemp("ledger"))
        for place, (entry_id, value, algorithm) in enumerate(notes, start=1):
            ledger.note(block_of([entry_id], [value], algorithm, place))
        if conflict:
            with pytest.raises(ConflictError) as caught:
                ledger.repeats()
            assert (caught.value.first, caught.value.second) == conflict
        else:
            repeats = ledger.repeats()
            assert {name: flags.tolist() for name, flags in repeats.items()} == {
                name: flags for name, flags in rows.items() if any(flags)
            }
        ledger.close()


def test_ids_that_differ_anywhere_have_other_fingerprints(tmp_path: Path) -> None:
    """Also those that a hash of fewer bits under a key of odd numbers would confuse."""
    base = np.full(64, ord("a"), dtype=np.uint8)
    made = [base]
    for octet in range(64):
        for bit in range(7):
            other = base.copy()
            other[octet] ^= 1 << bit
            made.append(other)
    # Only the highest letters of words differ, so that differences are multiples of large powers of two.
    for number in range(1 << 12):
        other = base.copy()
        for word in range(12):
            other[4 * word + 3] = ord("A") if number >> word & 1 else ord("a")
        made.append(other)
    ids = np.unique(np.stack(made).view("S64").ravel())
    half = len(ids) // 2
    assert first_shared_id(lambda: [ids[:half]], [ids[half:]], tmp_path) is None
    assert first_shared_id(lambda: [ids[:half]], [ids[half - 1 :]], tmp_path) == ids[half - 1].decode()


@pytest.mark.slow
def test_three_million_against_three_million_in_bounded_memory(tmp_path: Path) -> None:
    script = """if True:
        import re, sys, numpy as np
        from pathlib import Path
        from hashscan.lists.storage.entry_ids import first_shared_id
        def ids(first, count):
            for start in range(first, first + count, 1 << 16):
                numbers = np.arange(start, min(start + (1 << 16), first + count))
                yield np.strings.add(b"media:", numbers.astype("S12"))
        shared = first_shared_id(lambda: ids(0, 3_000_000), ids(2_999_999, 3_000_000), Path(sys.argv[1]))
        # What getrusage says includes what its parent had when it was forked.
        print(shared, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    """
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    shared, peak = ran.stdout.split()
    assert shared == "media:2999999"
    assert int(peak) < 120_000
