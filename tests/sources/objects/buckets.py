"""Buckets for tests, in moto's server on loopback."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import count
from typing import Any
from unittest import mock

import botocore.session
import obstore

from hashscan.model import Access

KEY_ID = "HSTESTKEYID"
SECRET = "hashscan-test-secret-7Jq2"
"""Recognisable, so that tests can look for it where it must not be."""

_numbers = count()


_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@lru_cache(maxsize=1)
def moto_url() -> str:
    """The server, a process of its own, which ends with this one."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return f"http://127.0.0.1:{process.stdout.readline().strip()}"


@lru_cache(maxsize=1)
def wake_obstore() -> None:
    """Have obstore start the threads it keeps, whose descriptors are no leak."""
    from obstore.store import MemoryStore

    obstore.list_with_delimiter(MemoryStore())


@contextmanager
def credentials(**more: str) -> Iterator[dict[str, str]]:
    """An environment with credentials in it, and nothing else that says where to look for some."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    kept |= {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, **more}
    kept |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
    kept |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield kept


def stored(name: str, objects: dict[bytes, bytes]) -> None:
    """Make a bucket of a given name with some objects."""
    client = botocore.session.get_session().create_client(
        "s3", region_name="us-east-1", endpoint_url=moto_url()
    )
    try:
        client.create_bucket(Bucket=name)
        for key, content in objects.items():
            client.put_object(Bucket=name, Key=key.decode(), Body=content)
    finally:
        client.close()


class TestBucket:
    """A bucket of its own, with everything in it gone at the end."""

    __test__ = False

    def __init__(self, *, versioned: bool = False) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(credentials())
        self.name = f"bucket-{next(_numbers)}"
        self.access = Access(endpoint=moto_url())
        self.client: Any = botocore.session.get_session().create_client(
            "s3", region_name="us-east-1", endpoint_url=moto_url()
        )
        self._stack.callback(self.client.close)
        self.client.create_bucket(Bucket=self.name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    @property
    def url(self) -> bytes:
        return f"s3://{self.name}".encode()

    def put(self, key: bytes, content: bytes, **more: str) -> dict[str, Any]:
        """Store an object."""
        answer: dict[str, Any] = self.client.put_object(
            Bucket=self.name, Key=key.decode(), Body=content, **more
        )
        return answer

    def remove(self, key: bytes) -> None:
        self.client.delete_object(Bucket=self.name, Key=key.decode())

    def listed(self) -> list[bytes]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [found["Key"].encode() for page in pages for found in page.get("Contents", ())]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> TestBucket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
