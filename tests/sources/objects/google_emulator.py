"""Google's storage as an emulator has it, on loopback in a process of its own."""

from __future__ import annotations

import atexit
import subprocess
import sys
import time
import urllib.request
from functools import lru_cache
from itertools import count
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.sources.objects.unused import unused_port

_numbers = count()


@lru_cache(maxsize=1)
def emulator_url() -> str:
    """The emulator, which ends with this process."""
    port = unused_port()
    command = [
        sys.executable,
        "-m",
        "gcp_storage_emulator",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen([*command, "--in-memory", "-q"], stderr=subprocess.DEVNULL)
    atexit.register(process.wait)
    atexit.register(process.terminate)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/storage/v1/b", timeout=5).close()
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return url


class EmulatedBucket:
    """A new bucket."""

    def __init__(self, name: str = "") -> None:
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        options = {"api_endpoint": emulator_url()}
        self._client: Any = storage.Client(project="p", credentials=credentials, client_options=options)
        self.name = name or f"bucket-{next(_numbers)}"
        self._bucket = self._client.create_bucket(self.name)

    def put(self, key: str, content: bytes) -> None:
        self._bucket.blob(key).upload_from_string(content)

    def remove(self, key: str) -> None:
        self._bucket.blob(key).delete()

    def listed(self) -> list[str]:
        return [blob.name for blob in self._client.list_blobs(self.name)]

    def close(self) -> None:
        self._client.close()
