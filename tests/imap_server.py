"""Debian's dovecot with one mailbox of maildir, and a token endpoint with the introspection that it asks."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from tests.waiting import until

DOVECOT = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
USER, PASSWORD = "abuse@hoster.example", 'a "secret" \\ word'
_OWNER = "nobody"
_CONFIG = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = {ssl}
{certificate}
auth_allow_cleartext = yes
auth_failure_delay = 0
auth_mechanisms = {mechanisms}
first_valid_uid = 1
mail_driver = maildir
mail_path = {folder}/mail
mail_uid = {owner}
mail_gid = {group}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
}}
passdb static {{
  password = {password}
}}
userdb static {{
  fields {{
    uid = {owner}
    gid = {group}
    home = {folder}
  }}
}}
{oauth}
"""
_OAUTH = """\
oauth2 {{
  introspection_mode = post
  introspection_url = {url}introspect
  force_introspection = yes
  username_attribute = username
  active_attribute = active
  active_value = true
}}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Dovecot:
    """The running server."""

    folder: Path
    port: int
    tls_port: int
    number: int = 0

    @property
    def box(self) -> Path:
        return self.folder / "mail"

    def deliver(self, mail: bytes) -> None:
        """Deliver a mail."""
        self.number += 1
        path = self.box / "new" / f"{1_800_000_000 + self.number}.{self.number}.host"
        path.write_bytes(mail)
        self._give(path)

    def _give(self, path: Path) -> None:
        owner = pwd.getpwnam(_OWNER)
        os.chown(path, owner.pw_uid, owner.pw_gid)

    def make_folder(self, folder: str, part: str) -> None:
        """Make a folder, or one of its parts."""
        path = self.box / f".{folder}" / part
        path.mkdir()
        self._give(path)

    def renumber(self) -> None:
        """Forget all UIDs, and take another UIDVALIDITY."""
        path = self.box / "dovecot-uidlist"
        validity = next(word for word in path.read_text().split() if word.startswith("V"))
        for each in self.box.glob("dovecot*"):
            each.unlink()
        path.write_text(f"3 V{int(validity[1:]) + 1000} N1\n")
        self._give(path)

    def files(self, folder: str = "") -> list[str]:
        """Return the names of the mails in a folder, with their flags."""
        base = self.box / f".{folder}" if folder else self.box
        return sorted(path.name for kind in ("new", "cur") for path in (base / kind).iterdir())


@contextmanager
def dovecot(certificate: Sequence[Path] = (), token_url: str = "") -> Iterator[Dovecot]:
    """Run the server.

    Args:
        certificate: files of its certificate and its key; without them, it has no TLS.
        token_url: of a `TokenServer`; with it, only access tokens are accepted.
    """
    assert DOVECOT is not None
    # Not in pytest's folder, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="imap-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Dovecot(folder, free_port(), free_port())
        owner = pwd.getpwnam(_OWNER)
        for path in (server.box, *(server.box / each for each in ("new", "cur", "tmp"))):
            path.mkdir()
            server._give(path)
        files = ""
        if certificate:
            files = "\n".join(
                f"ssl_server_{kind}_file = {path}"
                for kind, path in zip(("cert", "key"), certificate, strict=True)
            )
        escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        config = folder / "dovecot.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                port=server.port,
                tls_port=server.tls_port,
                owner=_OWNER,
                group=owner.pw_gid,
                password=f'"{escaped}"',
                ssl="yes" if certificate else "no",
                certificate=files,
                mechanisms="xoauth2" if token_url else "plain",
                oauth=_OAUTH.format(url=token_url) if token_url else "",
            )
        )
        process = subprocess.Popen(
            [DOVECOT, "-F", "-c", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            until(lambda: _answers(server.port) or process.poll() is not None)
            if process.poll() is not None:
                assert process.stdout is not None
                raise AssertionError(process.stdout.read().decode())
            yield server
        finally:
            process.terminate()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as found:
            return found.recv(4) == b"* OK"
    except OSError:
        return False


@dataclass
class TokenServer:
    """A token endpoint that gives a token for the refresh token, which it changes each time."""

    url: str = ""
    refresh: str = "refresh-0"
    given: list[str] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    requests: list[dict[str, str]] = field(default_factory=list)
    refuses: bool = False
    """True if the tokens that it gives are not valid."""
    keeps_replaced: bool = False
    """True if refresh tokens that it has replaced stay valid, as with Microsoft's identity platform."""

    def answer(self, path: str, fields: dict[str, str]) -> tuple[int, dict[str, object]]:
        if path == "/introspect":
            is_active = fields.get("token") in self.active
            return 200, {"active": is_active, **({"username": USER} if is_active else {})}
        self.requests.append(fields)
        if fields.get("refresh_token") != self.refresh and not self.keeps_replaced:
            return 400, {"error": "invalid_grant"}
        self.given.append(f"token-{len(self.given)}")
        self.active.clear()
        self.active.update(set() if self.refuses else {self.given[-1]})
        self.refresh = f"refresh-{len(self.given)}"
        return 200, {
            "access_token": self.given[-1],
            "refresh_token": self.refresh,
            "token_type": "Bearer",
            "expires_in": 3600,
        }


@contextmanager
def token_server() -> Iterator[TokenServer]:
    tokens = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = {name: values[0] for name, values in parse_qs(body).items()}
            status, document = tokens.answer(self.path, fields)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        tokens.url = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield tokens
        finally:
            http.shutdown()
            thread.join()
