"""Whoever has no certificate of the cluster's authority gets a word with neither scheduler nor workers."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

pytest.importorskip("distributed")

from hashscan.model import Entry
from tests.certificates import Authority
from tests.scan.cluster.scanning import state_with, stop
from tests.scan.nodes import NODE, Cluster, Program, said_port, workers_of

SECONDS = 5.0
"""For an answer; a member has one at once."""


def listening(pid: int) -> list[int]:
    """The TCP ports that a process listens on, whatever the address."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").rstrip("]"))
        except OSError:
            continue
    ports = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


def heard(port: int, context: ssl.SSLContext | None) -> bytes:
    """Return the first bytes that a client receives which connects and waits; none if it is refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain:
        try:
            with plain if context is None else context.wrap_socket(plain) as connection:
                # Dask's first message: so long, and of how many parts.
                connection.sendall((8).to_bytes(8, "little") + bytes(8))
                return connection.recv(64)
        except (ssl.SSLError, ConnectionError, TimeoutError):
            return b""


def node_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = anybody()
    context.load_cert_chain(cert, key)
    return context


def anybody() -> ssl.SSLContext:
    """One who takes the other for whom he says he is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def node(here: Cluster, tmp_path: Path) -> Program:
    state = state_with(tmp_path / "state", [Entry("x", "md5", bytes(16), "A1")])
    return here.node(state)


@pytest.mark.slow
def test_no_port_says_a_word_to_a_stranger(here: Cluster, node: Program, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path / "stranger").issue("localhost")
    (worker,) = workers_of(node)
    ports = {*listening(worker), *listening(node.process.pid), here.port}
    # A member is answered, by which it is known that it is not for another reason that strangers aren't.
    spoken = [port for port in ports if heard(port, node_context(here.cert, here.key))]
    assert len(spoken) == 3
    for port in spoken:
        for stranger in (None, anybody(), node_context(cert, key)):
            assert heard(port, stranger) == b""
    for port in ports - set(spoken):
        # Dask's server of pages, which has none and is for this machine alone.
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"http://127.0.0.1:{port}/", timeout=20)
        refused.value.close()
    stop([node])


@pytest.mark.slow
def test_a_node_with_a_stranger_s_certificate_is_sent_away(here: Cluster, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path / "stranger").issue("localhost")
    key.chmod(0o600)
    state = state_with(tmp_path / "state", [Entry("x", "md5", bytes(16), "A1")])
    impatient = [
        NODE[0],
        "-c",
        "import sys; from hashscan.scan.cluster import host; host.START_SECONDS = 3\n"
        "import dask; dask.config.set({'distributed.comm.timeouts.connect': '2s'})\n"
        "from hashscan.cli.main import run\nif __name__ == '__main__': sys.exit(run(sys.argv[1:]))",
        "worker",
    ]
    for ca in (here.authority.file, tmp_path / "stranger"):
        files = ["--cluster-ca", str(ca), "--cluster-cert", str(cert), "--cluster-key", str(key)]
        command = [*impatient, "--scheduler", here.address, *files, "--state", str(state), "--processes", "1"]
        stranger = Program(command)
        try:
            code = stranger.process.wait(60)
        finally:
            stranger.close()
        assert code == (13 if ca.is_file() else 2), stranger.said
        assert not any("are ready at" in line for line in stranger.said)


def test_nothing_listens_in_the_clear_beyond_this_machine(tmp_path: Path) -> None:
    state = state_with(tmp_path / "state", [Entry("x", "md5", bytes(16), "A1")])
    anywhere = "tcp://127.0.0.1:0"
    scheduler = Program([NODE[0], "-m", "dask", "scheduler", "--host", anywhere, "--no-dashboard"])
    try:
        address = f"tcp://127.0.0.1:{said_port(scheduler.wait_for('Scheduler at:'))}"
        node = Program([*NODE, "--scheduler", address, "--state", str(state), "--processes", "1"])
        try:
            node.wait_for("are ready at")
            (worker,) = workers_of(node)
            for pid in (worker, node.process.pid):
                assert listening(pid)
                assert set(addresses(pid)) == {"0100007F"}
        finally:
            node.close()
    finally:
        scheduler.close()


def addresses(pid: int) -> list[str]:
    """Return the addresses on which a process listens, as in /proc: 127.0.0.1 is 0100007F."""
    ports = listening(pid)
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A" and int(port, 16) in ports:
                found.append(address)
    return found
