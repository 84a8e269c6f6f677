"""A confined decoder that opens documents and archives, mails too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import json, structs

from hashscan.hashing.containers import TAIL_SIZE, container_behind
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import SVG, TEXT, sniff
from hashscan.hashing.member_records import ContainerEnd, Member, unpack_records
from hashscan.hashing.records import pack_request
from hashscan.model import ContainerKind, MemberLimits
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from hashscan.sandbox.protocol import REPLY_MAX

EXACT = ("md5", "sha1", "sha256")
LIMITS = MemberLimits(members=5000, bytes=256 << 20, member_bytes=64 << 20, ratio=200, depth=4, seconds=60)
WITHOUT_MAIL = (ContainerKind.ARCHIVE, ContainerKind.DOCUMENT)
Opened = tuple[list[Member], ContainerEnd]
Open = Callable[..., Opened]


@contextmanager
def made(*arguments: str, kinds: tuple[ContainerKind, ...] = tuple(ContainerKind)) -> Iterator[Sandbox]:
    """A sandbox whose decoders open containers."""
    all_of_them = (
        "hashscan.hashing.pdq:PDQ",
        "exact=" + ",".join(f"hashscan.hashing.exact:{name.upper()}" for name in EXACT),
        f"containers={json.encode(structs.replace(LIMITS, kinds=kinds)).decode()}",
        f"memory={1 << 29}",
        *arguments,
    )
    program = DecoderProgram("hashscan.hashing.media.decoder:load", all_of_them, REPLY_MAX)
    with Sandbox(program, SandboxOptions("auto", memory_bytes=1 << 29, seconds=60.0)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with made() as sandbox:
        yield sandbox


def records_of(sandbox: Sandbox, path: Path, content: bytes, kind: FileFormat | None = None) -> Opened:
    """Open a document by a decoder, and check every record."""
    path.write_bytes(content)
    kind = kind or sniff(content[: 256 * 1024]) or container_behind(content[-TAIL_SIZE:])
    assert kind is not None
    if kind == SVG:
        # It is a text with pictures, too.
        kind = TEXT
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = sandbox.parts(descriptor, pack_request(kind), 1000, seconds=60.0, parts_max=10_000)
        records = [record for part in parts for record in unpack_records(part, EXACT)]
    finally:
        os.close(descriptor)
    *members, end = records
    assert isinstance(end, ContainerEnd)
    found = [member for member in members if isinstance(member, Member)]
    assert (end.members, end.size) == (len(members), sum(member.size for member in found))
    return found, end


@pytest.fixture
def opened(sandbox: Sandbox, tmp_path: Path) -> Open:
    """Opens a document by a decoder; a format may be given."""

    def opened(content: bytes, kind: FileFormat | None = None) -> Opened:
        return records_of(sandbox, tmp_path / "document", content, kind)

    return opened
