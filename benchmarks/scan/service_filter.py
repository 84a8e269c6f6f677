"""Count what a scan asks a matching service about, without and with a filter of the service's list.

    python -m benchmarks.scan.service_filter --files 100000 --listed 1000000

Files of 2 kB with distinct contents are written in the folder for temporary files; `--work` names another.
The service runs in this process, and speaks hashscan's interface. Its list has the SHA-256 of ten of the
files, and random ones besides. Both scans begin without a state. Printed are, for each, the exact digests
that were sent and are not in the list, their share of all digests of the files that are not, the bytes that
left the scan in bodies, the requests, and the time of the scan. It exits 1 if a listed file was not asked
about.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import lay_out_texts
from benchmarks.scan.matching_service import KEY, hashscan
from hashscan.lists.publishing.filters import publish_filter_of
from hashscan.lists.publishing.publisher import Publisher
from hashscan.matching_service_api import CheckAnswer, CheckMatch, CheckRequest, FilterAddress, Info
from hashscan.state_dir import StateDir

LISTED_FILES = 10
ALGORITHMS = ("sha256", "sha1", "md5")


class Service:
    """A service that counts what it is asked about."""

    def __init__(self, listed: Sequence[str], repository: Path, root: str, version: str) -> None:
        self._listed = set(listed)
        self._repository = repository
        self._root, self._version = root, version
        self.filtered = False
        """True to name the filter."""
        self.begin()
        self.url = ""

    def begin(self) -> None:
        """Count from zero."""
        self.digests, self.hits, self.requests, self.received = 0, 0, 0, 0

    def answer(self, path: str, body: bytes) -> bytes | None:
        """Return the answer to a request; None if there is no such path."""
        self.requests += 1
        self.received += len(body)
        if path == "/v1/info":
            named = FilterAddress(f"{self.url}filters/", self._root, self._version)
            return msgspec.json.encode(Info("1", list(ALGORITHMS), 400, named if self.filtered else None))
        if path == "/v1/check":
            digests = msgspec.json.decode(body, type=CheckRequest).digests
            self.digests += len(digests)
            found = [
                CheckMatch(place, digest.value[:16], "A1")
                for place, digest in enumerate(digests)
                if digest.value in self._listed
            ]
            self.hits += len(found)
            return msgspec.json.encode(CheckAnswer("1", found))
        file = self._repository / path.removeprefix("/filters/")
        return file.read_bytes() if path.startswith("/filters/") and file.is_file() else None


@contextmanager
def running(service: Service) -> Iterator[None]:
    """Run a service on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = service.answer(self.path, body)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def write_list(path: Path, listed: Sequence[str], number: int) -> None:
    """Write entries of digests, and of random ones besides."""
    rng = np.random.default_rng(20261129)
    with path.open("w", encoding="ascii") as stream:
        stream.write("id,algorithm,value,category\n")
        for place, value in enumerate(listed):
            stream.write(f"f{place},sha256,{value},A1\n")
        for place in range(number - len(listed)):
            stream.write(f"r{place},sha256,{rng.bytes(32).hex()},A1\n")


def main() -> int:
    """Scan twice, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="files to scan")
    parser.add_argument("--listed", type=int, default=1_000_000, help="entries of the service's list")
    parser.add_argument("--work", type=Path, help="folder for the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        tree, entries, key, owner = work / "tree", work / "list.csv", work / "key", work / "owner"
        tree.mkdir()
        lay_out_texts(tree, options.files)
        some = sorted(tree.rglob("*.txt"))[:: max(1, options.files // LISTED_FILES)][:LISTED_FILES]
        listed = [hashlib.sha256(path.read_bytes()).hexdigest() for path in some]
        write_list(entries, listed, options.listed)
        key.write_text(KEY)
        key.chmod(0o600)
        hashscan(owner, "lists", "import", entries, "--name", "list")
        Publisher.init(work / "publisher", work / "repository", work / "keys", "filters")
        made = publish_filter_of(work / "publisher", StateDir(owner), ["list"])
        service = Service(listed, work / "repository", made.fingerprint, made.version)
        clean = options.files * len(ALGORITHMS) - len(listed)
        sys.stdout.write(f"{options.files} files, {options.listed} entries, filter of {made.bytes} bytes\n")
        with running(service):
            for name, service.filtered in (("without", False), ("with", True)):
                state = work / "client"
                shutil.rmtree(state, ignore_errors=True)
                service.begin()
                add = "lists", "add", "asked", "--service", service.url, "--key-file", key
                hashscan(state, *add)
                begun = time.monotonic()
                hashscan(state, "scan", tree, "--report", work / "report.jsonl")
                seconds = time.monotonic() - begun
                if service.hits != len(listed):
                    sys.stderr.write(f"{service.hits} of {len(listed)} listed files were asked about\n")
                    return 1
                asked = service.digests - service.hits
                sys.stdout.write(
                    f"{name:>8} filter: {asked:>9} clean digests sent, {asked / clean:.4%}; "
                    f"{service.received} bytes, {service.requests} requests, {seconds:.1f} s\n"
                )
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
