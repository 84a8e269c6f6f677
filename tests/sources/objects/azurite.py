"""A real blob service on loopback: Azurite, Microsoft's own, in a process of its own."""

from __future__ import annotations

import atexit
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import quote

import urllib3
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

PROGRAM = "TEST_AZURITE"
"""The variable with the path of azurite-blob; .ci/run installs it and sets this."""

ACCOUNT = "devstoreaccount1"
# Known to all: it stands in Azurite's documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Azurite:
    """The service, as its owner sees it."""

    url: str
    """Address of the account."""
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables for hashscan, with the account's key."""
        return {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};"
            f"AccountKey={KEY};BlobEndpoint={self.url};"
        }

    def service(self) -> Any:
        return BlobServiceClient(self.url, credential={"account_name": ACCOUNT, "account_key": KEY})

    def store(self, name: str, blobs: dict[str, bytes]) -> None:
        """Make a container of a given name with some blobs."""
        with self.service() as service:
            client = service.create_container(name)
            for key, content in blobs.items():
                client.upload_blob(key, content)

    @contextmanager
    def container(self, *, public: bool = False) -> Iterator[Container]:
        """A new container, removed in the end."""
        with self.service() as service:
            name = f"test-{next(self._numbers)}"
            client = service.create_container(name, public_access="container" if public else None)
            try:
                yield Container(name, self.url, client)
            finally:
                client.delete_container()


@dataclass
class Container:
    """One container."""

    name: str
    account_url: str
    client: Any

    def put(self, key: str, content: bytes) -> None:
        self.client.upload_blob(key, content, overwrite=True)

    def remove(self, key: str) -> None:
        self.client.delete_blob(key)

    def sas(self, **rights: bool) -> str:
        """A signature for the container that holds for an hour."""
        return str(
            generate_container_sas(
                ACCOUNT,
                self.name,
                account_key=KEY,
                permission=ContainerSasPermissions(**rights),
                expiry=datetime.now(UTC) + timedelta(hours=1),
            )
        )

    def put_as_is(self, key: str, content: bytes) -> None:
        """Store under a key that libraries change: it is sent as it stands."""
        address = urllib3.util.parse_url(self.account_url)
        connection = urllib3.connection.HTTPConnection(str(address.host), address.port)
        target = f"{address.path}/{self.name}/{quote(key)}?{self.sas(read=True, write=True, create=True)}"
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-10-04"}
        connection.request("PUT", target, body=content, headers=headers)
        assert connection.getresponse().status == 201
        connection.close()


@lru_cache(maxsize=1)
def azurite() -> Azurite:
    """The service, a process of its own, which ends with this one."""
    command = [os.environ[PROGRAM], "--silent", "--disableTelemetry", "--inMemoryPersistence"]
    # Azurite knows the library's newest dialect a little later than the library.
    command += ["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(process.wait)
    atexit.register(process.terminate)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listens on (http://127\.0\.0\.1:\d+)", line):
            return Azurite(f"{found[1]}/{ACCOUNT}")
    raise AssertionError("Azurite ended before it listened")
