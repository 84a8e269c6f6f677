"""The examples for nginx and Django, with the real programs where they are installed."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.service.doors.clients import EXAMPLES, free_port, running
from tests.service.doors.http.conftest import LISTED
from tests.service.doors.http.serving import DOOR, Answered, HttpServer, Site, add_key, form
from tests.service.engine.serving import picture

CLEAN = picture(2)
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")


class Application(ThreadingHTTPServer):
    """Keeps the requests that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Application

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.got.append((self.command, self.path, body))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_MKCOL = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def application() -> Iterator[Application]:
    with Application() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def nginx(folder: Path, hashscan: int, behind: int, key: str) -> Iterator[int]:
    """nginx with the example's configuration."""
    assert NGINX is not None
    port = free_port()
    example = (EXAMPLES / "nginx" / "hashscan.conf").read_text()
    hidden = 'proxy_set_header Authorization "Bearer hashscan_..."'
    for old, new in (
        ("127.0.0.1:8086", f"127.0.0.1:{hashscan}"),
        ("127.0.0.1:8000", f"127.0.0.1:{behind}"),
        ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        (f"# {hidden}", hidden),
        ("hashscan_...", key),
    ):
        assert old in example
        example = example.replace(old, new)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nerror_log {folder}/error.log;\npid {folder}/pid;\nuser root;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{example}}}\n"
    )
    with running([NGINX, "-p", folder, "-c", folder / "nginx.conf"], port, folder / "output"):
        yield port


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answered(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_passes_on_what_is_allowed(server: HttpServer, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = add_key(keys, "scan", "check")
    with (
        application() as behind,
        server.door(replace(DOOR, show_entries=False), keys=keys) as site,
        nginx(tmp_path, site.port, behind.server_address[1], key) as port,
    ):
        body, kind = form(("a.jpg", CLEAN))
        assert ask(port, "POST", "/store?x=1", body, Content_Type=kind).status == 201
        assert ask(port, "PUT", "/dav/a.jpg", CLEAN).status == 201
        assert ask(port, "MKCOL", "/dav/folder").status == 201
        assert ask(port, "GET", "/page?y=2").status == 201
        assert behind.got == [
            ("POST", "/store?x=1", body),
            ("PUT", "/dav/a.jpg", CLEAN),
            ("MKCOL", "/dav/folder", b""),
            ("GET", "/page?y=2", b""),
        ]
        behind.got.clear()
        body, kind = form(("a.jpg", CLEAN), ("b.jpg", LISTED))
        refused = ask(port, "POST", "/store", body, Content_Type=kind)
        assert refused.status == 403
        assert b"hashscan.Blocked-" in refused.body
        assert b"ours" not in refused.body
        assert ask(port, "PUT", "/a", LISTED, X_Accel_Redirect="@hashscan_allowed").status == 403
        assert ask(port, "PATCH", "/a", LISTED).status == 403
        assert ask(port, "PUT", "/a", b"x", Content_Encoding="gzip").status == 415
        assert ask(port, "POST", "/a", body, Content_Type=f"{kind}; boundary=y").status == 400
        # A body that nobody checks does not get through either.
        assert ask(port, "GET", "/a", LISTED).status == 201
        assert behind.got.pop() == ("GET", "/a", b"")
        listed = sha256(LISTED).hexdigest()
        assert ask(port, "GET", f"/by-digest/{listed}").status == 403
        assert behind.got == []
        assert ask(port, "GET", f"/by-digest/{'0' * 64}", LISTED).status == 201
        assert behind.got.pop() == ("GET", f"/by-digest/{'0' * 64}", b"")
        for method in ("PUT", "POST"):
            assert ask(port, method, f"/by-digest/{'0' * 64}", LISTED).status == 403
        assert behind.got == []
        add_key(keys, "scan")  # the former one is revoked
        assert ask(port, "PUT", "/a", CLEAN).status == 401
        assert ask(port, "GET", f"/by-digest/{'0' * 64}").status == 401
        assert behind.got == []
        server.call(site.door.close(5))
        assert ask(port, "PUT", "/a", CLEAN).status == 502
        assert behind.got == []


DJANGO = """
import base64
import sys
sys.path.insert(0, {examples!r})
import django
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
settings.configure(
    ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"], HASHSCAN_URL={url!r}, HASHSCAN_KEY={key!r},
    FILE_UPLOAD_HANDLERS=[
        "hashscan_upload.HashscanUploadHandler",
        "django.core.files.uploadhandler.TemporaryFileUploadHandler",
    ],
    FILE_UPLOAD_TEMP_DIR={folder!r},
)
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path

def store(request):
    return HttpResponse(",".join(str(len(f.read())) for f in request.FILES.getlist("f")))

urlpatterns = [path("store", store)]
if len(sys.argv) == 1:
    # The first piece that Django decodes has no bytes.
    content = base64.b64encode(open({listed!r}, "rb").read())
    head = b'Content-Disposition: form-data; name="f"; filename="a"\\r\\nContent-Transfer-Encoding: base64'
    body = b"--x\\r\\n" + head + b"\\r\\n\\r\\n" + b"!" * (1 << 18) + content + b"\\r\\n--x--\\r\\n"
    print(Client().post("/store", body, content_type="multipart/form-data; boundary=x").status_code)
for names in sys.argv[1:]:
    files = [SimpleUploadedFile("a b.jpg", open(name, "rb").read()) for name in names.split(",")]
    try:
        answer = Client().post("/store", {{"f": files}})
        print(answer.status_code, answer.content.decode()[:20] if answer.status_code == 200 else "")
    except Exception as error:
        print(type(error).__name__)
"""


def test_django_refuses_what_is_refused(server: HttpServer, tmp_path: Path) -> None:
    pytest.importorskip("django")
    keys = tmp_path / "keys"
    key = add_key(keys, "scan")
    folder = tmp_path / "temporary"
    folder.mkdir()
    large = CLEAN + bytes(300_000)  # in several pieces
    for name, content in (("clean", CLEAN), ("large", large), ("listed", LISTED)):
        (tmp_path / name).write_bytes(content)

    def said(url: str, with_key: str, *names: str) -> list[str]:
        script = DJANGO.format(
            examples=str(EXAMPLES / "django"), url=url, key=with_key, folder=str(folder),
            listed=str(tmp_path / "listed"),
        )  # fmt: skip
        paths = [",".join(str(tmp_path / name) for name in each.split(",")) for each in names]
        done = subprocess.run(
            [sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return [line.strip() for line in done.stdout.splitlines()]

    with server.door(replace(DOOR, show_entries=False), keys=keys) as site:
        found = said(site.url, key, "clean", "clean,large", "listed", "clean,listed")
        assert found == [f"200 {len(CLEAN)}", f"200 {len(CLEAN)},{len(large)}", "403", "403"]
        assert said(site.url, key) == ["403"]
        assert said(site.url, "wrong", "clean") == ["UploadNotChecked"]
    assert said(site.url, key, "clean") == ["UploadNotChecked"]
    assert list(folder.iterdir()) == []
    assert isinstance(site, Site)
