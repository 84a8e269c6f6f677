"""Time uploads to `hashscan serve` beside ClamAV's clamd, over the same protocol, in turn.

    python -m benchmarks.serve.uploads --rounds 5

JPEGs of 30 kB are drawn; each is sent once, since both servers remember what they have checked. Both have a
list of the same SHA-256 digests. clamd runs with its signatures of this list alone (`.hsb`), and once more
with its hashing of pictures, which is on by default. hashscan runs with one owner for all uploads, without
and with a list of as many PDQ digests, with each upload as an owner of its own, and over HTTP with one owner.
It decodes pictures, and computes their PDQ digests, with the list of PDQ digests only. In a session one
connection sends all of its uploads (IDSESSION; HTTP keeps its connection); otherwise each upload has a
connection.

Printed are, by server and kind, the median time of an upload, the rate, the server's processor time, and the
medians over the rounds of the ratios to clamd with `.hsb`. The client is one process, with a thread for each
connection.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from benchmarks.lib.build import announce_build
from benchmarks.lib.measure import MeasureError, environment

PICTURES, WIDTH, HEIGHT = 64, 640, 480
BYTES = 30_000
START_SECONDS = 120.0
BASE = "clamd .hsb"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /v1/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: %d\r\n\r\n"
)

_numbers = itertools.count()


def draw(seed: int) -> bytes:
    """Draw a JPEG of about 30 kB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8), "RGB")
    picture = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    for strength in range(2, 60):
        noise = np.random.default_rng(seed).integers(-strength, strength + 1, picture.shape)
        stream = io.BytesIO()
        Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=75)
        if stream.tell() >= BYTES:
            break
    return stream.getvalue()


def numbered(content: bytes) -> bytes:
    """Return a JPEG with a comment that no other has."""
    return content[:2] + b"\xff\xfe\x00\x0a%08d" % next(_numbers) + content[2:]


def write_lists(folder: Path, state: Path, number: int) -> None:
    """Write the list for clamd, and import it for hashscan."""
    rng = np.random.default_rng(7)
    digests = [hashlib.sha256(b"entry %d" % place).hexdigest() for place in range(number)]
    pictures = rng.integers(0, 256, (number, 32), np.uint8)
    database = folder / "database"
    database.mkdir()
    (database / "ours.hsb").write_text("".join(f"{one}:*:Ours-{n}:73\n" for n, one in enumerate(digests)))
    rows = {
        "exact": (f"s{n},sha256,{one},A1\n" for n, one in enumerate(digests)),
        "pictures": (f"p{n},pdq,{one.tobytes().hex()},A1\n" for n, one in enumerate(pictures)),
    }
    for name, lines in rows.items():
        entries = folder / f"{name}.csv"
        with entries.open("w") as out:
            out.write("id,algorithm,value,category\n")
            out.writelines(lines)
        command = [sys.executable, "-m", "hashscan", "lists", "import", str(entries), "--name", name]
        subprocess.run(
            [*command, "--state", str(state)], check=True, capture_output=True, env=environment({})
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    path: Path
    """Its socket."""
    pid: int

    def cpu(self) -> float:
        """CPU seconds of its processes so far, and of those that they have waited for."""
        parents: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                used = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
                parents[int(fields[1])].append((int(stat.parent.name), used))
        found, waiting = 0.0, [self.pid]
        found += sum(used for family in parents.values() for pid, used in family if pid == self.pid)
        while waiting:
            for pid, used in parents[waiting.pop()]:
                found += used
                waiting.append(pid)
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of a server."""

    p50: float
    """Median milliseconds of an upload."""
    rate: float
    """Uploads a second."""
    cpu: float
    """Milliseconds of processor time that the server used for an upload."""


@contextmanager
def running(command: Sequence[str], path: Path) -> Iterator[Server]:
    """Run a server until the body ends; wait first until it answers at its socket."""
    log = path.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment({}))
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MeasureError(f"{command[0]} does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield Server(path, process.pid)
    finally:
        process.terminate()
        process.wait()


def answers(path: Path) -> bool:
    """Return whether a server answers; one of HTTP has a socket named so."""
    question, answer = (HEALTH, b"HTTP/1.1 200") if is_http(path) else (b"zPING\0", b"PONG\0")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(question)
            return connection.recv(100).startswith(answer)
    except OSError:
        return False


def is_http(path: Path) -> bool:
    """Return whether a socket is one of an HTTP server."""
    return path.suffix == ".http"


@contextmanager
def clamd(folder: Path, name: str, *, pictures: bool) -> Iterator[Server]:
    """Run clamd with our signatures alone."""
    path = folder / f"{name}.sock"
    settings = {
        "DatabaseDirectory": folder / "database",
        "LocalSocket": path,
        "Foreground": "yes",
        "User": "root" if os.geteuid() == 0 else os.environ["USER"],
        "ScanImageFuzzyHash": "yes" if pictures else "no",
        "MaxThreads": 8,
        "SelfCheck": 3600,
    }
    config = folder / f"{name}.conf"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    program = shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise MeasureError("install clamav-daemon, which has clamd")
    with running([program, "--config-file", str(config)], path) as server:
        yield server


@contextmanager
def hashscan(folder: Path, name: str, state: Path, *options: str, door: str = "clamd") -> Iterator[Server]:
    """Run `hashscan serve`."""
    path = folder / f"{name}.{'http' if door == 'http' else 'sock'}"
    command = [sys.executable, "-m", "hashscan", "serve", f"--{door}", f"unix:{path}", "--state", str(state)]
    with running([*command, *options], path) as server:
        yield server


def post(connection: socket.socket, content: bytes) -> None:
    """Send one upload over HTTP, and wait for the answer that it is clean."""
    connection.sendall(POST % len(content) + content)
    answer = b""
    while not answer.endswith(b'{"outcome":"allow"}]}'):
        if not (more := connection.recv(10_000)):
            raise MeasureError(f"cut off after {answer!r}")
        answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            raise MeasureError(f"answered {answer!r}")


def exchange(connection: socket.socket, content: bytes) -> None:
    """Send one upload, and wait for the answer that it is clean."""
    connection.sendall(b"zINSTREAM\0" + struct.pack(">I", len(content)) + content + bytes(4))
    answer = b""
    while not answer.endswith(b"\0"):
        if not (more := connection.recv(1000)):
            raise MeasureError(f"cut off after {answer!r}")
        answer += more
    if not answer.endswith(b"stream: OK\0"):
        raise MeasureError(f"answered {answer!r}")


def send(path: Path, contents: Sequence[bytes], times: list[float], *, session: bool) -> None:
    """Send uploads one after another, and note how long each took."""
    connection: socket.socket | None = None
    http = is_http(path)
    for content in contents:
        begun = time.perf_counter()
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            if session and not http:
                connection.sendall(b"zIDSESSION\0")
        (post if http else exchange)(connection, content)
        if not session:
            connection.close()
            connection = None
        times.append(time.perf_counter() - begun)
    if connection is not None:
        connection.close()


def measure(
    server: Server, pictures: Sequence[bytes], uploads: int, connections: int, *, session: bool
) -> Measured:
    """Send uploads to a server over some connections at a time."""
    contents = [numbered(pictures[number % len(pictures)]) for number in range(uploads)]
    times: list[float] = []
    parts = [contents[number::connections] for number in range(connections)]
    threads = [
        threading.Thread(target=send, args=(server.path, part, times), kwargs={"session": session})
        for part in parts
    ]
    before, begun = server.cpu(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    if len(times) != uploads:
        raise MeasureError("an upload was not answered")
    used = server.cpu() - before
    return Measured(statistics.median(times) * 1000, uploads / wall, used / uploads * 1000)


def main() -> None:
    """Run the rounds, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uploads", type=int, default=400, help="uploads of one measurement")
    parser.add_argument("--entries", type=int, default=100_000, help="entries of each list")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = folder / "state"
        write_lists(folder, state, arguments.entries)
        pictures = [draw(seed) for seed in range(PICTURES)]
        servers = {
            BASE: stack.enter_context(clamd(folder, "clamd", pictures=False)),
            "clamd default": stack.enter_context(clamd(folder, "clamd-default", pictures=True)),
            "one owner": stack.enter_context(
                hashscan(folder, "one", state, "--one-owner", "clamd", "--list", "exact")
            ),
            "one owner, PDQ": stack.enter_context(hashscan(folder, "pdq", state, "--one-owner", "clamd")),
            "owner an upload": stack.enter_context(hashscan(folder, "many", state, "--list", "exact")),
            "HTTP, one owner": stack.enter_context(
                hashscan(folder, "one", state, "--one-owner", "http", "--list", "exact", door="http")
            ),
        }
        for _ in range(arguments.rounds):
            for session, connections in itertools.product((True, False), (1, 8)):
                kind = (
                    f"{connections} {'session' if session else 'connection'}{'s' if connections > 1 else ''}"
                )
                for name, server in servers.items():
                    measure(server, pictures, arguments.uploads, connections, session=session)
                    measured = measure(server, pictures, arguments.uploads, connections, session=session)
                    found[kind][name].append(measured)
    sizes = [len(picture) for picture in pictures]
    print(f"{len(pictures)} pictures of {min(sizes)} to {max(sizes)} bytes, {arguments.rounds} rounds")
    print(f"{'':16} {'':20} {'p50 ms':>8} {'per s':>8} {'CPU ms':>8} {'p50 ratio':>10} {'rate ratio':>10}")
    for kind, of_kind in found.items():
        for name, values in of_kind.items():
            print(f"{kind:16} {name:20} {line(values, of_kind[BASE])}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.encode(found))


def line(values: Sequence[Measured], base: Sequence[Measured]) -> str:
    """Return the medians of a server's measurements, and of their ratios to those of clamd."""
    p50, rate, cpu = (
        statistics.median(getattr(value, field) for value in values) for field in ("p50", "rate", "cpu")
    )
    times = statistics.median(value.p50 / of.p50 for value, of in zip(values, base, strict=True))
    rates = statistics.median(value.rate / of.rate for value, of in zip(values, base, strict=True))
    return f"{p50:8.2f} {rate:8.0f} {cpu:8.2f} {times:10.2f} {rates:10.2f}"


if __name__ == "__main__":
    announce_build()
    main()
