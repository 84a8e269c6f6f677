"""Repeats one operation on an object, and dies before every fourth step, beginning with one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import botocore.session

from hashscan.quarantine import system
from hashscan.quarantine.retention import destroy
from hashscan.sources.objects.s3.changeable import ChangeableS3Store
from hashscan.sources.objects.s3.client import S3Clients
from tests.quarantine.dying import CALLS
from tests.quarantine.vault import Vault
from tests.sources.objects import buckets
from tests.sources.objects.buckets import TestBucket, credentials


def main(what: str, base: Path, url: str, place: str, versions: str, first: str) -> None:
    buckets.moto_url = lambda: url  # type: ignore[assignment]
    buckets._numbers = count(os.getpid() * 1000)
    # Its threads don't come along into a fork.
    S3Clients.obstore = lambda self, client: None  # type: ignore[method-assign]
    versioned = versions == "versioned"
    with credentials():
        session = botocore.session.get_session()
        session.get_credentials()
    botocore.session.get_session = lambda: session  # type: ignore[assignment]
    for number in range(int(first), 1000, 4):
        keep = TestBucket(versioned=versioned) if place == "bucket" else None
        with TestBucket(versioned=versioned) as bucket:
            vault = Vault(base / str(number), bucket, keep)
            request = vault.put(b"a//b")
            if what != "move":
                vault.take(request)
            if not (child := os.fork()):
                act(what, vault, request, number)
            _, status = os.waitpid(child, 0)
            where = vault.in_order(b"a//b") if what != "release" else released(vault)
            print(where, flush=True)  # noqa: T201
            if os.WIFEXITED(status):
                sys.exit(os.WEXITSTATUS(status))


def act(what: str, vault: Vault, request: Any, number: int) -> None:
    code = 1
    try:
        die_at(number)
        if what == "move":
            vault.take(request)
        elif what == "restore":
            vault.give_back()
        else:
            with vault.quarantine() as quarantine:
                for item in quarantine.items().values():
                    destroy(quarantine, item, "an order", override=True)
        code = 0
    finally:
        os._exit(code)


def released(vault: Vault) -> str:
    assert vault.mended() == []
    assert vault.verified() == []
    (item,) = vault.items()
    assert vault.copies() == ([] if item.state.value == "released" else [item.id])
    return item.state.value


def die_at(number: int) -> None:
    left = [number]

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments)

        return called

    for name in CALLS:
        setattr(system, name, dying(getattr(system, name)))
    for name in ("create", "delete"):
        setattr(ChangeableS3Store, name, dying(getattr(ChangeableS3Store, name)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
