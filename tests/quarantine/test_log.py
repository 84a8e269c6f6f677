"""The log shows any change to it, by the number of the line."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import OutputError, UsageError
from hashscan.hash_chain import EMPTY, LogHead, parse_head
from hashscan.quarantine import system
from hashscan.quarantine.log import BrokenLogError, LogWriter, read_log
from tests.examples import examples


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("log")
    fill(folder, 6)
    return folder, (folder / "log.jsonl").read_bytes().splitlines(keepends=True)


def fill(folder: Path, number: int, start: int = 0) -> LogHead:
    with LogWriter(folder) as log:
        for place in range(start, start + number):
            log.append({"type": "x", "item": f"i{place}", "path": "/ä\n\x1b" * (place % 3)})
        log.sync()
        log.write_head()
        return log.head


def with_lines(folder: Path, lines: list[bytes], head: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_bytes(b"".join(lines))
    if head is not None:
        (folder / "head").write_text(head)
    return folder


def bad_line(folder: Path, known: LogHead | None = None) -> int:
    with pytest.raises(BrokenLogError) as caught:
        list(read_log(folder, None if known is None else {"a mail": known}))
    assert known is None or "says a mail" in str(caught.value)
    return caught.value.line


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert fill(tmp_path, 3) == fill(tmp_path, 0)
    head = fill(tmp_path, 2, 3)
    lines = list(read_log(tmp_path, {"a mail": head}))
    assert [line["item"] for line, _ in lines] == ["i0", "i1", "i2", "i3", "i4"]
    assert lines[-1][1] == head == parse_head(str(head))
    assert {os.stat(path).st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_named(written: tuple[Path, list[bytes]], data: st.DataObject) -> None:
    folder, lines = written
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[number][place]))
    changed = bytearray(lines[number])
    changed[place] = value
    spoilt = with_lines(
        folder / "spoilt",
        [*lines[:number], bytes(changed), *lines[number + 1 :]],
        (folder / "head").read_text(),
    )
    assert bad_line(spoilt) == number + 1


def test_changed_bytes_all_over_a_short_log_are_named(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    whole = (tmp_path / "log.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "log.jsonl").write_bytes(changed)
        assert bad_line(tmp_path) == (1 if place < first else 2)


def test_lines_removed_swapped_or_added_are_named(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    folder, lines = written
    head = (folder / "head").read_text()
    for number in range(len(lines)):
        assert bad_line(with_lines(tmp_path, lines[:number] + lines[number + 1 :], head)) == number + 1
        twice = [*lines[: number + 1], *lines[number:]]
        assert bad_line(with_lines(tmp_path, twice, head)) == number + 2
    for number in range(len(lines) - 1):
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        assert bad_line(with_lines(tmp_path, swapped, head)) == number + 1


def test_a_cut_tail_is_missed_by_either_head(written: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    folder, lines = written
    kept = (folder / "head").read_text()
    for left in range(len(lines)):
        assert bad_line(with_lines(tmp_path, lines[:left], kept)) == left + 1
        # Whoever cuts it may set the head beside it back, too; not the one that is kept elsewhere.
        heads = [EMPTY, *(head for _, head in read_log(folder))]
        cut = with_lines(tmp_path, lines[:left], f"{heads[left]}\n")
        assert len(list(read_log(cut))) == left
        assert bad_line(cut, parse_head(kept)) == left + 1


def test_a_log_written_anew_does_not_pass_by_an_old_head(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old = fill(tmp_path / "a", 4)
    fill(tmp_path / "b", 6, 1)
    assert bad_line(tmp_path / "b", old) == 4


def test_a_torn_line_after_the_head_is_cut_off(tmp_path: Path) -> None:
    head = fill(tmp_path, 3)
    for torn in (b"{", b"x" * 10_000):
        with (tmp_path / "log.jsonl").open("ab") as stream:
            stream.write(torn)
        assert len(list(read_log(tmp_path, {"a mail": head}))) == 3
        assert fill(tmp_path, 0) == head
        assert (tmp_path / "log.jsonl").read_bytes().endswith(b'"}\n')
    fill(tmp_path, 1, 3)
    assert len(list(read_log(tmp_path))) == 4


def test_a_line_that_finds_no_space_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 2)
    with LogWriter(tmp_path) as log:

        def full(descriptor: int, data: bytes | memoryview) -> None:
            os.write(descriptor, data[:20])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(system, "write", full)
            with pytest.raises(OutputError, match="No space"):
                log.append({"type": "x"})
        log.append({"type": "y"})
        log.write_head()
    assert [line["type"] for line, _ in read_log(tmp_path)] == ["x", "x", "y"]


def test_lines_after_the_head_count_once_they_are_whole(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    with LogWriter(tmp_path) as log:
        log.append({"type": "x"})
        head = log.head
    assert [h for _, h in read_log(tmp_path)][-1] == head
    assert (tmp_path / "head").read_text().startswith("2:")


@pytest.mark.parametrize("gone", ["head", "log.jsonl"])
def test_what_is_gone_is_not_begun_anew(tmp_path: Path, gone: str) -> None:
    fill(tmp_path, 2)
    (tmp_path / gone).unlink()
    with pytest.raises(OutputError):
        LogWriter(tmp_path)
    with pytest.raises(OutputError):
        list(read_log(tmp_path))


def test_a_log_whose_first_line_was_never_written_is_begun(tmp_path: Path) -> None:
    (tmp_path / "head").write_text(f"{EMPTY}\n")
    assert fill(tmp_path, 1).count == 1


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "log.jsonl").rename(tmp_path / "elsewhere")
    (tmp_path / "log.jsonl").symlink_to("elsewhere")
    with pytest.raises(OutputError):
        LogWriter(tmp_path)


@pytest.mark.parametrize("text", ["", "1", "1:", f"-1:{'0' * 64}", f"1:{'0' * 63}", f"1:{'G' * 64}", "x"])
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(UsageError):
        parse_head(text)


def test_lines_are_json_in_ascii(written: tuple[Path, list[bytes]]) -> None:
    for number, line in enumerate(written[1], start=1):
        assert line.isascii()
        assert json.loads(line)["n"] == number


@pytest.mark.parametrize("body", [b'{"type":"x"', b'{"n":1', b"[1]", b"\xff"], ids=repr)
def test_a_line_that_vouches_for_itself_alone_is_none(tmp_path: Path, body: bytes) -> None:
    line = body + b',"check":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    assert bad_line(with_lines(tmp_path, [line], f"{EMPTY}\n")) == 1
