"""Record a small state folder of this version, by which later versions test that they read it.

    python -m tools.record_state

Writes tests/recorded/VERSION.tar.xz: everything in `PLACE`, with owners and modes. Run it as root for each
release, on Linux with unshare(1): the state names this path, and a host that is called `HOST`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageDraw

from hashscan import __version__
from hashscan.cases.uploads import CheckCount, Checks, Refusal, encode_line
from hashscan.state_dir import StateDir

PLACE = Path("/var/tmp/hashscan-recorded")  # noqa: S108 - it must not exist
HOST = "recorded"
RECORDED = Path(__file__).parents[1] / "tests" / "recorded"
LISTED = ("alice/one.png", "alice/two.png", "bob/three.png")
"""The listed files: the first stays, the second is excepted, the third is moved into quarantine."""
UNLISTED = ("alice/four.png", "bob/five.png")


def main() -> None:
    """Record the state, in a place of its own and under a host name of its own."""
    if socket.gethostname() != HOST:
        inner = f'hostname {HOST} && exec "$@"'
        command = ("unshare", "--uts", "sh", "-c", inner, "sh", sys.executable, "-m", "tools.record_state")
        os.execvp(command[0], command)  # noqa: S606
    RECORDED.mkdir(exist_ok=True)
    with _place():
        _make()
        output = RECORDED / f"{__version__}.tar.xz"
        with tarfile.open(output, "w:xz", preset=9) as archive:
            archive.add(PLACE, ".", filter=_nameless)
    print(f"{output}: {output.stat().st_size} bytes")


@contextmanager
def _place() -> Iterator[None]:
    os.umask(0o022)
    PLACE.mkdir(mode=0o755)
    try:
        yield
    finally:
        shutil.rmtree(PLACE)


def _make() -> None:
    for number, name in enumerate((*LISTED, *UNLISTED)):
        _draw(PLACE / "site" / name, number)
    (PLACE / "site" / "alice" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    hashed = map(json.loads, _run("hash", *(f"site/{name}" for name in LISTED)).splitlines())
    rows = (
        f"{number}-{algorithm},{algorithm},{digests[algorithm]},A1\n"
        for number, digests in enumerate(record["digests"] for record in hashed)
        for algorithm in ("sha256", "pdq")
    )
    (PLACE / "entries.csv").write_text(f"id,algorithm,value,category\n{''.join(rows)}")
    (PLACE / "hashscan.toml").write_text(
        f'state = "{PLACE}/state"\n\n[[customer]]\npath = "{PLACE}/site/{{customer}}/"\n'
    )
    _run("lists", "import", "entries.csv", "--name", "ours")
    until = ("--until", "2099-01-01")
    for algorithm in ("sha256", "pdq"):
        _run("lists", "except", f"1-{algorithm}", "--list", "ours", "--reason", "a theme", *until)
    # Scans don't believe files that were written just now.
    time.sleep(3)
    _run("scan", "site", "--with-digests", "--report", "first.jsonl", "--exec", "/bin/true")
    moved = ("quarantine", "add", f"site/{LISTED[2]}", "--reason", "order 4711", "--category", "A1")
    _run(*moved, "--stay-down", *until, "--retain-min", "1d", "--destroy-by", "36500d")
    _run("cases", "tell", "1", "--recipient", "the customer")
    _run("scan", "site", "--exec", "/bin/true")
    _write_journal(StateDir(PLACE / "state"))


def _write_journal(state: StateDir) -> None:
    """Write what `hashscan serve` leaves if it is killed before the ledger has its records."""
    at = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp())
    sha256 = hashlib.sha256(b"an upload").hexdigest()
    match = {"list": "ours", "entry": "0-sha256", "algorithm": "sha256", "variant": "as stored",
             "category": "A1", "distance": 0, "threshold": 0}  # fmt: skip
    records = (
        Refusal(
            reference="0123456789ABCDEF", at=at, door="clamd", address="192.0.2.1", owner="alice",
            name="upload.jpg", verdict="match", because="sha256 equal", size=9, digests={"sha256": sha256},
            matches=[match],
        ),
        Checks(at, [CheckCount("clamd", "clean", "allow", 90, 9000)]),
    )  # fmt: skip
    state.uploads.mkdir(mode=0o700, exist_ok=True)
    lines = b"".join(encode_line(record) + b"\n" for record in records)
    (state.uploads / "killed.jsonl").write_bytes(lines + b"\0" * 4096)


def _draw(path: Path, number: int) -> None:
    """Draw a picture with shapes of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (160, 120), (40 * number, 200, 90))
    pen = ImageDraw.Draw(picture)
    for step in range(9):
        x, y = (37 * step * (number + 2)) % 150, (53 * step + 29 * number) % 110
        pen.ellipse((x, y, x + 20 + 5 * number, y + 30), (25 * step, 255 - 28 * step, 60 * number))
    picture.save(path)


def _run(*words: str) -> str:
    config = PLACE / "hashscan.toml"
    config.touch()
    command = [sys.executable, "-m", "hashscan", "--config", str(config), *words]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HASHSCAN_", "SUDO_"))}
    environ |= {"HASHSCAN_STATE": str(PLACE / "state"), "HASHSCAN_WORKERS": "1"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, cwd=PLACE, env=environ, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1, 3, 4}:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")
    return str(done.stdout)


def _nameless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
