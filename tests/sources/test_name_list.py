"""Lists of names from files and from pipes, with either separator."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.errors import OutputError, UsageError
from hashscan.sources.name_list import LONGEST, NO_NAME_YET, NameList

plain = st.binary(min_size=1, max_size=30).filter(lambda name: b"\n" not in name and b"\0" not in name)
odd = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)


def read(path: Path) -> list[bytes]:
    with NameList(path) as names:
        found = [name for name in names.names() if name != NO_NAME_YET]
        assert names.count == len(found)
        return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(plain, max_size=20), st.booleans())
def test_lines(tmp_path: Path, names: list[bytes], ended: bool) -> None:
    (tmp_path / "names").write_bytes(b"\n".join(names) + b"\n" * ended)
    assert read(tmp_path / "names") == names


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(odd, min_size=1, max_size=20))
def test_nul_keeps_newlines_in_names(tmp_path: Path, names: list[bytes]) -> None:
    (tmp_path / "names").write_bytes(b"".join(name + b"\0" for name in names))
    assert read(tmp_path / "names") == names


def test_a_newline_first_and_a_nul_later(tmp_path: Path) -> None:
    """The first name may hold the only newlines, and be long."""
    first = b"a\nb/" + b"x" * 500_000
    (tmp_path / "names").write_bytes(first + b"\0c\0")
    assert read(tmp_path / "names") == [first, b"c"]


def test_empty_names_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"a\n\n\nb\n")
    assert read(tmp_path / "names") == [b"a", b"b"]
    (tmp_path / "names").write_bytes(b"")
    assert read(tmp_path / "names") == []


def test_a_newline_in_the_beginning_decides_nothing(tmp_path: Path) -> None:
    """It may be a stranger's name that begins so, and must not blind us to the others."""
    (tmp_path / "names").write_bytes(b"\nodd\0listed.jpg\0")
    assert read(tmp_path / "names") == [b"\nodd", b"listed.jpg"]
    long = b"\n" + b"x" * 500_000
    (tmp_path / "names").write_bytes(long + b"\0listed.jpg\0")
    assert read(tmp_path / "names") == [long, b"listed.jpg"]


def test_nul_in_the_beginning_decides_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names")
    held = os.open(tmp_path / "names", os.O_RDWR)
    with NameList(tmp_path / "names") as names:
        found = names.names()
        os.write(held, b"\0a\nb\0")
        assert next(n for n in found if n != NO_NAME_YET) == b"a\nb"
    os.close(held)


def test_a_pause_while_nothing_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names")
    held = os.open(tmp_path / "names", os.O_RDWR)
    with NameList(tmp_path / "names") as names:
        found = names.names()
        assert [next(found), next(found)] == [NO_NAME_YET, NO_NAME_YET]
        os.write(held, b"\0first\0sec")
        assert next(n for n in found if n != NO_NAME_YET) == b"first"
        assert next(found) == NO_NAME_YET
        os.write(held, b"ond\0")
        assert next(n for n in found if n != NO_NAME_YET) == b"second"
    os.close(held)


def test_pieces_of_any_size(tmp_path: Path) -> None:
    names = [b"n%d" % number for number in range(2000)]
    os.mkfifo(tmp_path / "names")

    def write() -> None:
        with open(tmp_path / "names", "wb", buffering=0) as stream:
            content = b"\n".join(names)
            for start in range(0, len(content), 97):
                stream.write(content[start : start + 97])

    writer = threading.Thread(target=write)
    writer.start()
    assert read(tmp_path / "names") == names
    writer.join()


def test_what_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"x" * (LONGEST + 1))
    with pytest.raises(UsageError, match=r"name 1 of the list .*names is longer"):
        read(tmp_path / "names")
    (tmp_path / "names").write_bytes(b"ok\n" + b"x" * (LONGEST + 1) + b"\nok\n")
    with pytest.raises(UsageError, match="name 2 of"):
        read(tmp_path / "names")
    (tmp_path / "names").write_bytes(b"x" * LONGEST)
    assert read(tmp_path / "names") == [b"x" * LONGEST]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["none", "folder"])
def test_what_can_not_be_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "names")
    with pytest.raises(UsageError, match="can't open the list of names"):
        NameList(tmp_path / "names")


def test_what_can_not_be_read_to_its_end() -> None:
    with NameList(Path("/proc/self/mem")) as names, pytest.raises(OutputError, match="can't read the list"):
        list(names.names())


_MILLIONS = """
import resource, sys
from pathlib import Path
from hashscan.sources.name_list import NameList
with NameList(Path("-")) as names:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    number = sum(1 for name in names.names() if name)
    print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_million_names_in_bounded_memory() -> None:
    made = subprocess.Popen(
        [sys.executable, "-c", "for n in range(10**6): print(f'/srv/uploads/{n % 1000}/{n}.jpg')"],
        stdout=subprocess.PIPE,
    )
    done = subprocess.run(
        [sys.executable, "-c", _MILLIONS], stdin=made.stdout, capture_output=True, text=True, check=True
    )
    made.wait()
    assert made.stdout is not None
    made.stdout.close()
    number, grown = map(int, done.stdout.split())
    assert number == 10**6
    # kB; the list has 28 MB.
    assert grown < 12_000
