"""Run the steps of `Containerfile` in a fresh root, without a container engine, and print the sizes.

    python -m tools.try_container dist

`dist` holds the package for Debian 13. What `RUN` does is done in a root of debootstrap; then the command,
the health check and a scan run there as the user of the container, with a root that can't be written, without
capabilities. Needs root, debootstrap and util-linux. What an engine does with layers and volumes is not
tried.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.build_wheels import ROOT, run

STATE = "/var/lib/hashscan"
UPLOADS = "/usr/share/hashscan/examples/uploads"


class Steps(NamedTuple):
    """The steps of a Containerfile."""

    run: list[str]
    """Commands for the shell, in their order."""
    user: str
    env: dict[str, str]
    health: list[str]
    """The command of the health check."""
    entry: list[str]
    command: list[str]
    """Arguments of `entry` where the caller names none."""


def read_steps(text: str) -> Steps:
    """Read a Containerfile that writes its commands as JSON, but those of RUN."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, lines)):
        name, _, rest = line.partition(" ")
        found.setdefault(name, []).append(rest.strip())
    (health,) = found["HEALTHCHECK"]
    return Steps(
        run=[re.sub(r"^(--mount=\S+\s+)+", "", step) for step in found["RUN"]],
        user=found["USER"][-1],
        env=dict(each.split("=", 1) for each in found["ENV"]),
        health=json.loads(health.partition("CMD ")[2]),
        entry=json.loads(found["ENTRYPOINT"][-1]),
        command=json.loads(found["CMD"][-1]),
    )


def megabytes(root: Path) -> int:
    """Return the size of the files below a folder, on its own filesystem."""
    return int(run("du", "--summarize", "--one-file-system", "--block-size=1M", root).split()[0])


def inside(root: Path, dist: Path, command: str) -> None:
    """Run a command for the shell in a root, which can be written and has the packages in /dist."""
    mounts = (
        f"mount --bind /dev {root}/dev && mount -t proc proc {root}/proc",
        f"mkdir -p {root}/dist && mount --bind {dist} {root}/dist",
        f"exec chroot {root} env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive "
        f"sh -c {shlex.quote(command)}",
    )
    run("unshare", "--mount", "sh", "-ec", "\n".join(mounts))


def contained(root: Path, steps: Steps, command: Sequence[str]) -> int:
    """Run a command as a container does, and return its exit code."""
    user, group = steps.user.split(":")
    env = shlex.join(f"{name}={value}" for name, value in steps.env.items())
    mounts = (
        f"mount --bind {root} {root} && mount -o remount,ro,bind {root}",
        f"cd {root} && mount --bind /dev dev && mount -t proc proc proc && mount -t tmpfs tmpfs tmp",
        f"mount -t tmpfs -o mode=700,uid={user},gid={group} tmpfs {root}{STATE}",
        f"exec chroot {root} setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs "
        f"--bounding-set -all env -i PATH=/usr/sbin:/usr/bin {env} {shlex.join(command)}",
    )
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join(mounts)], stdout=subprocess.DEVNULL, check=False
    ).returncode


def main(arguments: list[str]) -> None:
    """Try the Containerfile, and print what was found; end the program at what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dist", type=Path)
    dist = parser.parse_args(arguments).dist.resolve()
    steps = read_steps((ROOT / "Containerfile").read_text())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "trixie", root)
        run("cp", "/etc/resolv.conf", root / "etc")
        run("chroot", root, "apt-get", "clean")
        before = megabytes(root)
        for step in steps.run:
            inside(root, dist, step)
        (root / "dist").rmdir()
        print(f"base {before} MB, with hashscan {megabytes(root)} MB")
        for name, command, expected in (
            ("command", [*steps.entry, *steps.command], 0),
            ("health check", steps.health, 0),
            ("scan", [*steps.entry, "scan", "--list", "demo", "--no-state", UPLOADS], 1),
        ):
            code = contained(root, steps, command)
            print(f"{name}: exit code {code}")
            if code != expected:
                sys.exit(f"expected {expected}")


if __name__ == "__main__":
    main(sys.argv[1:])
