"""The scripts and files of packages: they parse, and a purge keeps what may be evidence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools import build_packages
from tools.try_container import read_steps

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "packaging").glob("*.sh"))


def purge(tmp_path: Path) -> tuple[Path, str]:
    """Run the script of a purge with its folders below another; return that of states, and the output."""
    commands = tmp_path / "commands"
    commands.mkdir()
    # The user and the group exist, until they are removed.
    for name in ("getent", "userdel", "groupdel"):
        (commands / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (commands / name).chmod(0o755)
    script = tmp_path / "postrm"
    text = (ROOT / "packaging/postremove.sh").read_text().replace("/run/systemd/system", "/nowhere")
    text = text.replace(" /usr/", f" {tmp_path}/usr/")
    script.write_text(text.replace(" /var/", f" {tmp_path}/var/").replace(" /etc/", f" {tmp_path}/etc/"))
    done = subprocess.run(
        ["sh", script, "purge"],
        env={"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return tmp_path / "var/lib", done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_shell_reads_the_script(script: Path) -> None:
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_a_purge_leaves_nothing(tmp_path: Path) -> None:
    for name in (
        "var/lib/hashscan/quarantine",
        "var/lib/hashscan/reports",
        "var/log/hashscan",
        "etc/hashscan",
    ):
        (tmp_path / name).mkdir(parents=True)
    _, printed = purge(tmp_path)
    assert sorted(tmp_path.rglob("hashscan*")) == []
    assert "userdel hashscan" in printed
    assert "groupdel hashscan" in printed


@pytest.mark.parametrize("state", ["hashscan", "hashscan-quarantine"])
def test_a_purge_keeps_a_quarantine_that_is_not_empty_and_its_user(tmp_path: Path, state: str) -> None:
    log = tmp_path / "var/lib" / state / "quarantine/log"
    log.parent.mkdir(parents=True)
    log.touch()
    folder, printed = purge(tmp_path)
    assert [path.name for path in folder.iterdir()] == [state]
    assert log.exists()
    assert "userdel" not in printed


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="packages hold the examples that git tracks")
def test_units_of_a_package_start_the_packaged_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_packages, "module", lambda *command, cwd: " ".join(command))
    build_packages.add_system_files(build_packages.Tree(tmp_path), "deb")
    units = list((tmp_path / "usr/lib/systemd/system").iterdir())
    assert len(units) == 15
    lines = [line for unit in units for line in unit.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if "/opt/hashscan" in line] == []
    started = {line.split()[0] for line in lines if line.startswith("ExecStart=")}
    assert started == {"ExecStart=/usr/bin/hashscan"}
    assert (tmp_path / "usr/share/man/man1/hashscan.1.gz").stat().st_size


def test_a_package_depends_on_the_interpreter_that_it_is_for(tmp_path: Path) -> None:
    wheel = tmp_path / "hashscan-0.1.0-cp311-abi3-manylinux_2_28_aarch64.whl"
    settings = build_packages.settings(build_packages.Tree(tmp_path), wheel, "3.12")
    assert (settings["version"], settings["arch"], settings["release"]) == ("0.1.0", "arm64", "1+py312")
    overrides = settings["overrides"]
    assert isinstance(overrides, dict)
    assert all("python3.12" in part["depends"] for part in overrides.values())


def test_an_upgrade_keeps_changed_settings(tmp_path: Path) -> None:
    wheel = tmp_path / "hashscan-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"
    contents = build_packages.settings(build_packages.Tree(tmp_path), wheel, "3.13")["contents"]
    assert isinstance(contents, list)
    kept = {one["dst"] for one in contents if one["type"] == "config|noreplace"}
    assert kept == {"/etc/logrotate.d/hashscan"}


def test_the_container_has_an_unprivileged_user_by_number_and_a_health_check() -> None:
    """Kubernetes takes no name for `runAsNonRoot`; without a shell around them, signals reach the command."""
    steps = read_steps((ROOT / "Containerfile").read_text())
    assert steps.user == "10001:10001"
    assert steps.entry == ["hashscan"]
    assert steps.env == {"HASHSCAN_STATE": "/var/lib/hashscan"}
    assert "selftest" in steps.health[-1]
    assert subprocess.run(["sh", "-n", "-c", steps.health[-1]], check=False).returncode == 0
    assert all(subprocess.run(["sh", "-n", "-c", step], check=False).returncode == 0 for step in steps.run)
