"""The unit that moves has the rights that moving, putting back and destroying need, and no others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import environment

UNIT = Path(__file__).parents[1] / "examples" / "systemd" / "hashscan-quarantine.service"
TERMS = ("--reason", "r", "--retain-min", "0s", "--destroy-by", "0s")
TO_BIND_LOW_PORTS = bytes.fromhex("0100000200200000000000000000000000000000")
CUSTOMER, FRIENDS = 12345, 23456

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or None in map(shutil.which, ("setpriv", "unshare", "setfacl")),
    reason="only root can give up rights",
)


def capabilities() -> list[str]:
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    return [name.removeprefix("CAP_").lower() for name in line.split()]


@dataclass(frozen=True)
class Customer:
    """A folder of a customer's, whose own file system has no place, and one beneath root's folder."""

    state: Path
    near: Path
    far: Path

    def files(self) -> list[Path]:
        return [
            folder / name for folder in (self.near, self.far) for name in ("bit", "list", "plain", "right")
        ]

    def lay_out(self) -> None:
        for folder in (self.near, self.far):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("bit", "list", "plain", "right"):
                (folder / name).write_bytes(name.encode())
                os.chown(folder / name, CUSTOMER, FRIENDS)
                (folder / name).chmod(0o600)
                os.setxattr(folder / name, "user.note", b"mine")
            (folder / "bit").chmod(0o6711)
            subprocess.run(["setfacl", "-m", f"u:{FRIENDS}:rw", folder / "list"], check=True)
            os.setxattr(folder / "right", "security.capability", TO_BIND_LOW_PORTS)
            os.chown(folder, CUSTOMER, CUSTOMER)
            folder.chmod(0o1700)
            for path in (*folder.iterdir(), folder):
                os.utime(path, ns=(10**18, 10**18))

    def seen(self) -> list[tuple[object, ...]]:
        return [
            (path, s.st_uid, s.st_gid, s.st_mode, s.st_mtime_ns, s.st_atime_ns, attributes)
            for path in (*self.files(), self.near, self.far)
            for s, attributes in [(path.stat(), {n: os.getxattr(path, n) for n in os.listxattr(path)})]
        ]

    def run(self, rights: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
        kept = ",".join(["-all", *(f"+{name}" for name in rights)])
        given_up = ["setpriv", "--bounding-set", kept, "--inh-caps=-all", "--no-new-privs"]
        return subprocess.run(
            [*given_up, sys.executable, "-m", "hashscan", "quarantine", *map(str, arguments)],
            env=environment(self.state), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def trouble(self, rights: list[str]) -> str:
        """Return the errors of moving a file, restoring it, and moving and releasing it with these rights."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.lay_out()
        before = self.seen()
        # Of another user, as an upload that is not over.
        with (
            (self.near / "plain").open("ab") as written,
            subprocess.Popen(["sleep", "60"], stdout=written, user=CUSTOMER) as writer,
        ):
            try:
                ran = self.run(rights, "add", *self.files(), *TERMS)
            finally:
                writer.kill()
        if ran.returncode:
            return f"not moved: {ran.stderr}"
        if f"sleep (pid {writer.pid})" not in ran.stderr:
            return f"who writes is not seen: {ran.stderr}"
        for command in (("verify", "--repair"), ("restore", "--all")):
            ran = self.run(rights, *command)
            if ran.returncode:
                return f"{command}: {ran.stderr}"
        if self.seen() != before:
            return f"not as it was: {before} {self.seen()}"
        for command in (("add", *self.files(), *TERMS), ("destroy",)):
            ran = self.run(rights, *command)
            if ran.returncode:
                return f"{command}: {ran.stderr}"
        places = [self.state / "quarantine", self.near.parent]
        left = [
            os.listdir(p / ".hashscan-quarantine") for p in places if (p / ".hashscan-quarantine").exists()
        ]
        return "" if left == [["CACHEDIR.TAG"]] * len(left) else f"left: {left}"


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    """Its far folder is on a file system whose top is the customer's."""
    far = tmp_path / "far"
    far.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"uid={CUSTOMER},mode=0755", "none", far],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        if os.stat(tmp_path).st_dev == os.stat("/dev/shm").st_dev:
            pytest.skip("the tests' own file system must keep attributes")
        yield Customer(tmp_path / "state", tmp_path / "near", far / "files")
    finally:
        subprocess.run(["umount", far], check=True)


@pytest.mark.slow
@needs_root
def test_its_rights_are_enough(customer: Customer) -> None:
    assert customer.trouble(capabilities()) == ""


@needs_root
def test_it_moves_where_all_else_is_read_only(customer: Customer, tmp_path: Path) -> None:
    """As systemd has it by ProtectSystem= and ReadWritePaths=; what it moved can be put back without."""
    customer.lay_out()
    customer.state.mkdir()
    target = tmp_path / "www"
    target.mkdir()
    customer.near.rename(target / "near")
    customer = Customer(customer.state, target / "near", customer.far)
    before = customer.seen()
    closed = "".join(f"mount --bind {p} {p}; " for p in (customer.state, target, customer.far.parent))
    script = f'{closed} mount -o remount,ro,bind /; ! touch "$0" 2> /dev/null; exec "$@"'
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities())])
    command = [sys.executable, "-m", "hashscan", "quarantine", "add", *customer.files(), *TERMS]
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, tmp_path / "a", "setpriv", "--bounding-set", kept, *command],
        env=environment(customer.state), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for above in (target, customer.state / "quarantine"):
        assert len(os.listdir(above / ".hashscan-quarantine")) == 1 + 4
    ran = customer.run(capabilities(), "restore", "--all")
    assert ran.returncode == 0, ran.stderr
    assert customer.seen() == before


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("right", capabilities())
def test_none_of_its_rights_is_superfluous(right: str, customer: Customer) -> None:
    fewer = [name for name in capabilities() if name != right]
    assert customer.trouble(fewer) != ""
