"""Contract of every list format, by the registry and the examples of each."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashscan.errors import ListFormatError
from hashscan.lists.entries import entries_of_list, write_entries
from hashscan.lists.formats.base import derived_id
from hashscan.lists.store import ListStore
from hashscan.matching.policy import judge
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry, Match, Verdict
from hashscan.registry import LIST_FORMATS, LIST_WRITERS
from tests.examples import examples
from tests.lists.builders import NOW, some_entries
from tests.lists.formats.examples import EXAMPLES, IMAGE, MD5, MEDIUM, NCMEC, SHA256, VICS
from tests.lists.formats.reading import new, read

GOOD = [(name, text, kinds) for name, examples in EXAMPLES.items() for text, kinds in examples.good]
BAD = [(name, text, place) for name, examples in EXAMPLES.items() for text, place in examples.bad]


def refusal(name: str, data: bytes) -> str | None:
    try:
        read(name, data)
    except ListFormatError as error:
        return str(error)
    return None


def test_every_format_has_examples() -> None:
    assert set(EXAMPLES) == set(LIST_FORMATS)


@pytest.mark.parametrize(("name", "text", "kinds"), GOOD)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_good_documents(
    name: str, text: str, kinds: list[tuple[str, str]], bom: bytes, line_end: str
) -> None:
    entries = read(name, bom + text.replace("\n", line_end).encode())
    assert [(entry.algorithm, entry.category) for entry in entries] == kinds
    said: dict[str, Entry] = {}
    for entry in entries:
        assert len(entry.value) == ALGORITHMS[entry.algorithm].size
        assert len(entry.id) <= ENTRY_ID_MAX
        assert said.setdefault(entry.id, entry) == entry, "one id has one entry"
        assert entry.value.hex() not in entry.id


@pytest.mark.parametrize(("name", "text", "place"), BAD)
def test_the_place_of_a_fault_is_reported_and_no_value(name: str, text: str, place: int) -> None:
    with pytest.raises(ListFormatError) as caught:
        read(name, text.encode())
    message = f"{caught.value} {caught.value.remedy}"
    assert message.startswith(f"file, {LIST_FORMATS[name].unit} {place}: ")
    assert MD5.lower() not in message.lower()
    assert "nothing was imported" in message


@pytest.mark.parametrize("name", LIST_FORMATS)
@given(data=st.data(), junk=st.binary(max_size=200))
@example(data=None, junk=b"\0").via("a NUL")
@example(data=None, junk=b"\xff\xfe").via("no UTF-8")
@settings(deadline=None, max_examples=examples(60))
def test_any_bytes_give_entries_or_the_one_kind_of_error(
    name: str, data: st.DataObject | None, junk: bytes
) -> None:
    good = EXAMPLES[name].good[0][0].encode()
    at = data.draw(st.integers(0, len(good))) if data else len(good) // 2
    for document in (
        junk,
        good + junk,
        good[:at] + junk + good[at:],
        good[:at] + junk + good[at + len(junk) :],
    ):
        message = refusal(name, document)
        assert message is None or (
            message.startswith("file, ") and message.isascii() and message.isprintable()
        )


@pytest.mark.parametrize("name", LIST_FORMATS)
def test_a_document_cut_anywhere(name: str) -> None:
    good = EXAMPLES[name].good[0][0].encode()
    whole = read(name, good)
    for end in range(len(good)):
        try:
            entries = read(name, good[:end])
        except ListFormatError:
            continue
        assert not EXAMPLES[name].quits, f"cut after {end} bytes and not noticed"
        assert len(entries) <= len(whole)


@pytest.mark.parametrize(("name", "text", "kinds"), [row for row in GOOD if row[2]])
@pytest.mark.parametrize("writer", ["csv", "ndjson"])
def test_round_trip(
    store: ListStore, tmp_path: Path, name: str, text: str, kinds: object, writer: str
) -> None:
    store.import_entries("one", read(name, text.encode()), "file")
    output = tmp_path / "out"
    with store.open(["one"], NOW) as opened:
        write_entries(entries_of_list(opened.handles[0]), LIST_WRITERS[writer]("one"), output)
    assert output.stat().st_mode & 0o777 == 0o600
    assert set(read(writer, output.read_bytes())) == set(read(name, text.encode()))


@pytest.mark.parametrize(("name", "text", "kinds"), [row for row in GOOD if row[2]])
def test_round_trip_through_clamav(
    store: ListStore, tmp_path: Path, name: str, text: str, kinds: object
) -> None:
    store.import_entries("one", new(name).blocks(io.BytesIO(text.encode()), "file"), "file")
    with store.open(["one"], NOW) as opened:
        write_entries(entries_of_list(opened.handles[0]), LIST_WRITERS["hsb"]("one"), tmp_path / "out")
    kept = {
        (entry.algorithm, entry.value)
        for entry in read(name, text.encode())
        if entry.algorithm in ("sha1", "sha256") and entry.category in ("baseline", "A1", "A2", "B1", "B2")
    }
    back = read("hsb", (tmp_path / "out").read_bytes())
    assert {(entry.algorithm, entry.value) for entry in back} == kept
    assert {entry.category for entry in back} <= {"B2"}


def test_ids() -> None:
    long = read("vics", (VICS % MEDIUM.replace("7", f'"{"x" * 90}"', 1)).encode())
    assert all(len(entry.id) <= ENTRY_ID_MAX for entry in long)
    assert read("vics", (VICS % MEDIUM).encode())[0].id == "7:md5"
    assert read("ncmec", (NCMEC % IMAGE).encode())[0].id == "4/i1:md5"
    assert derived_id("md5", "A1", MD5) == derived_id("md5", "A1", MD5.lower())
    assert len({derived_id("md5", category, MD5) for category in CATEGORIES}) == len(CATEGORIES)


def test_an_id_given_twice_imports_nothing(store: ListStore) -> None:
    twice = (VICS % f"{MEDIUM},{MEDIUM.replace('012345', '999999')}").encode()
    message = "^file, record 2: the id '7:(md5|sha1)' was given to a different entry on record 1$"
    with pytest.raises(ListFormatError, match=message):
        store.import_entries("one", new("vics").blocks(io.BytesIO(twice), "file"), "file")
    assert store.names() == ()


def test_a_category_must_be_given_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="category"):
        LIST_FORMATS["pdq"]()
    with pytest.raises(ValueError, match="category"):
        LIST_FORMATS["vics"]("A1")


def test_the_graver_of_two_categories_decides_and_other_alone_is_for_review() -> None:
    other, grave = (Match("l", f"e{c}", "md5", c, 0, 0) for c in ("other", "A1"))
    assert judge([other, grave], None)[0] is Verdict.MATCH
    assert judge([other], None)[0] is Verdict.REVIEW


def test_what_is_left_out_is_counted() -> None:
    reader = new("vics")
    list(reader.blocks(io.BytesIO((VICS % MEDIUM.replace('"Category":1', '"Category":4')).encode()), "file"))
    assert sum(reader.left_out.values()) == 1
    writer = LIST_WRITERS["hsb"]("l")
    entries = some_entries(24, algorithms=sorted(ALGORITHMS), categories=CATEGORIES)
    lines = list(writer.lines(entries))
    assert len(lines) + sum(writer.left_out.values()) == 24
    assert not any(b"known-good" in line or b".other." in line for line in lines)


def test_brackets_across_chunks_and_in_strings() -> None:
    odd = MEDIUM.replace('"IsX"', '"N":"[[{{\\\\","M":"\\"[[","IsX"')
    assert (
        len(read("vics", (VICS % ",".join(odd.replace("7", str(n), 1) for n in range(2000))).encode()))
        == 6000
    )


@pytest.mark.slow
def test_clamscan_finds_what_is_exported(store: ListStore, tmp_path: Path) -> None:
    if shutil.which("clamscan") is None:
        pytest.skip("clamscan is not installed")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "listed").write_bytes(b"a harmless file")
    (tmp_path / "files" / "free").write_bytes(b"another")
    sums = subprocess.run(
        ["sha256sum", tmp_path / "files" / "listed"], capture_output=True, check=True
    ).stdout
    store.import_entries("one", read("checksums", sums), "file")
    with store.open(["one"], NOW) as opened:
        write_entries(entries_of_list(opened.handles[0]), LIST_WRITERS["hsb"]("one"), tmp_path / "one.hsb")
    ran = subprocess.run(
        ["clamscan", "--no-summary", "-i", "-d", tmp_path / "one.hsb", tmp_path / "files"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert len(ran.stdout.splitlines()) == 1
    assert "/listed: hashscan.one.B2." in ran.stdout


@pytest.mark.slow
def test_a_large_vics_file_is_imported_in_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("w") as out:
        out.write('{"@odata.context":"x#Media","value":[')
        for number in range(900_000):
            out.write("," if number else "")
            out.write(
                f'{{"MediaID":{number},"Category":1,"MD5":"{number:032X}","SHA1":"{number:040X}",'
                f'"MediaSize":{number},"VictimIdentified":"false","Series":"","IsDistributed":"True",'
                f'"FilePath":"{SHA256}"}}'
            )
        out.write("]}")
    assert file.stat().st_size > 200_000_000
    script = (
        "import pathlib, re, sys; from hashscan.cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        # What getrusage says includes what its parent had when it was forked.
        "print(code, re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    command: list[str | Path] = ["lists", "import", file, "--format", "vics", "--name", "x"]
    command += ["--state", tmp_path / "state"]
    ran = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    code, peak = map(int, ran.stdout.split())
    assert code == 0, ran.stderr
    assert "1800000 entries" in ran.stderr
    assert peak < 150_000, f"{peak} KiB"
