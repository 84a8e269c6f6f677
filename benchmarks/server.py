"""A web server on loopback that counts what it sends."""

from __future__ import annotations

import functools
import http.server
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any


class CountingServer:
    """Serves a folder, which need not be there yet; used as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.sent = 0
        """Bytes sent since this was last set to 0, headers included."""
        self._lock = threading.Lock()
        handler = functools.partial(_Handler, self, directory=str(folder))
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._http.server_port}/"

    def count(self, size: int) -> None:
        """Note what was sent."""
        with self._lock:
            self.sent += size

    def __enter__(self) -> CountingServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: CountingServer, *arguments: Any, **options: Any) -> None:
        self._counter = server
        super().__init__(*arguments, **options)

    def setup(self) -> None:
        super().setup()
        write = self.wfile.write

        def counted(data: Any) -> int:
            self._counter.count(len(data))
            return write(data)

        self.wfile.write = counted  # type: ignore[method-assign]

    def handle(self) -> None:
        # It breaks when a subscriber is killed, as was asked for.
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass
