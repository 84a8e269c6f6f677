"""Services on loopback that alerts are sent to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """A web server that takes what is posted, as long as it is well."""

    port: int = 0
    status: int = 200
    posted: list[dict[str, Any]] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """Set, it gives no answer until it is ended."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """As Apprise has it, with a token."""
        return f"json://0perator:{TOKEN}@127.0.0.1:{self.port}/{PATH_TOKEN}"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.posted]


TOKEN, PATH_TOKEN = "s3cr3t-Token", "T0KEN/in/Th3Path"


@contextmanager
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hook.silent.is_set():
                hook.ended.wait()
                return
            if hook.status == 200:
                hook.posted.append(json.loads(body))
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass

    with Http(("127.0.0.1", 0), Handler) as http:
        hook.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hook
        finally:
            hook.ended.set()
            http.shutdown()
            thread.join()
