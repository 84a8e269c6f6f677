from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hashscan.lists.index import segments
from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.segments import WithoutWithdrawn, compile_segment, link_segment, open_segment
from tests.lists.index.build import brute_force, tuples, values_of

VALUES = values_of(np.random.default_rng(7), "near", 700, 32)
ASKED = VALUES[:20]
LIMITS = np.arange(20, dtype=np.int64)


def data_files(folder: Path, algorithm: str) -> list[Path]:
    return sorted(folder.glob(f"{algorithm}-*/*.npy"))


@pytest.mark.parametrize("algorithm", ["pdq", "sha256"])
@pytest.mark.parametrize("count", [1, 2, 700])
def test_what_was_compiled_is_found(tmp_path: Path, algorithm: str, count: int) -> None:
    compile_segment(tmp_path / "index", algorithm, VALUES[:count], "a 1")
    segment = open_segment(tmp_path / "index", algorithm, VALUES[:count], "a 1", thorough=True)
    limits = LIMITS if algorithm == "pdq" else LIMITS * 0
    assert tuples(segment.query(ASKED, LIMITS)) == brute_force(VALUES[:count], ASKED, limits)


def test_nothing_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="values"):
        compile_segment(tmp_path, "pdq", VALUES[:0], "a 1")


@pytest.mark.parametrize("algorithm", ["pdq", "sha256"])
def test_withdrawn_rows_are_never_found(tmp_path: Path, algorithm: str) -> None:
    compile_segment(tmp_path, algorithm, VALUES, "a 1")
    limits = np.full(20, 60)
    every = tuples(open_segment(tmp_path, algorithm, VALUES, "a 1").query(ASKED, limits))
    for gone in ([0], [0, 3, 5, 699], list(range(700))):
        withdrawn = np.array(gone, dtype=np.int64)
        segment = WithoutWithdrawn(open_segment(tmp_path, algorithm, VALUES, "a 1"), withdrawn)
        assert tuples(segment.query(ASKED, limits)) == [hit for hit in every if hit[1] not in gone]
    assert len(every) > 20 or algorithm == "sha256"


def test_withdrawn_vectors_are_never_found(tmp_path: Path) -> None:
    values = values_of(np.random.default_rng(7), "few bits", 700, 144)
    compile_segment(tmp_path, "photodna", values, "a 1")
    segment = open_segment(tmp_path, "photodna", values, "a 1", thorough=True)
    limits = np.full(20, 600_000)
    every = tuples(segment.query(values[:20], limits))
    assert len(every) > 20
    found = WithoutWithdrawn(segment, np.array([0, 699])).query(values[:20], limits)
    assert tuples(found) == [hit for hit in every if hit[1] not in {0, 699}]


def test_a_shared_segment_outlives_the_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    compile_segment(first, "pdq", VALUES, "a 1")
    link_segment(first, second, "pdq")
    before = tuples(open_segment(second, "pdq", VALUES, "a 1", thorough=True).query(ASKED, LIMITS))
    links = {path.stat().st_nlink for path in second.glob("pdq-*/*.npy")}
    assert links == {2}
    data_files(second, "pdq")[0].unlink()
    compile_segment(second, "pdq", VALUES, "a 1")
    open_segment(first, "pdq", VALUES, "a 1", thorough=True)
    shutil.rmtree(first)
    assert tuples(open_segment(second, "pdq", VALUES, "a 1", thorough=True).query(ASKED, LIMITS)) == before


@pytest.mark.parametrize("header", [b"{", b'{"data": "pdq-/../x"}', b'{"data": 1}'])
def test_a_damaged_header_is_not_shared(tmp_path: Path, header: bytes) -> None:
    compile_segment(tmp_path / "first", "pdq", VALUES, "a 1")
    (tmp_path / "first" / "pdq.json").write_bytes(header)
    with pytest.raises(DamagedIndexError):
        link_segment(tmp_path / "first", tmp_path / "second", "pdq")


def other_format(folder: Path) -> None:
    header = json.loads((folder / "pdq.json").read_text())
    header["format"] += 1
    (folder / "pdq.json").write_text(json.dumps(header))


def other_place(folder: Path) -> None:
    header = json.loads((folder / "pdq.json").read_text())
    header["data"] = "pdq-/../../elsewhere"
    (folder / "pdq.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    "spoil",
    [
        other_format,
        other_place,
        lambda folder: (folder / "pdq.json").write_bytes(b"{"),
        lambda folder: (folder / "pdq.json").write_bytes(b"[]"),
        lambda folder: (folder / "pdq.json").write_bytes(b"\xff" * 200_000),
        lambda folder: data_files(folder, "pdq")[0].write_bytes(b""),
        lambda folder: os.truncate(data_files(folder, "pdq")[1], 1000),
        lambda folder: data_files(folder, "pdq")[2].write_bytes(data_files(folder, "pdq")[0].read_bytes()),
    ],
)
def test_a_damaged_segment_is_refused_and_can_be_compiled_again(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    compile_segment(tmp_path, "pdq", VALUES, "a 1")
    spoil(tmp_path)
    with pytest.raises(DamagedIndexError):
        open_segment(tmp_path, "pdq", VALUES, "a 1")
    compile_segment(tmp_path, "pdq", VALUES, "a 1")
    open_segment(tmp_path, "pdq", VALUES, "a 1", thorough=True)
    assert len(list(tmp_path.glob("pdq-*"))) == 1


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_flipped_bit_is_found_by_a_thorough_look(tmp_path: Path, column: int) -> None:
    compile_segment(tmp_path, "pdq", VALUES, "a 1")
    path = data_files(tmp_path, "pdq")[column]
    data = bytearray(path.read_bytes())
    data[-1000] ^= 4
    path.write_bytes(data)
    open_segment(tmp_path, "pdq", VALUES, "a 1")
    with pytest.raises(DamagedIndexError, match="has changed"):
        open_segment(tmp_path, "pdq", VALUES, "a 1", thorough=True)


def test_another_version_or_other_values_are_refused(tmp_path: Path) -> None:
    compile_segment(tmp_path, "pdq", VALUES, "a 1")
    with pytest.raises(DamagedIndexError):
        open_segment(tmp_path, "pdq", VALUES, "a 2")
    with pytest.raises(DamagedIndexError):
        open_segment(tmp_path, "pdq", VALUES[:-1], "a 1")
    with pytest.raises(FileNotFoundError):
        open_segment(tmp_path, "phash", VALUES, "a 1")


NO_ROOM = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hashscan.lists.index.segments import compile_segment
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
values = np.random.default_rng(0).integers(0, 256, (50_000, 32), dtype=np.uint8)
try:
    compile_segment(Path(sys.argv[1]), "pdq", values, "a 1")
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.integration
def test_without_room_the_old_segment_stands(tmp_path: Path) -> None:
    compile_segment(tmp_path, "pdq", VALUES, "a 1")
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    open_segment(tmp_path, "pdq", VALUES, "a 1", thorough=True)
    assert len(list(tmp_path.glob("pdq-*"))) == 1


READER = """
import sys, time
from pathlib import Path
import numpy as np
from hashscan.lists.index.segments import open_segment
values = np.load(sys.argv[2], allow_pickle=False)
limits = np.full(20, 9)
answers, opened, end = set(), 0, time.monotonic() + 1
while time.monotonic() < end or opened <= 5:
    hits = open_segment(Path(sys.argv[1]), "pdq", values, "a 1").query(values[:20], limits)
    answers.add(tuple(hits[1].tolist()))
    opened += 1
print(len(answers))
"""


@pytest.mark.integration
def test_two_open_while_a_third_replaces(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    np.save(tmp_path / "values.npy", VALUES)
    compile_segment(folder, "pdq", VALUES, "a 1")
    command = [sys.executable, "-c", READER, str(folder), str(tmp_path / "values.npy")]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    replaced = 0
    while replaced <= 5 or any(reader.poll() is None for reader in readers):
        compile_segment(folder, "pdq", VALUES, "a 1")
        replaced += 1
    assert [reader.communicate()[0] for reader in readers] == ["1\n"] * 2


def test_nothing_is_left_of_a_failed_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments, "checksum", full)
    with pytest.raises(OSError, match="No space"):
        compile_segment(tmp_path, "pdq", VALUES, "a 1")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
