"""The cluster of examples/dask: its certificates and the commands of its units, all on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scan.nodes import Program, said_port
from tests.test_examples import UPLOADS, hashscan

DASK = Path(__file__).parents[1] / "examples" / "dask"
CERTIFICATES = "/etc/hashscan/cluster"
SCHEDULER = "tls://scheduler.example.org:8786"


def command_of(unit: str, folder: Path) -> list[str]:
    """Return the command by which a unit starts its program, as it would be on this machine."""
    (line,) = re.findall(r"^ExecStart=(.*)$", (DASK / unit).read_text(), re.MULTILINE)
    placed = line.replace(CERTIFICATES, str(folder)).replace("%d", str(folder))
    program, *arguments = shlex.split(placed.replace("--port 8786", "--host 127.0.0.1 --port 0"))
    return [sys.executable, "-m", os.path.basename(program), *arguments]


def settings_of(unit: str) -> dict[str, str]:
    lines = re.findall(r"^Environment=(.*)$", (DASK / unit).read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line) if "%" not in word)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_three_hosts_on_this_machine(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    hosts = ["scheduler.example.org", "node1.example.org", "node2.example.org", "admin.example.org"]
    for names in (hosts[:2], hosts[2:]):
        subprocess.run([DASK / "certificates.sh", *names], cwd=tmp_path, check=True, capture_output=True)
    folders = []
    for host in hosts:
        folder = tmp_path / "hosts" / host
        folder.mkdir(parents=True)
        shutil.copy(tmp_path / "ca.pem", folder)
        shutil.copy(tmp_path / f"{host}.pem", folder / "host.pem")
        shutil.copy(tmp_path / f"{host}.key", folder / "host.key")
        folders.append(folder)
    started = [
        Program(
            command_of("hashscan-scheduler.service", folders[0]),
            settings_of("hashscan-scheduler.service"),
        )
    ]
    request.addfinalizer(started[0].close)
    port = said_port(started[0].wait_for("Scheduler at:"))
    address = SCHEDULER.replace("scheduler.example.org:8786", f"127.0.0.1:{port}")
    for folder in folders[1:3]:
        own = {"HASHSCAN_SCHEDULER": address, "HASHSCAN_STATE": str(folder), "HASHSCAN_PROCESSES": "1"}
        started.append(Program(command_of("hashscan-worker.service", folder), own))
        request.addfinalizer(started[-1].close)
    for node in started[1:]:
        node.wait_for("are ready at")
    last = folders[3]
    scanned = hashscan(
        *("scan", UPLOADS, "--list", "demo", "--report", last / "report.jsonl", "--cluster", address),
        *(
            "--cluster-ca",
            last / "ca.pem",
            "--cluster-cert",
            last / "host.pem",
            "--cluster-key",
            last / "host.key",
        ),
        state=last,
    )
    assert scanned.returncode == 1, scanned.stderr
    assert '"workers":2' in (last / "report.jsonl").read_text()
    assert SCHEDULER in (DASK / "README.md").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = list(DASK.glob("*.service"))
    assert len(units) == 2
    for unit in units:
        text = re.sub(r"/opt/hashscan/bin/\w+", sys.executable, unit.read_text())
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "hashscan" in line]
    assert (done.returncode, complaints) == (0, [])
