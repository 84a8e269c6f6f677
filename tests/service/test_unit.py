"""The units of the service: systemd accepts them, they are hardened, and the hardening breaks nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.settings.values import SERVICE_GROUP
from tests.cli.conftest import runner
from tests.service.running import cases, service

UNITS = Path(__file__).parents[2] / "examples" / "systemd"
UNIT = UNITS / "hashscan-serve.service"
EXPOSURE_MAX = 2.5

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


@needs_systemd
def test_its_exposure_is_small() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE_MAX


def test_the_sockets_of_the_unit_are_named_by_protocols() -> None:
    from hashscan.service.server import DOORS

    names = re.findall(r"^FileDescriptorName=(.*)$", UNIT.with_suffix(".socket").read_text(), re.MULTILINE)
    assert names
    assert set(names) <= set(DOORS)


def test_clients_are_not_in_the_group_that_reads_secrets() -> None:
    group = re.search(r"^SocketGroup=(.*)$", UNIT.with_suffix(".socket").read_text(), re.MULTILINE)
    assert group is not None
    assert group[1] not in (SERVICE_GROUP, "root")
    assert f"\ng {group[1]} -\n" in (UNITS / "hashscan.sysusers").read_text()
    assert f"usermod -a -G {group[1]} " in UNIT.read_text()


@needs_systemd
def test_it_decodes_and_records_as_the_unit_confines_it(prepared_state: Path, listed: bytes) -> None:
    confined = [sys.executable, str(Path(__file__).with_name("hardened.py")), str(UNIT)]
    private = ["unshare", "--user", "--map-current-user", "--mount", "--propagation", "slave"]
    if subprocess.run([*private, "true"], check=False, capture_output=True).returncode:
        pytest.skip("user namespaces are not permitted here")
    with service(prepared_state, "--sandbox", "required", prefix=[*private, *confined]) as running:
        reference = running.upload(listed)
        assert reference is not None
        assert running.stop() == 0
    found = {case["reference"]: case for case in cases(runner(prepared_state))}
    assert set(found[reference]["upload"]["digests"]) >= {"sha256", "pdq"}
