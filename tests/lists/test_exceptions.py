from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import LockedError, OutputError, UsageError
from hashscan.lists.exceptions import (
    FILE,
    REASON_MAX,
    Exceptions,
    add_content,
    add_exception,
    exceptions_at,
    fingerprint,
    in_force,
    made_content_exception,
    made_exception,
    read_contents,
    read_exceptions,
    remove_content,
    remove_exception,
)
from hashscan.model import Entry, ExceptedContent, ExceptedEntry
from hashscan.state_dir import StateDir
from tests.lists.builders import NOW
from tests.test_locking import holder

ENTRY = Entry("e1", "sha256", bytes(32), "A1")
DAY = timedelta(days=1)


def made(
    list_name: str = "ours", entry_id: str = "e1", reason: str = "a logo", days: int = 1
) -> ExceptedEntry:
    entry = Entry(entry_id, "sha256", bytes(32), "A1")
    return made_exception(list_name, entry, reason, NOW + days * DAY, "root", NOW)


def file_of(state: Path) -> Path:
    return StateDir(state).exceptions / FILE


def test_without_a_file_nothing_is_excepted(tmp_path: Path) -> None:
    assert read_exceptions(StateDir(tmp_path / "none")) == ()
    assert exceptions_at(None, {"ours"}, NOW) == Exceptions()


def test_kept_replaced_and_removed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, other = made(), made("theirs", "e2")
    assert add_exception(StateDir(state), other) is None
    assert add_exception(StateDir(state), first) is None
    assert read_exceptions(StateDir(state)) == (first, other)
    longer = made(reason="still a logo", days=9)
    assert add_exception(StateDir(state), longer) == first
    assert read_exceptions(StateDir(state)) == (longer, other)
    assert remove_exception(StateDir(state), "e1", ()) == longer
    assert read_exceptions(StateDir(state)) == (other,)


def test_for_the_owner_alone_and_nothing_else_beside_it(tmp_path: Path) -> None:
    add_exception(StateDir(tmp_path / "state"), made())
    (StateDir(tmp_path / "state").exceptions / ".tmp-left").write_bytes(b"{")
    add_exception(StateDir(tmp_path / "state"), made("theirs"))
    assert {path.name for path in (StateDir(tmp_path / "state").exceptions).iterdir()} == {FILE, ".lock"}
    assert file_of(tmp_path / "state").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_the_value_is_not_kept(tmp_path: Path) -> None:
    value = bytes(range(32))
    excepted = made_exception("ours", Entry("e", "sha256", value, "A1"), "r", NOW + DAY, "root", NOW)
    add_exception(StateDir(tmp_path), excepted)
    assert value.hex() not in file_of(tmp_path).read_text()
    assert excepted.fingerprint == fingerprint("sha256", value)
    assert fingerprint("sha256", value) != fingerprint("pdq", value)


def test_only_what_concerns_the_lists_and_the_moment(tmp_path: Path) -> None:
    soon, late, theirs = made(), made(entry_id="e2", days=9), made("theirs")
    for excepted in (soon, late, theirs):
        add_exception(StateDir(tmp_path), excepted)
    assert exceptions_at(StateDir(tmp_path), {"ours"}, NOW) == Exceptions((soon, late), ())
    assert exceptions_at(StateDir(tmp_path), {"ours"}, NOW + 2 * DAY) == Exceptions((late,), (soon,))
    assert exceptions_at(StateDir(tmp_path), {"ours", "theirs"}, NOW + 10 * DAY) == Exceptions(
        (), (soon, late, theirs)
    )


def test_it_ends_at_its_moment() -> None:
    assert in_force(made(), NOW + DAY - timedelta(seconds=1))
    assert not in_force(made(), NOW + DAY)


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[31mred", "x" * (REASON_MAX + 1)])
def test_a_reason_is_demanded(reason: str) -> None:
    with pytest.raises(UsageError, match="reason"):
        made(reason=reason)


def test_what_to_remove_must_be_there_and_be_clear(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'e1' is not excepted"):
        remove_exception(StateDir(tmp_path), "e1", ())
    add_exception(StateDir(tmp_path), made())
    add_exception(StateDir(tmp_path), made("theirs"))
    with pytest.raises(UsageError, match="ours and theirs"):
        remove_exception(StateDir(tmp_path), "e1", ())
    with pytest.raises(UsageError, match="not excepted"):
        remove_exception(StateDir(tmp_path), "e1", ("others",))
    assert remove_exception(StateDir(tmp_path), "e1", ("theirs",)).list_name == "theirs"
    assert len(read_exceptions(StateDir(tmp_path))) == 1


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    add_exception(StateDir(tmp_path), made())
    process = holder(StateDir(tmp_path).exceptions / ".lock")
    try:
        with pytest.raises(LockedError, match="exceptions"):
            add_exception(StateDir(tmp_path), made("theirs"))
        assert len(read_exceptions(StateDir(tmp_path))) == 1, "readers don't wait"
    finally:
        process.kill()
        process.communicate()


def made_content(first: int = 0, days: int = 1) -> ExceptedContent:
    return made_content_exception(bytes([first]) * 32, "a logo", NOW + days * DAY, "root", NOW)


def test_contents_are_kept_beside_entries(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    entry, second, first = made(), made_content(2), made_content(1, days=9)
    assert add_exception(state, entry) is None
    before = file_of(tmp_path / "state").read_bytes()
    assert b"contents" not in before, "as versions that know no contents wrote it"
    assert add_content(state, second) is None
    assert add_content(state, first) is None
    assert (read_exceptions(state), read_contents(state)) == ((entry,), (first, second))
    assert exceptions_at(state, {"theirs"}, NOW + 2 * DAY) == Exceptions((), (), (first,), (second,))
    assert add_content(state, made_content(2, days=3)) == second
    assert remove_content(state, bytes([1]) * 32) == first
    with pytest.raises(UsageError):
        remove_content(state, bytes([1]) * 32)
    remove_content(state, bytes([2]) * 32)
    assert file_of(tmp_path / "state").read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("sha256", "0" * 63), ("sha256", "0" * 63 + "A"), ("reason", ""), ("reason", "\x1b"), ("until", "soon")],
)
def test_a_damaged_exception_of_a_content_is_refused(tmp_path: Path, field: str, value: str) -> None:
    state = StateDir(tmp_path)
    add_content(state, made_content())
    document = json.loads(file_of(tmp_path).read_bytes())
    document["contents"][0][field] = value
    file_of(tmp_path).write_text(json.dumps(document))
    with pytest.raises(OutputError):
        read_contents(state)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.clear(),
        lambda d: d.update(schema=2),
        lambda d: d.update(more=1),
        lambda d: d.pop("excepted"),
        lambda d: d.update(excepted={}),
        lambda d: d["excepted"].append(7),
        lambda d: d["excepted"].append(d["excepted"][0]),
        lambda d: d["excepted"][0].pop("reason"),
        lambda d: d["excepted"][0].update(more="x"),
        lambda d: d["excepted"][0].update(reason=""),
        lambda d: d["excepted"][0].update(reason="a\nb"),
        lambda d: d["excepted"][0].update(list_name="../x"),
        lambda d: d["excepted"][0].update(entry_id=""),
        lambda d: d["excepted"][0].update(entry_id=7),
        lambda d: d["excepted"][0].update(algorithm="crc32"),
        lambda d: d["excepted"][0].update(category="mine"),
        lambda d: d["excepted"][0].update(fingerprint="00"),
        lambda d: d["excepted"][0].update(until="never"),
        lambda d: d["excepted"][0].update(until="2999-1-1T0:0:0Z"),
        lambda d: d["excepted"][0].update(until="2999-02-30T00:00:00Z"),
    ],
)
def test_a_damaged_file_is_named_and_never_none(tmp_path: Path, change: Change) -> None:
    add_exception(StateDir(tmp_path), made())
    document = json.loads(file_of(tmp_path).read_bytes())
    change(document)
    refused(tmp_path, json.dumps(document).encode())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b"[" * 100_000, b"NaN"])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    add_exception(StateDir(tmp_path), made())
    refused(tmp_path, content)


def refused(state: Path, content: bytes) -> None:
    file_of(state).write_bytes(content)
    for use in (
        lambda: read_exceptions(StateDir(state)),
        lambda: exceptions_at(StateDir(state), {"ours"}, NOW),
        lambda: add_exception(StateDir(state), made("theirs")),
        lambda: remove_exception(StateDir(state), "e1", ()),
    ):
        with pytest.raises(OutputError, match="damaged") as caught:
            use()
        assert str(file_of(state)) in str(caught.value)
        assert "backup" in caught.value.remedy
    assert file_of(state).read_bytes() == content


def test_a_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    add_exception(StateDir(tmp_path), made())
    whole = file_of(tmp_path).read_bytes()
    for length in range(len(whole.rstrip())):
        file_of(tmp_path).write_bytes(whole[:length])
        with pytest.raises(OutputError):
            read_exceptions(StateDir(tmp_path))


def test_what_can_not_be_read_or_written_is_named(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir(parents=True)
    with pytest.raises(OutputError, match=FILE):
        read_exceptions(StateDir(tmp_path))
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OutputError, match="can't be written"):
        add_exception(StateDir(tmp_path / "taken"), made())


@given(
    st.dictionaries(
        st.sampled_from(["schema", "excepted"]), st.recursive(st.integers() | st.text(), st.lists), max_size=2
    )
)
def test_whatever_stands_there_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    state = tmp_path_factory.getbasetemp() / "whatever"
    os.makedirs(StateDir(state).exceptions, exist_ok=True)
    file_of(state).write_text(json.dumps({"schema": 1, **document}))
    if document.get("excepted") == [] and document.get("schema", 1) == 1:
        assert read_exceptions(StateDir(state)) == ()
    else:
        with pytest.raises(OutputError):
            read_exceptions(StateDir(state))
