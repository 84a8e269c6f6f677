"""Checks the clamd door with the real engine: limits, descriptors, files by path, clients that misbehave."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import HashscanError
from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.service.doors.clamd.peer_files import Peer, beneath, peer_files
from hashscan.service.engine.contents import Content
from hashscan.service.engine.uploads import Answer, Overloaded, TooLarge, UnusableDescriptor, Upload
from hashscan.settings.service import AnswerTo, AnswerWith
from tests.service.doors.clamd.talking import EICAR, END, chunk, clamd_door, connected, stream, talk
from tests.service.engine.serving import open_as, picture, run
from tests.service.serving import Cases

PLANTED = picture(1)
CLEAN = picture(2)
REFUSED = re.compile(rb"hashscan\.Blocked-[0-9A-Z]{16} FOUND")
USER = 65534


async def ask(door: ClamdDoor, *pieces: bytes, half: bool = False, seconds: float = 60) -> bytes:
    """Talk to a door, in a thread of its own."""
    return await asyncio.to_thread(talk, door.address, pieces, half=half, seconds=seconds)


def set_answer(door: ClamdDoor, kind: AnswerTo, answer: AnswerWith) -> None:
    """Change one answer of a door."""
    door.settings = replace(door.settings, answers={**door.settings.answers, kind: answer})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def is_idle(door: ClamdDoor) -> bool:
    """Return True if nothing is held for any client."""
    return not (door.connections or door.engine.room.contents or door.engine.room.taken)


def test_tcp_has_no_commands_about_this_machine(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, tcp=True, root=tmp_path) as door:
            for command in ("SCAN", "CONTSCAN", "MULTISCAN", "ALLMATCHSCAN"):
                assert await ask(door, f"z{command} {tmp_path}\0".encode()) == b"UNKNOWN COMMAND\0"
            for command in ("RELOAD", "SHUTDOWN", "QUIT", "STREAM", "DETSTATS"):
                assert await ask(door, f"n{command}\n".encode()) == b"UNKNOWN COMMAND\n"
            assert b"SCAN" not in await ask(door, b"zVERSIONCOMMANDS\0")
            assert await ask(door, b"zFILDES\0\0") == b"No file descriptor received. ERROR\0"
            found = await ask(door, b"zINSTREAM\0" + stream(PLANTED))
            assert REFUSED.search(found)

    run(test)


def test_without_a_root_no_paths(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            assert await ask(door, f"zSCAN {tmp_path}\0".encode()) == b"UNKNOWN COMMAND\0"
            assert await ask(door, b"zRELOAD\0") == b"RELOADING\0"
            assert await ask(door, b"zSHUTDOWN\0") == b"UNKNOWN COMMAND\0"

    run(test)


def test_uploaders_learn_nothing_of_the_list(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            reply = await ask(door, b"zINSTREAM\0" + stream(PLANTED))
            assert re.fullmatch(rb"stream: hashscan\.Blocked-[0-9A-Z]{16} FOUND\0", reply)
            door.settings = replace(door.settings, show_entries=True)
            reply = await ask(door, b"zINSTREAM\0" + stream(PLANTED))
            assert re.fullmatch(rb"stream: hashscan\.Blocked-[0-9A-Z]{16}\.ours\.e0\.A1 FOUND\0", reply)

    run(test)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("allow", b"stream: OK\0"),
        ("refuse", REFUSED),
        ("error", b"stream: Not checked, try again later ERROR\0"),
    ],
)
def test_undecoded_is_answered_by_the_settings(
    tmp_path: Path, answer: AnswerWith, expected: bytes | re.Pattern[bytes]
) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            set_answer(door, "undecoded", answer)
            reply = await ask(door, b"zINSTREAM\0" + stream(b"\x1f\x8b\x08" + bytes(400)))
            assert reply == expected if isinstance(expected, bytes) else expected.search(reply)

    run(test)


@pytest.mark.parametrize("answer", ["allow", "refuse", "error"])
@pytest.mark.parametrize(
    ("limit", "kind", "error"),
    [
        ("bytes_in_flight", Overloaded, b"stream: Not checked, try again later ERROR\0"),
        ("upload_bytes", TooLarge, b"INSTREAM size limit exceeded. ERROR\0"),
    ],
)
def test_streams_beyond_a_limit_are_counted_and_answered_by_the_settings(
    tmp_path: Path, answer: AnswerWith, limit: str, kind: type[HashscanError], error: bytes
) -> None:
    expected = {"allow": b"stream: OK\0", "refuse": b"stream: hashscan.Unchecked FOUND\0"}
    cases = Cases()

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, recorder=cases, **{limit: 1000}) as door:
            set_answer(door, "trouble", answer)
            # The first is known to be too long when its length comes, the other one when its bytes do.
            for content in (stream(bytes(2000)), b"".join(map(chunk, [bytes(600)] * 3)) + END):
                assert await ask(door, b"zINSTREAM\0" + content) == expected.get(answer, error)
            assert [type(failure) for failure in cases.failures] == [kind] * 2
            await until(lambda: is_idle(door))

    run(test)


@pytest.mark.parametrize("answer", ["allow", "refuse", "error"])
def test_files_that_are_not_taken_are_counted_and_answered_by_the_settings(
    tmp_path: Path, answer: AnswerWith
) -> None:
    (tmp_path / "file").write_bytes(bytes(2000))
    cases = Cases()

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, recorder=cases, upload_bytes=1000) as door:
            set_answer(door, "trouble", answer)
            passed = (b"\0", [(tmp_path / "file", os.O_RDONLY)])
            reply = await asyncio.to_thread(talk, door.address, (b"zFILDES\0", passed))
            assert reply.endswith(
                {
                    "allow": b": OK\0",
                    "refuse": b": hashscan.Unchecked FOUND\0",
                    "error": b": Size limit exceeded ERROR\0",
                }[answer]
            )
            folder = (b"\0", [(tmp_path, os.O_RDONLY)])
            reply = await asyncio.to_thread(talk, door.address, (b"zFILDES\0", folder))
            assert reply.endswith(b": Not a regular file ERROR\0")
            assert [type(failure) for failure in cases.failures] == [TooLarge, UnusableDescriptor]

    run(test)


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b" " * 60, b"\t\x1a"])
@pytest.mark.parametrize("way", ["stream", "descriptor"])
def test_eicar_is_found(tmp_path: Path, tail: bytes, way: str) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            for content, expected in (
                (EICAR + tail, b"Eicar-Test-Signature FOUND"),
                (EICAR + tail + b"x", b"OK"),
                (b"x" + EICAR + tail, b"OK"),
                (EICAR + b" " * 61, b"OK"),
            ):
                (tmp_path / "content").write_bytes(content)
                if way == "stream":
                    reply = await ask(door, b"zINSTREAM\0" + stream(content))
                else:
                    passed = (b"\0", [(tmp_path / "content", os.O_RDONLY)])
                    reply = await asyncio.to_thread(talk, door.address, (b"zFILDES\0", passed))
                assert reply.endswith(b": " + expected + b"\0")
            await until(lambda: is_idle(door))

    run(test)


@pytest.mark.parametrize("tcp", [False, True])
def test_too_long_streams_are_read_on_and_answered(tmp_path: Path, tcp: bool) -> None:
    def write_all(door: ClamdDoor) -> bytes:
        """Write a stream of 20 times the limit without looking for an answer."""
        with connected(door.address) as client:
            client.sendall(b"zINSTREAM\0")
            for _ in range(320):
                client.sendall(chunk(bytes(65536)))
            client.sendall(END)
            return client.recv(1000)

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, tcp=tcp, upload_bytes=1 << 20) as door:
            reply = await asyncio.to_thread(write_all, door)
            assert reply == b"INSTREAM size limit exceeded. ERROR\0"
            await until(lambda: is_idle(door))

    run(test)


def test_stream_without_end_is_answered_at_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashscan.service.doors.clamd.door._DROP_BYTES", 1 << 22)

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, upload_bytes=1 << 20) as door:
            reply = await ask(door, b"zINSTREAM\0", *[chunk(bytes(65536))] * 100)
            assert reply == b"INSTREAM size limit exceeded. ERROR\0"

    run(test)


def test_a_byte_a_time_ends_with_the_requests_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, idle_seconds=5.0, request_seconds=0.5) as door:

            def drip() -> bytes:
                with connected(door.address) as client:
                    client.setblocking(False)
                    client.send(b"zINSTREAM\0" + chunk(b"", 1000))
                    client.settimeout(0.05)
                    while True:
                        client.send(b"x")
                        try:
                            return client.recv(100)
                        except TimeoutError:
                            continue

            assert await asyncio.to_thread(drip) == b"COMMAND READ TIMED OUT\n"
            await until(lambda: is_idle(door))

    run(test)


def test_a_thousand_idle_connections(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, connections_max=1002) as door:
            address = str(door.address.path)  # type: ignore[union-attr]
            idle = []
            for _ in range(1000):
                client = socket.socket(socket.AF_UNIX)
                client.connect(address)
                idle.append(client)
                await asyncio.sleep(0)
            await until(lambda: door.connections == 1000)
            assert REFUSED.search(await ask(door, b"zINSTREAM\0" + stream(PLANTED)))
            for client in idle:
                client.close()
            await until(lambda: is_idle(door))

    run(test)


def test_pipelined_sessions_are_answered_in_whole(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            contents = [PLANTED if number % 3 == 0 else b"text %d" % number for number in range(100)]
            reply = await ask(
                door, b"zIDSESSION\0", *(b"zINSTREAM\0" + stream(content) for content in contents), b"zEND\0"
            )
            lines = dict(line.split(b": ", 1) for line in reply.removesuffix(b"\0").split(b"\0"))
            assert len(lines) == 100
            for number, content in enumerate(contents, 1):
                found = REFUSED.search(lines[b"%d" % number])
                assert bool(found) == (content == PLANTED), number
            await until(lambda: is_idle(door))

    run(test)


def test_sessions_at_the_same_time_get_their_own_answers(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:

            async def one(number: int) -> None:
                content = PLANTED if number % 2 else b"text %d" % number
                data = b"zIDSESSION\0zINSTREAM\0" + stream(content) + b"zPING\0zEND\0"
                reply = await ask(door, *(data[at : at + 7000] for at in range(0, len(data), 7000)))
                assert sorted(reply.split(b"\0"))[2] == b"2: PONG"
                assert bool(REFUSED.search(reply)) == bool(number % 2)

            await asyncio.gather(*map(one, range(20)))

    run(test)


def test_owners(tmp_path: Path) -> None:
    """No upload is decoded where another owner's was, unless the settings say that all have one owner."""
    owners: list[tuple[int, str]] = []
    once: list[bool] = []
    (tmp_path / "file").write_bytes(b"text")

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, root=tmp_path / "file") as door:
            check = door.engine.check

            def noted(content: Content, upload: Upload, *rest: Any, **options: Any) -> Awaitable[Answer]:
                owners.append((upload.client.connection, upload.client.owner))
                once.append(upload.client.once)
                return check(content, upload, *rest, **options)

            door.engine.check = noted  # type: ignore[method-assign, assignment]
            one = b"zINSTREAM\0" + stream(b"text")
            for _ in range(2):
                await ask(door, one)
            await ask(door, b"zIDSESSION\0" + one + one + b"zEND\0")
            await ask(door, f"zSCAN {tmp_path}/file\0".encode())
        assert len(set(owners)) == len(owners) == 5
        assert owners[-1][1].endswith(f" uid {os.getuid()}")
        # Another file of this user may follow.
        assert once == [True] * 4 + [False]

    run(test)


@pytest.mark.parametrize("session", [False, True])
def test_what_is_done_for_a_client_that_leaves_is_given_up(tmp_path: Path, session: bool) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            for cut in (5, 20, 1000, 10**6):
                data = (b"zIDSESSION\0" if session else b"") + b"zINSTREAM\0" + stream(PLANTED)
                for _ in range(20):
                    with connected(door.address) as client:
                        client.sendall(data[:cut])
                await until(lambda: is_idle(door))
            await until(lambda: not open_as("memfd:hashscan-upload"))
            assert REFUSED.search(await ask(door, b"zINSTREAM\0" + stream(PLANTED)))

    run(test)


def test_a_session_that_is_ended_while_it_is_full_holds_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            workers = door.engine.pool.pids()
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)
            with connected(door.address) as client:
                client.sendall(b"zIDSESSION\0" + (b"zINSTREAM\0" + stream(b"text")) * 50)
                # The last one waits for a place among those that are answered at the same time.
                await until(lambda: door.engine.room.contents == 33)
                await door.close(0.0)
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            await until(lambda: is_idle(door))

    run(test)


NEXTCLOUD = 26_214_400 // 8196


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        (stream(bytes(26_214_400)), "25 MiB"),
        (stream(bytes(26_214_399)), ""),
        (chunk(bytes(8192)) * NEXTCLOUD + END, "Nextcloud"),
        (chunk(bytes(8192)) * (NEXTCLOUD - 1) + END, ""),
    ],
)
def test_streams_of_clients_that_cut_files_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, warned: str
) -> None:
    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            assert (await ask(door, b"zINSTREAM\0" + data)).startswith(b"stream: ")
        assert ("cuts files" in caplog.text) == bool(warned)
        assert warned in caplog.text

    run(test)


def test_descriptor_counts_only_with_its_byte(tmp_path: Path) -> None:
    """A descriptor that comes with another byte is never taken for the one that FILDES expects."""
    for name, content in (("planted", PLANTED), ("clean", b"clean")):
        (tmp_path / name).write_bytes(content)
    planted, clean = [(tmp_path / "planted", os.O_RDONLY)], [(tmp_path / "clean", os.O_RDONLY)]

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED) as door:
            reply = await asyncio.to_thread(
                talk,
                door.address,
                (b"zIDSESSION\0", (b"zPING\0", clean), b"zFILDES\0", (b"\0", planted), 0.2, b"zEND\0"),
            )
            assert REFUSED.search(reply)
            reply = await asyncio.to_thread(
                talk, door.address, (b"zIDSESSION\0", (b"zFILDES\0", clean), 0.2, b"\0", 0.2, b"zEND\0")
            )
            assert reply == b"1: No file descriptor received. ERROR\0"
            many = [
                piece
                for _ in range(200)
                for piece in (b"zFILDES\0", (b"\0", planted), b"zFILDES\0", (b"\0", clean))
            ]
            reply = await asyncio.to_thread(talk, door.address, (b"zIDSESSION\0", *many, b"zEND\0"))
            lines = dict(line.split(b": ", 1) for line in reply.removesuffix(b"\0").split(b"\0"))
            assert len(lines) == 400
            for number in range(1, 401):
                assert bool(REFUSED.search(lines[b"%d" % number])) == bool(number % 2), number
            names = "memfd:hashscan-upload", f"{tmp_path}/planted", f"{tmp_path}/clean"
            await until(lambda: is_idle(door) and not any(map(open_as, names)))

    run(test)


def test_paths_outside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(PLANTED)
    (tmp_path / "root2").mkdir()
    (root / "way").symlink_to(tmp_path)
    (root / "link").symlink_to(tmp_path / "secret")

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, root=root) as door:
            for path in (tmp_path / "secret", tmp_path / "missing", tmp_path / "root2", Path("/"), tmp_path):
                assert (
                    await ask(door, f"zSCAN {path}\0".encode()) == f"{path}: Access denied. ERROR\0".encode()
                )
            for given in (f"{root}/../secret", "root/x", "", f"{root}/{'x' * 5000}"):
                reply = await ask(door, f"zSCAN {given}\0".encode())
                assert reply.endswith(b": Access denied. ERROR\0")
            for below in ("way/secret", "link", "way"):
                reply = await ask(door, f"zSCAN {root}/{below}\0".encode())
                assert reply.endswith(b" ERROR\0")
                assert b"FOUND" not in reply
            assert await ask(door, f"zCONTSCAN {root}\0".encode()) == f"{root}: OK\0".encode()
            await until(lambda: is_idle(door))

    run(test)


def test_names_of_files_forge_no_lines(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a: OK\n\x1b[2J").write_bytes(PLANTED)

    async def test() -> None:
        async with clamd_door(tmp_path, PLANTED, root=root) as door:
            reply = await ask(door, f"nCONTSCAN {root}\n".encode())
            assert reply.count(b"\n") == 1
            assert b"a: OK??[2J: hashscan" in reply

    run(test)


def test_roots_and_paths() -> None:
    assert beneath(Path("/srv/up"), b"/srv/up") == b"/srv/up"
    assert beneath(Path("/srv/up"), b"/srv//up/./a/") == b"/srv/up/a"
    assert beneath(Path("/"), b"/") == b"/"
    for path in (b"/srv", b"/srv/upper", b"srv/up", b"/srv/up/../x", b"/srv/up/\0", b""):
        assert beneath(Path("/srv/up"), path) is None


def found_as(peer: Peer, path: Path) -> dict[str, str]:
    """Return what a client is given of a folder: for each file its content, or the problem."""

    async def test() -> dict[str, str]:
        found = {}
        async for file in peer_files(peer, os.fsencode(path)):
            if file.descriptor >= 0:
                found[os.fsdecode(file.path)] = os.read(file.descriptor, 100).decode()
                os.close(file.descriptor)
            else:
                found[os.fsdecode(file.path)] = file.problem
        return found

    return asyncio.run(test())


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take other users' rights")


@needs_root
def test_only_what_the_client_may_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path("/var/tmp") / f"hashscan-peer-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        for name, uid, gid, mode in (
            ("own", USER, 0, 0o400),
            ("world", 0, 0, 0o644),
            ("root", 0, 0, 0o600),
            ("group", 0, 12345, 0o640),
            ("other group", 0, 54321, 0o640),
            ("owner is denied", USER, 0, 0o044),
        ):
            (folder / name).write_text(name)
            os.chown(folder / name, uid, gid)
            (folder / name).chmod(mode)
        (folder / "closed").mkdir()
        (folder / "closed" / "world").write_text("world")
        (folder / "closed").chmod(0o700)
        denied = "Access denied."
        found = found_as(Peer(USER, USER, (12345,)), folder)
        assert {Path(path).name: content for path, content in found.items()} == {
            "own": "own",
            "world": "world",
            "root": denied,
            "group": "group",
            "other group": denied,
            "owner is denied": denied,
            "closed": denied,
        }
        inside = found_as(Peer(USER, USER, ()), folder / "closed" / "world")
        assert list(inside.values()) == ["File path check failure: Permission denied."]
        everything = found_as(Peer(0, 0, ()), folder)
        assert denied not in everything.values()
        # The rights were those of the threads alone.
        assert os.geteuid() == 0
        assert (folder / "root").read_text() == "root"
        assert os.getgroups() == sorted(os.getgroups())
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


SERVICE = """
import asyncio, os, sys
from hashscan.service.doors.clamd.peer_files import Peer, peer_files

async def main(uid, path):
    async for file in peer_files(Peer(uid, uid, ()), os.fsencode(path)):
        print(file.problem or os.read(file.descriptor, 100).decode())

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


@needs_root
@pytest.mark.parametrize(
    ("capabilities", "own", "others"),
    [
        ("+setuid,+setgid", "own", "Access denied."),
        ("+setuid,+setgid,+dac_read_search", "own", "Access denied."),
        ("-all", "Can't take the client's rights: Operation not permitted.", None),
    ],
)
def test_rights_of_a_service_that_is_not_root(
    tmp_path: Path, capabilities: str, own: str, others: str | None
) -> None:
    folder = Path("/var/tmp") / f"hashscan-service-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        for name, uid in (("own", USER), ("other", 4321)):
            (folder / name).write_text(name)
            os.chown(folder / name, uid, uid)
            (folder / name).chmod(0o400)
        for name, expected in (("own", own), ("other", others or own)):
            command = [
                "setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", f"--inh-caps={capabilities}",
                f"--ambient-caps={capabilities}", sys.executable, "-c", SERVICE, str(USER),
                str(folder / name),
            ]  # fmt: skip
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            if "Permission denied" in ended.stderr or "Fatal Python error" in ended.stderr:
                pytest.skip("another user can't start this interpreter")
            assert ended.stdout.strip() == expected, ended.stderr
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_users_who_are_not_known_here_get_nothing(tmp_path: Path) -> None:
    """In a user namespace, all users whom it doesn't know have the number of `nobody`."""
    (tmp_path / "file").write_text("text")
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", SERVICE, str(USER)]
    ended = subprocess.run(
        [*command, str(tmp_path / "file")], capture_output=True, text=True, check=False, timeout=60
    )
    if ended.stderr.startswith("unshare"):
        pytest.skip("user namespaces are not allowed")
    assert "not known" in ended.stdout, ended.stderr


@needs_root
def test_exchanged_files_are_never_opened_with_more_rights(tmp_path: Path) -> None:
    """A client exchanges a file of its own by one that it can't read, while it is opened for it."""
    folder = Path("/var/tmp") / f"hashscan-race-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        for name, text, mode in (("own", "own", 0o644), ("secret", "secret", 0o600)):
            (folder / name).write_text(text)
            (folder / name).chmod(mode)
        os.link(folder / "own", folder / "file")
        stop = False
        outcomes = set()

        def exchange() -> None:
            number = 0
            while not stop:
                number += 1
                os.link(folder / ("secret", "own")[number % 2], folder / "next")
                os.rename(folder / "next", folder / "file")
                with suppress(FileNotFoundError):  # nothing is renamed if both are the same file
                    os.unlink(folder / "next")

        async def test() -> None:
            nonlocal stop
            racing = asyncio.get_running_loop().run_in_executor(None, exchange)
            try:
                for _ in range(500):
                    async for file in peer_files(Peer(USER, USER, ()), os.fsencode(folder / "file")):
                        outcomes.add(file.problem)
                        if file.descriptor >= 0:
                            content = os.read(file.descriptor, 10)
                            os.close(file.descriptor)
                            assert content == b"own"
            finally:
                stop = True
                await racing

        asyncio.run(test())
        assert {"", "Access denied."} <= outcomes
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
