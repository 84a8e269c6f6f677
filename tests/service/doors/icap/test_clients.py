"""Clients of others ask the real service: each of them finds the planted picture, and lets clean files pass.

Tests with Debian's programs are skipped where these are not installed: c-icap (c-icap-client), squid, rspamd.
"""

from __future__ import annotations

import http.client
import io
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from icap import IcapClient

from hashscan.service.doors.icap.door import IcapDoor
from hashscan.state_dir import StateDir
from tests.service.doors.clients import EXAMPLES, ask_rspamd, free_port, needs_rspamd, running
from tests.service.doors.icap.sessions import form
from tests.service.serving import STRICT, Cases, Service, clean, make_state, planted, served, tcp_door

C_ICAP_CLIENT = shutil.which("c-icap-client")
SQUID = shutil.which("squid", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIGURATION = EXAMPLES / "squid" / "hashscan.conf"

needs_c_icap = pytest.mark.skipif(C_ICAP_CLIENT is None, reason="c-icap-client is not installed")
needs_squid = pytest.mark.skipif(SQUID is None, reason="Squid is not installed")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDir:
    return make_state(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def service(state: StateDir) -> Iterator[Service]:
    with served(state, IcapDoor, tcp_door("icap")) as service:
        yield service


@needs_c_icap
@pytest.mark.parametrize("method", [["REQMOD", "-req"], ["RESPMOD", "-resp"]])
@pytest.mark.parametrize("options", [[], ["-no204"], ["-nopreview"], ["-w", "0"], ["-no204", "-nopreview"]])
def test_c_icap_client(service: Service, tmp_path: Path, method: list[str], options: list[str]) -> None:
    assert C_ICAP_CLIENT is not None
    for content, refused in ((clean(), False), (planted(), True)):
        file, out = tmp_path / "file", tmp_path / "out"
        file.write_bytes(content)
        out.unlink(missing_ok=True)
        asked = subprocess.run(
            [
                *(C_ICAP_CLIENT, "-i", service.address.host, "-p", str(service.address.port)),
                *("-s", "hashscan", "-method", *method, "http://upload.example/a.jpg"),
                *("-f", file, "-o", out, "-v", *options),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        said = asked.stdout + asked.stderr
        if refused:
            assert "403 Forbidden" in said
            assert "X-Infection-Found: Type=0; Resolution=2; Threat=hashscan.Blocked-" in said
        elif "-no204" in options:
            assert out.read_bytes() == content
        else:
            assert "ICAP/1.0 204" in said


def test_python_icap(service: Service) -> None:
    with IcapClient(service.address.host, service.address.port) as client:
        assert client.options("avscan").status_code == 200
        for content, refused in ((clean(), False), (planted(), True), (clean(), False)):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
            asked = b"GET /a.jpg HTTP/1.1\r\nHost: h\r\n\r\n"
            for answer in (
                client.scan_bytes(content),
                client.scan_bytes(content, service="hashscan", filename="a b.jpg"),
                client.scan_stream(io.BytesIO(content), chunk_size=1000),
                client.respmod("avscan", asked, head + content, preview=100),
                client.respmod("avscan", asked, head + content, preview=10**6),
            ):
                assert answer.is_no_modification != refused
                assert ("X-Virus-ID" in answer.headers) == refused


class _Origin(BaseHTTPRequestHandler):
    """A web server that stores uploads and sends files."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self._send(self.files[self.path])

    def do_PUT(self) -> None:
        self.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(b"stored")

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def origin() -> Iterator[ThreadingHTTPServer]:
    _Origin.files = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Origin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def squid(icap_port: int, bypass: str = "off") -> Iterator[int]:
    """Squid with the example's configuration; yield its port."""
    assert SQUID is not None
    folder = Path(tempfile.mkdtemp(prefix="squid-"))
    try:
        if os.geteuid() == 0:
            # It drops its privileges, and writes its log then.
            owner = pwd.getpwnam("proxy")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        example = CONFIGURATION.read_text()
        assert example.count("127.0.0.1:1344/") == example.count("bypass=off\n") == 2
        example = example.replace("127.0.0.1:1344/", f"127.0.0.1:{icap_port}/")
        (folder / "hashscan.conf").write_text(example.replace("bypass=off\n", f"bypass={bypass}\n"))
        port = free_port()
        (folder / "squid.conf").write_text(
            f"http_port 127.0.0.1:{port}\npid_filename none\naccess_log none\ncache_log {folder}/log\n"
            "cache deny all\nhttp_access allow all\nshutdown_lifetime 0 seconds\nvisible_hostname squid\n"
            f"coredump_dir {folder}\nicap_service_failure_limit -1\ninclude {folder}/hashscan.conf\n"
        )
        with running([SQUID, "-N", "-f", folder / "squid.conf"], port, folder / "output"):
            yield port
        assert not re.search("FATAL|assertion failed", (folder / "log").read_text())
    finally:
        shutil.rmtree(folder)


def through(
    port: int, origin: ThreadingHTTPServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """Status and body of a request by way of Squid."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{origin.server_port}{path}"
        connection.request(method, url, body, fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@needs_squid
def test_squid(state: StateDir, origin: ThreadingHTTPServer) -> None:
    cases = Cases()
    with (
        served(state, IcapDoor, tcp_door("icap"), recorder=cases) as service,
        squid(service.address.port) as port,
    ):
        large = clean() + bytes(1_000_000)
        kind = "multipart/form-data; boundary=b7"
        for content, headers in (
            (clean(), {}),
            (b"", {}),
            (large, {}),
            (form(b"b7", [clean(), b"text"]), {"Content_Type": kind}),
        ):
            assert through(port, origin, "PUT", "/a", content, **headers) == (200, b"stored")
            assert _Origin.files["/a"] == content
            if not headers:
                assert through(port, origin, "GET", "/a") == (200, content)
        for content, headers in (
            (planted(), {}),
            (form(b"b7", [clean(), planted()]), {"Content_Type": kind}),
            (form(b"b7", [large, planted()]), {"Content_Type": kind}),
            (clean(), {"Content_Encoding": "gzip"}),
        ):
            status, page = through(port, origin, "PUT", "/refused", content, **headers)
            assert status == 403
            assert b"hashscan.Blocked-" in page
        assert "/refused" not in _Origin.files
        _Origin.files["/there"] = planted()
        assert through(port, origin, "GET", "/there")[0] == 403
        _Origin.files["/a"] = clean()
        # A part of a file is not asked for, since it could not be checked.
        assert through(port, origin, "GET", "/a", Range="bytes=0-9") == (200, _Origin.files["/a"])
    assert len(cases.refusals) == 5


@needs_squid
@pytest.mark.parametrize(
    ("bypass", "large", "passes"),
    [("off", False, False), ("off", True, False), ("on", False, True), ("on", True, False)],
)
def test_squid_and_bodies_that_are_not_checked(
    state: StateDir, origin: ThreadingHTTPServer, bypass: str, large: bool, passes: bool
) -> None:
    """With `bypass=on`, Squid lets an upload pass after an ICAP error, as long as it has all of it."""
    door = tcp_door("icap", answers={**STRICT, "undecoded": "error"})
    body = bytes(10**6 if large else 1000)
    with served(state, IcapDoor, door) as service, squid(service.address.port, bypass) as port:
        status, _ = through(port, origin, "PUT", "/a", body, Content_Encoding="gzip")
        assert status == (200 if passes else 500)
        assert ("/a" in _Origin.files) == passes


@needs_squid
@pytest.mark.parametrize(("bypass", "status"), [("off", 500), ("on", 200)])
def test_squid_without_the_service(origin: ThreadingHTTPServer, bypass: str, status: int) -> None:
    with squid(free_port(), bypass) as port:
        assert through(port, origin, "PUT", "/a", planted())[0] == status


def test_the_command_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "docs" / "serve.md").read_text()
    [command] = re.findall(r"^hashscan (serve --icap .+)$", text, re.MULTILINE)
    port = free_port()
    arguments = command.replace("tcp:127.0.0.1:1344", f"tcp:127.0.0.1:{port}").split()
    state = make_state(tmp_path / "state")
    started = [sys.executable, "-m", "hashscan", *arguments, "--state", str(state.path)]
    with running(started, port, tmp_path / "log") as process, IcapClient("127.0.0.1", port) as client:
        assert client.scan_bytes(clean()).is_no_modification
        assert not client.scan_bytes(planted()).is_no_modification
    assert process.returncode in {0, 143}


@pytest.mark.slow
@needs_rspamd
def test_rspamd(service: Service, tmp_path: Path) -> None:
    example = (EXAMPLES / "rspamd" / "external_services.conf").read_text()
    assert example.count('"127.0.0.1:1344"') == 1
    settings = example.replace('"127.0.0.1:1344"', f'"127.0.0.1:{service.address.port}"')
    refused, passed = ask_rspamd(tmp_path, "external_services", settings, planted(), clean())
    assert (refused["action"], passed["action"]) == ("reject", "no action")
    assert "HASHSCAN" in refused["symbols"]
    assert "HASHSCAN" not in passed["symbols"]
