"""Measure how many digests a hub's node checks a second, over HTTP in batches.

    python -m benchmarks.hub.checks --entries 10000000 [--folder FOLDER]
    python -m benchmarks.hub.checks --nodes 2 --database postgresql://hub@db.example.net/hub
    python -m benchmarks.hub.checks --over-quota --entries 1000000

The list has random entries, half of sha1 and half of PDQ. Each node runs on one core, the client on another;
with two nodes, HAProxy spreads the requests. One digest in 10,000 is listed. Printed are, for exact digests
and for PDQ, the digests a second of the nodes' processor time and of wall time; the 99th percentile of the
time of a batch of 1,000 while half as many are sent as the node can check; and the hours that 67 million
pictures take with an exact digest and 1 or 21 PDQs each, by processor time. The list of ten million takes
minutes to make; with --folder, it is kept there and used again.

With --over-quota, one key sends 20 times as many digests and requests as its quota and rate allow, and
another key's requests are timed beside that: with the flood at the hub, and with the same flood at a server
on the same core that reads each request's headers and answers 429. Both take turns, round after round.
Printed are p50 and p99 of both, and their ratios.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

import numpy as np

from benchmarks.lib.build import announce_build
from hashscan.hub.accounts.keys import RIGHTS, add_key
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.storage.database import open_database
from hashscan.lists.store import ListStore
from hashscan.model import ALGORITHMS, Entry
from hashscan.state_dir import StateDir

SEED = 20261129
PICTURES = 67_000_000
LISTED_SHARE = 10_000
"""One digest in so many is listed."""
START_SECONDS = 600.0
OVER_QUOTA = 20
"""Times its quota that the key of the flood sends."""
FLOOD_RATE = 60
"""Requests a minute that the key of the flood may send."""
FLOOD_DIGESTS = 10_000
"""Digests in each of its requests."""
PAUSE_SECONDS = 0.02
"""Pause between the timed requests, on average."""


def entries(name: str, number: int) -> Iterator[Entry]:
    """Draw entries of an algorithm."""
    rng = np.random.default_rng([SEED, len(name)])
    for place in range(number):
        yield Entry(f"{name}-{place}", name, rng.bytes(ALGORITHMS[name].size), "A1")


def batches(name: str, number: int, size: int, listed: Sequence[bytes]) -> list[bytes]:
    """Return requests with random digests, some of which are listed."""
    rng = np.random.default_rng(SEED + 1)
    found = []
    for place in range(number):
        values = [rng.bytes(ALGORITHMS[name].size) for _ in range(size)]
        for at in range(place * size, (place + 1) * size):
            if at % LISTED_SHARE == 0:
                values[at % size] = listed[at % len(listed)]
        digests = [{"algorithm": name, "value": value.hex()} for value in values]
        found.append(json.dumps({"digests": digests}, separators=(",", ":")).encode())
    return found


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, variables: dict[str, str]) -> Iterator[int]:
    """Run a server until the block ends; yield its process id once it accepts connections."""
    process = subprocess.Popen(command, env={**os.environ, **variables})
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[0]} has not started")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def processor_time(pids: Sequence[int]) -> float:
    """Return the seconds of processor time that some processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Client:
    """One connection that sends one request after another."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def send(self, body: bytes) -> float:
        """Send a request, and return the seconds until it was answered."""
        begun = time.perf_counter()
        headers = {**self._headers, "Idempotency-Key": str(uuid.uuid4())}
        self._connection.request("POST", "/v1/check", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"status {answer.status}: {text[:200]!r}")
        return time.perf_counter() - begun


class Refuser(socketserver.StreamRequestHandler):
    """A server that reads the headers of a request, and answers 429."""

    def handle(self) -> None:
        """Answer one request, and read what its client still sends."""
        while self.rfile.readline() not in {b"", b"\r\n"}:
            pass
        self.wfile.write(
            b"HTTP/1.1 429 No\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):  # the client has left
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(1 << 16):
                pass


def refuse(port: int) -> None:
    """Serve `Refuser` until the process is ended."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Refuser) as server:
        server.serve_forever()


class Flood:
    """Requests of one key at a steady rate, each on a connection of its own, from several threads."""

    def __init__(self, port: int, key: str, body: bytes, rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self._port, self._key, self._body, self._rate = port, key, body, rate
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(4)]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        pause = len(self._threads) / self._rate
        due = time.monotonic() + pause * number / len(self._threads)
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += pause
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": str(uuid.uuid4())}
            try:
                connection.request("POST", "/v1/check", self._body, headers)
                self.statuses[connection.getresponse().status] += 1
            except OSError:
                self.statuses[0] += 1
            finally:
                connection.close()


def haproxy(folder: Path, port: int, ports: Sequence[int]) -> list[str]:
    """Return the command of a HAProxy that spreads requests over nodes."""
    servers = "".join(f"  server n{number} 127.0.0.1:{each}\n" for number, each in enumerate(ports))
    (folder / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout client 10m\n  timeout server 10m\n  timeout connect 5s\n"
        f"frontend hub\n  bind 127.0.0.1:{port}\n  default_backend nodes\n"
        f"backend nodes\n  balance roundrobin\n{servers}"
    )
    return [shutil.which("haproxy") or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def main() -> int:
    """Build, ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000, help="entries of the list")
    parser.add_argument("--folder", type=Path, help="where the list is kept; default: a temporary folder")
    parser.add_argument("--batches", type=int, default=20, help="batches of each kind")
    parser.add_argument("--size", type=int, default=10_000, help="digests in a batch")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 2), help="nodes; 2 need --database")
    parser.add_argument("--over-quota", action="store_true", help="a key beyond its quota, beside another")
    parser.add_argument("--rounds", type=int, default=20, help="rounds with --over-quota")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each half of a round")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; default: SQLite")
    options = parser.parse_args()
    if options.nodes > 1 and not options.database:
        parser.error("two nodes need --database")
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = StateDir(folder / "state")
        store = ListStore(state.lists)
        if "ours" not in store.names():
            drawn = chain(*(entries(name, options.entries // 2) for name in ("sha1", "pdq")))
            store.import_entries("ours", drawn, "benchmark")
        with open_database(state, options.database) as database:
            database.migrate()
            with database.transaction() as connection:
                name = f"alpha{os.getpid()}"
                add_organisation(connection, "cli benchmark", name)
                add_organisation(connection, "cli benchmark", f"{name}-flood")
                key, flooding = (
                    add_key(
                        connection, "cli benchmark", owner, "k", RIGHTS[:1],
                        digests_per_day=digests, requests_per_minute=rate,
                    )
                    for owner, digests, rate in ((name, 0, 0), (f"{name}-flood", FLOOD_DIGESTS, FLOOD_RATE))
                )  # fmt: skip
        if options.over_quota:
            measure_flood(options, stack, folder, key, flooding)
        else:
            measure(options, stack, folder, key)
    return 0


def measure_flood(
    options: argparse.Namespace, stack: ExitStack, folder: Path, key: str, flooding: str
) -> None:
    """Time the requests of a key while another exceeds its quota, at the hub and elsewhere in turns."""
    cores = sorted(os.sched_getaffinity(0))
    at_hub, elsewhere = free_port(), free_port()
    pinned = ["taskset", "-c", str(cores[0]), sys.executable]
    command = [*pinned, "-m", "hashscan", "hub", "serve", "--listen", f"tcp:127.0.0.1:{at_hub}"]
    command += ["--database", options.database] if options.database else []
    stack.enter_context(running(command, at_hub, {"HASHSCAN_STATE": str(folder / "state")}))
    script = f"from benchmarks.hub.checks import refuse; refuse({elsewhere})"
    stack.enter_context(running([*pinned, "-c", script], elsewhere, {}))
    os.sched_setaffinity(0, {cores[-1]})
    flood_body = batches("pdq", 1, FLOOD_DIGESTS, [bytes(32)])[0]
    bodies = batches("pdq", 20, 20, [bytes(32)])
    client, rng = Client(at_hub, key), random.Random(SEED)
    times: dict[int, list[float]] = {at_hub: [], elsewhere: []}
    statuses = Counter[int]()
    rate = OVER_QUOTA * FLOOD_RATE / 60
    for number in range(options.rounds):
        ports = (at_hub, elsewhere) if number % 2 else (elsewhere, at_hub)
        for port in ports:
            with Flood(port, flooding, flood_body, rate) as flood:
                until = time.monotonic() + options.seconds
                while time.monotonic() < until:
                    times[port].append(client.send(rng.choice(bodies)))
                    time.sleep(rng.expovariate(1 / PAUSE_SECONDS))
            if port == at_hub:
                statuses += flood.statuses
    figures = {}
    for port, name in ((at_hub, "the hub"), (elsewhere, "a server that answers 429")):
        p50, p99 = (1000 * float(np.percentile(times[port], share)) for share in (50, 99))
        figures[port] = p50, p99
        print(f"others, with the flood at {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratios = [hub / other for hub, other in zip(figures[at_hub], figures[elsewhere], strict=True)]
    print(
        f"ratio: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}; answers of the hub to the flood: {dict(statuses)}"
    )


def measure(options: argparse.Namespace, stack: ExitStack, folder: Path, key: str) -> None:
    """Start nodes, send batches, and print the figures."""
    cores = sorted(os.sched_getaffinity(0))
    variables = {"HASHSCAN_STATE": str(folder / "state")}
    ports = [free_port() for _ in range(options.nodes)]
    pids = []
    for port in ports:
        command = ["taskset", "-c", str(cores[0]), sys.executable, "-m", "hashscan", "hub", "serve"]
        command += ["--listen", f"tcp:127.0.0.1:{port}"]
        command += ["--database", options.database] if options.database else []
        pids.append(stack.enter_context(running(command, port, variables)))
    os.sched_setaffinity(0, {cores[-1]})
    front = ports[0]
    if options.nodes > 1:
        front = free_port()
        stack.enter_context(running(haproxy(folder, front, ports), front, {}))
    costs = {}
    for name in ("sha1", "pdq"):
        listed = [entry.value for entry in islice(entries(name, options.entries // 2), 100)]
        bodies = batches(name, options.batches, options.size, listed)
        client = Client(front, key)
        client.send(bodies[0])
        before, begun = [processor_time([pid]) for pid in pids], time.perf_counter()
        for body in bodies:
            client.send(body)
        wall = time.perf_counter() - begun
        used = [processor_time([pid]) - at for pid, at in zip(pids, before, strict=True)]
        digests = options.batches * options.size
        costs[name] = sum(used) / digests
        # Nodes that share the requests check as many a second as the busiest has time for.
        print(
            f"{name}: {digests / max(used):,.0f} digests a second of processor time"
            f"{' of the busier node' if len(pids) > 1 else ''}, {digests / wall:,.0f} of wall time"
        )
    if options.nodes == 1:
        pause = 2 * 1000 * costs["sha1"]
        times = []
        bodies = batches("sha1", 200, 1000, [bytes(20)])
        client = Client(front, key)
        for body in bodies:
            times.append(client.send(body))
            time.sleep(max(0.0, pause - times[-1]))
        print(f"a batch of 1,000 sha1 at half load: p99 {1000 * float(np.percentile(times, 99)):.1f} ms")
    for number in (1, 21):
        hours = PICTURES * (costs["sha1"] + number * costs["pdq"]) / 3600
        print(f"67 million pictures, {number} PDQ each: {hours:,.1f} hours of one core")


if __name__ == "__main__":
    announce_build()
    raise SystemExit(main())
