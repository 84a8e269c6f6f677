"""Very many keys and very large objects, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from hashscan.model import Reason
from tests.cli.conftest import COMMAND
from tests.object_server import object_server, pattern
from tests.sources.objects.buckets import credentials
from tests.sources.objects.scanning import UPLOADS

SIZE = 4_400_000_000
"""Size of a large object in bytes: its offsets need more than 32 bits."""
KEYS = 30_000
KEY_MEMORY = 1250
"""Bytes that all processes together may take for each key."""


def memory(pid: int) -> int:
    """Bytes that a process and its descendants take, each with its share of what several have in common."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return own + sum(memory(int(child)) for child in children)


def scanned(url: str, *options: str) -> tuple[dict[str, Any], int, list[dict[str, Any]]]:
    """A scan's summary, the most memory that all its processes took together, and its other records."""
    with credentials() as environment:
        command = [
            *COMMAND,
            "scan",
            "s3://bucket",
            "--endpoint",
            url,
            "--list",
            "demo",
            "--no-state",
            "--report",
            "-",
            *options,
        ]
        scan = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        most = 0
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.1):
                most = max(most, memory(scan.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, _ = scan.communicate()
        ended.set()
        watcher.join()
    *records, summary = map(json.loads, out.splitlines())
    return summary, most, records[1:]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_thousand_keys_under_one_prefix() -> None:
    with object_server(f"one/prefix/:{KEYS}:10") as url:
        summary, most, _ = scanned(url)
    assert (summary["verdicts"]["clean"], summary["exit_code"]) == (KEYS, 0)
    assert most < 250e6 + KEYS * KEY_MEMORY


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_large_object() -> None:
    free = os.statvfs("/var/tmp")
    if free.f_bavail * free.f_frsize < 2 * SIZE:
        pytest.skip("too little room for its temporary file")
    with object_server(f"cut1/:1:{SIZE}") as url:
        summary, most, _ = scanned(url, "--workers", "1")
    # Cut in the middle once, it went on where it was.
    assert (summary["verdicts"]["clean"], summary["bytes"]) == (1, SIZE)
    assert most < 500e6


def test_a_large_object_has_the_digests_of_its_bytes(tmp_path: Path) -> None:
    size = 40_000_000
    sha256 = hashlib.sha256(b"".join(pattern(b"cut1/000000", size))).hexdigest()
    entries = tmp_path / "entries.csv"
    entries.write_text(f"id,algorithm,value,category\nlarge,sha256,{sha256},A1\n")
    with credentials() as environment, object_server(f"cut1/:1:{size}", "fine/:5:100") as url:
        environment["HASHSCAN_STATE"] = str(tmp_path / "state")
        subprocess.run([*COMMAND, "lists", "import", entries, "--name", "l"], env=environment, check=True)
        command = [*COMMAND, "scan", "s3://bucket", "--endpoint", url, "--report", "-"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (found,) = (line for line in map(json.loads, done.stdout.splitlines()) if line["type"] == "finding")
    assert found["path"] == "s3://bucket/cut1/000000"


def test_no_room_for_some_costs_no_other_and_their_exact_digests_are_checked(tmp_path: Path) -> None:
    """A file there is no room for can't be decoded, or asked about; all else is reported for every object."""
    size = 40_000_000
    entries = tmp_path / "entries.csv"
    large = hashlib.sha256(b"".join(pattern(b"large/000000", size))).hexdigest()
    photo = UPLOADS / "bob" / "shop" / "banner.jpg"
    padded = photo.read_bytes() + bytes(30_000_000)
    (tmp_path / "padded").write_bytes(padded)
    (tmp_path / "listed").write_bytes(padded + b"1")
    entries.write_text(
        "id,algorithm,value,category\n"
        f"large,sha256,{large},A1\n"
        f"listed,md5,{hashlib.md5(padded + b'1', usedforsecurity=False).hexdigest()},A1\n"
    )
    served = object_server(
        "large/:2:40000000",
        "fine/:5:100",
        files={b"padded.jpg": tmp_path / "padded", b"listed.jpg": tmp_path / "listed"},
    )
    with credentials() as environment, served as url:
        environment["HASHSCAN_STATE"] = str(tmp_path / "state")
        subprocess.run([*COMMAND, "lists", "import", entries, "--name", "l"], env=environment, check=True)
        command = [*COMMAND, "scan", "s3://bucket", "--endpoint", url, "--report", "-", "--workers", "1"]
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))  # noqa: E731
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit
        )
    assert done.returncode == 1, done.stderr
    *records, summary = map(json.loads, done.stdout.splitlines())
    reported = {record["path"]: (record["verdict"], record.get("reason")) for record in records[1:]}
    assert reported == {
        "s3://bucket/large/000000": ("match", Reason.NO_ROOM.value),
        "s3://bucket/large/000001": ("undecoded", Reason.NO_ROOM.value),
        "s3://bucket/listed.jpg": ("match", Reason.NO_ROOM.value),
        "s3://bucket/padded.jpg": ("undecoded", Reason.NO_ROOM.value),
    }
    assert summary["verdicts"]["clean"] == 5
