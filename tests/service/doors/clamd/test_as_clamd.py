"""Compares our door with Debian's clamd: the same dialogues, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hashscan.settings.service import UnixAddress
from tests.service.doors.clamd.talking import (
    CLAMD,
    EICAR,
    END,
    Piece,
    chunk,
    clamd_door,
    real_clamd,
    stream,
    talk,
)
from tests.service.engine.serving import picture, run

pytestmark = pytest.mark.skipif(CLAMD is None, reason="clamd is not installed")

LIMIT = 1 << 20
PLANTED = picture(1)
R, W, P = os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY, os.O_PATH


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "clean").write_text("clean")
    (folder / "eicar").write_bytes(EICAR)
    (folder / "empty").touch()
    (folder / "planted.jpg").write_bytes(PLANTED)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "eicar").write_bytes(EICAR)
    (folder / "sub" / "deep" / "clean").write_text("x")
    (folder / "link").symlink_to("eicar")
    os.mkfifo(folder / "sub" / "fifo")
    return folder


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnixAddress]:
    """Start clamd, which knows the test file and the planted picture."""
    lines = (
        f"{hashlib.sha256(content).hexdigest()}:{len(content)}:{name}:73\n"
        for content, name in ((EICAR, "Eicar-Test-Signature"), (PLANTED, "planted"))
    )
    with real_clamd(tmp_path_factory.mktemp("clamd"), "".join(lines)) as address:
        yield address


def plain(reply: bytes, *, session: bool = False) -> bytes:
    """Return a reply without what may differ: names of what is found, versions, numbers of descriptors.

    Replies of a session may come in any order.
    """
    if session:
        reply = b"".join(sorted(re.split(rb"(?<=[\0\n])", reply)))
    reply = reply.replace(b".UNOFFICIAL", b"")
    reply = re.sub(rb"planted FOUND|hashscan\.Blocked-[0-9A-Z]+ FOUND", b"NAME FOUND", reply)
    reply = re.sub(rb"fd\[[0-9]+\]", b"fd[N]", reply)
    reply = re.sub(rb"ClamAV [^|\0\n]*", b"VERSION", reply)
    return re.sub(rb"COMMANDS: [A-Z ]+", b"COMMANDS", reply)


def dialogues(files: Path) -> dict[str, tuple[Piece, ...]]:
    """Return the dialogues, by a name that says what is tried; those that end with `half` close one side."""
    at = os.fsencode(files)
    z = b"zIDSESSION\0"
    return {
        "z": (b"zPING\0",),
        "n": (b"nPING\n",),
        "bare": (b"PING",),
        "bare line": (b"PING\n",),
        "bare CRLF": (b"PING\r\n",),
        "n CRLF": (b"nPING\r\n",),
        "n then one side closed, half": (b"nPING\n",),
        "in two": (b"zPI", 0.2, b"NG\0"),
        "nothing, half": (),
        "part, half": (b"zPI",),
        "part": (b"zPI",),
        "nothing": (),
        "n ended as z": (b"nPING\0",),
        "z ended as n": (b"zPING\n",),
        "n with NUL": (b"nPING\0\n",),
        "z with LF": (b"zPING\n\0",),
        "two without session": (b"zPING\0zVERSION\0",),
        "VERSION": (b"zVERSION\0",),
        "VERSION bare": (b"VERSION\n",),
        "VERSIONCOMMANDS": (b"nVERSIONCOMMANDS\n",),
        "VERSIONCOMMANDS bare": (b"VERSIONCOMMANDS",),
        "unknown z": (b"zFOO\0",),
        "unknown n": (b"nFOO\n",),
        "unknown bare": (b"FOO\n",),
        "lower case": (b"zping\0",),
        "empty z": (b"z\0",),
        "empty n": (b"n\n",),
        "LF": (b"\n",),
        "NUL": (b"\0",),
        "space before": (b"z PING\0",),
        "space after": (b"zPING \0",),
        "longer": (b"zPINGX\0",),
        "with argument": (b"zPING x\0",),
        "END without session": (b"zEND\0",),
        "SCAN without path": (b"zSCAN\0",),
        "SCAN clean": (b"zSCAN " + at + b"/clean\0",),
        "SCAN empty": (b"zSCAN " + at + b"/empty\0",),
        "SCAN eicar": (b"zSCAN " + at + b"/eicar\0",),
        "SCAN n": (b"nSCAN " + at + b"/eicar\n",),
        "SCAN bare": (b"SCAN " + at + b"/eicar",),
        "SCAN bare line": (b"SCAN " + at + b"/planted.jpg\n",),
        "SCAN folder": (b"zSCAN " + at + b"/sub\0",),
        "SCAN clean folder": (b"zSCAN " + at + b"/sub/deep\0",),
        "CONTSCAN clean folder with slash": (b"zCONTSCAN " + at + b"/sub/deep/\0",),
        "MULTISCAN clean folder": (b"nMULTISCAN " + at + b"/sub/deep\n",),
        "MULTISCAN file": (b"zMULTISCAN " + at + b"/eicar\0",),
        "ALLMATCHSCAN": (b"zALLMATCHSCAN " + at + b"/eicar\0",),
        "SCAN missing": (b"zSCAN " + at + b"/missing\0",),
        "CONTSCAN missing": (b"zCONTSCAN " + at + b"/missing\0",),
        "MULTISCAN missing": (b"nMULTISCAN " + at + b"/missing\n",),
        "SCAN doubled slash": (b"zSCAN " + at + b"//eicar\0",),
        "stream clean": (b"zINSTREAM\0" + stream(b"clean"),),
        "stream eicar": (b"nINSTREAM\n" + stream(EICAR),),
        "stream planted": (b"zINSTREAM\0" + stream(PLANTED),),
        "stream empty": (b"zINSTREAM\0" + END,),
        "stream bare": (b"INSTREAM\n", 0.1, stream(EICAR)),
        "stream in pieces": (
            b"zINSTREAM\0" + chunk(EICAR[:10]), 0.1, chunk(EICAR[10:]) + END[:2], 0.1, END[2:],
        ),
        "stream of bytes": (
            b"zINSTREAM\0" + b"".join(chunk(bytes([byte])) for byte in PLANTED[:3000]) + END,
        ),
        "stream announced too large": (b"zINSTREAM\0" + chunk(b"", 2 * LIMIT),),
        "stream announced huge": (b"nINSTREAM\n" + b"\xff\xff\xff\xff",),
        "stream in all too large": (b"zINSTREAM\0" + chunk(bytes(LIMIT - 1)) + chunk(b"yyy") + END,),
        "stream of the limit": (b"zINSTREAM\0" + stream(bytes(LIMIT)),),
        "stream stalls": (b"zINSTREAM\0" + chunk(b"x", 20),),
        "stream stalls in a length": (b"zINSTREAM\0\0\0",),
        "stream ends early, half": (b"zINSTREAM\0" + chunk(b"x", 20),),
        "stream without its end, half": (b"zINSTREAM\0" + chunk(EICAR),),
        "after a stream": (b"zINSTREAM\0" + stream(EICAR) + b"zPING\0",),
        "session": (z + b"zPING\0zEND\0",),
        "session n": (b"nIDSESSION\nnPING\nnEND\n",),
        "session mixed": (z, b"nPING\n", 0.2, b"zVERSION\0", 0.2, b"zEND\0"),
        "session mixed the other way": (b"nIDSESSION\n", b"zPING\0", 0.2, b"nVERSION\n", 0.2, b"nEND\n"),
        "session bare": (b"IDSESSION\n",),
        "session with bare command": (z + b"PING\n",),
        "session idle": (z,),
        "session idle later": (z + b"zPING\0",),
        "session part": (z + b"zPI",),
        "session closed, half": (z + b"zPING\0",),
        "session twice": (z + z,),
        "session unknown": (z + b"zFOO\0",),
        "session CONTSCAN": (z + b"zCONTSCAN " + at + b"\0",),
        "session MULTISCAN": (z + b"zMULTISCAN " + at + b"\0",),
        "session RELOAD": (z + b"zRELOAD\0",),
        "session streams": (
            z + b"zINSTREAM\0" + stream(EICAR), 0.3, b"zINSTREAM\0" + stream(b"clean"), 0.3, b"zEND\0",
        ),
        "session SCAN": (
            z + b"zSCAN " + at + b"/eicar\0", 0.3, b"zSCAN " + at + b"/missing\0", 0.3, b"zEND\0",
        ),
        "session stream too large": (z + b"zINSTREAM\0" + chunk(b"", 2 * LIMIT),),
        "descriptor": (b"zFILDES\0", (b"\0", [(files / "eicar", R)])),
        "descriptor n": (b"nFILDES\n", (b"\0", [(files / "planted.jpg", R)])),
        "descriptor bare": (b"FILDES\n", (b"\0", [(files / "clean", R)])),
        "no descriptor": (b"zFILDES\0\0",),
        "two descriptors": (b"zFILDES\0", (b"\0", [(files / "clean", R), (files / "eicar", R)])),
        "descriptor of a folder": (b"zFILDES\0", (b"\0", [(files, R)])),
        "descriptor of a FIFO": (b"zFILDES\0", (b"\0", [(files / "sub" / "fifo", R)])),
        "descriptor of a device": (b"zFILDES\0", (b"\0", [(Path("/dev/null"), R)])),
        "session descriptors": (
            z + b"zFILDES\0", (b"\0", [(files / "eicar", R)]), 0.3,
            b"zFILDES\0", (b"\0", [(files / "clean", R)]), 0.3, b"zEND\0",
        ),
        "session descriptor with more bytes": (
            z + b"zFILDES\0", (b"\0z", [(files / "eicar", R)]), 0.3, b"PING\0", 0.3, b"zEND\0",
        ),
    }  # fmt: skip


OTHERWISE: dict[str, bytes] = {
    "descriptor only for writing": b"fd[N]: Not a regular file ERROR\0",
    "descriptor of a path": b"fd[N]: Not a regular file ERROR\0",
    "SCAN link": b"PATH/link: Not supported file type ERROR\0",
}
"""Dialogues in which clamd says OK of what it has not read, and our replies."""


def otherwise(files: Path) -> dict[str, tuple[Piece, ...]]:
    """Return the dialogues of OTHERWISE."""
    return {
        "descriptor only for writing": (b"zFILDES\0", (b"\0", [(files / "eicar", W)])),
        "descriptor of a path": (b"zFILDES\0", (b"\0", [(files / "eicar", P)])),
        "SCAN link": (b"zSCAN " + os.fsencode(files) + b"/link\0",),
    }


def test_replies_are_clamds(files: Path, clamd: UnixAddress, tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, root=files, idle_seconds=5.0, upload_bytes=LIMIT) as door:
            address = door.address

            async def both(name: str, pieces: tuple[Piece, ...]) -> None:
                async with together:
                    half = name.endswith("half")
                    theirs, ours = await asyncio.gather(
                        asyncio.to_thread(talk, clamd, pieces, half=half),
                        asyncio.to_thread(talk, address, pieces, half=half),
                    )
                    session = name.startswith("session")
                    found[name] = plain(theirs, session=session), plain(ours, session=session)

            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
            together = asyncio.Semaphore(16)  # most of them wait for an end of time
            found: dict[str, tuple[bytes, bytes]] = {}
            await asyncio.gather(*(both(*each) for each in (dialogues(files) | otherwise(files)).items()))
        for name, reply in OTHERWISE.items():
            theirs, ours = found.pop(name)
            assert theirs.endswith(b": OK\0"), name
            assert ours == reply.replace(b"PATH", os.fsencode(files)), name
        differing = {name: pair for name, pair in found.items() if pair[0] != pair[1]}
        assert not differing
        assert sum(b"FOUND" in ours for _, ours in found.values()) > 15

    run(test)


@pytest.mark.parametrize("command", [b"CONTSCAN", b"MULTISCAN"])
def test_lines_of_a_folder_are_clamds(
    files: Path, clamd: UnixAddress, tmp_path: Path, command: bytes
) -> None:
    pieces = (b"z" + command + b" " + os.fsencode(files) + b"\0",)

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, root=files) as door:
            ours = await asyncio.to_thread(talk, door.address, pieces)
        theirs = await asyncio.to_thread(talk, clamd, pieces)
        assert sorted(plain(ours).split(b"\0")) == sorted(plain(theirs).split(b"\0"))
        assert ours.count(b" FOUND\0") == 3

    run(test)


def test_statistics_have_clamds_form(clamd: UnixAddress, tmp_path: Path) -> None:
    shape: Callable[[bytes], list[bytes]] = lambda reply: re.findall(rb"(?m)^[A-Z]+(?=:|$)", reply)  # noqa: E731

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            ours = await asyncio.to_thread(talk, door.address, (b"nSTATS\n",))
        theirs = await asyncio.to_thread(talk, clamd, (b"nSTATS\n",))
        assert shape(ours) == shape(theirs)
        assert ours.endswith(b"\nEND\n")

    run(test)
