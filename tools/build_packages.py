"""Build packages for Debian, Ubuntu and RHEL of a wheel that `tools.build_wheels` made.

    python -m tools.build_packages dist/hashscan-*-manylinux_2_28_x86_64.whl dist
    python -m tools.build_packages WHEEL dist --format rpm --python 3.12

A package is for one interpreter of the distribution, on which it depends. All libraries lie in a folder of
the package, in the versions and with the hashes of requirements.lock. Needs hashscan and its extra `release`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools.build_wheels import ROOT, module, prepare, run

EXTRAS = [
    *("alerts", "archive", "az", "document", "export", "gs", "heif", "jxl", "publish", "s3", "serve"),
    "video",
]
"""Extras in a package. Those of clusters, exchanges and Parquet are large or must be compiled."""

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The machines that wheels are for, and nfpm's names of them."""

LAUNCHER = """\
#!/usr/lib/hashscan/bin/python
import sys

from hashscan.__main__ import main

# Worker processes import this file under another name.
if __name__ == "__main__":
    sys.exit(main())
"""


class Tree:
    """Files of a package, in a folder that becomes the root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def add_environment(tree: Tree, wheel: Path, python: str) -> None:
    """Add a virtual environment with the wheel and its libraries, without an interpreter of that version.

    The bill of materials (CycloneDX) of the libraries is a file of the package.
    """
    bill = tree.root / "usr/share/doc/hashscan/libraries.cdx.json"
    bill.parent.mkdir(parents=True)
    site = tree.root / f"usr/lib/hashscan/lib/python{python}/site-packages"
    platform = f"{machine(wheel)}-manylinux_2_28"
    target = ("--quiet", "--python-platform", platform, "--python-version", python)
    locked = tree.root.with_name("requirements")
    compile_lock = [
        "uv",
        "pip",
        "compile",
        "--no-header",
        "--generate-hashes",
        "--constraint",
        "requirements.lock",
    ]
    extras = [f"--extra={extra}" for extra in EXTRAS]
    run(*compile_lock, *target, *extras, "--output-file", locked, "pyproject.toml", cwd=ROOT)
    run("cyclonedx-py", "requirements", "--output-reproducible", "--output-file", bill, locked)
    install = ["uv", "pip", "install", "--only-binary", ":all:", "--link-mode", "copy", "--target"]
    run(*install, site, *target, "--require-hashes", "-r", locked)
    run(*install, site, *target, "--no-deps", wheel.resolve())
    # These name the folder of the wheel, the time, and this interpreter.
    for record in site.glob("*.dist-info/RECORD"):
        for name in ("direct_url.json", "uv_cache.json"):
            (record.parent / name).unlink(missing_ok=True)
        lines = [
            line
            for line in record.read_text().splitlines(keepends=True)
            if not line.startswith("bin/")
            and "/direct_url.json," not in line
            and "/uv_cache.json," not in line
        ]
        record.write_text("".join(sorted(lines)))
    for leftover in (site / "bin", site / ".lock"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    tree.write("usr/lib/hashscan/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    tree.link("usr/lib/hashscan/bin/python", f"/usr/bin/python{python}")
    tree.write("usr/lib/hashscan/bin/hashscan", LAUNCHER, mode=0o755)
    tree.link("usr/bin/hashscan", "../lib/hashscan/bin/hashscan")


def add_system_files(tree: Tree, kind: str) -> None:
    """Add the units, the manual page, the completions, the rule for logs, and the examples."""
    for unit in sorted((ROOT / "examples/systemd").glob("hashscan*.*")):
        if unit.suffix != ".sysusers":
            text = unit.read_text().replace("/opt/hashscan/bin/hashscan", "/usr/bin/hashscan")
            tree.write(f"usr/lib/systemd/system/{unit.name}", text)
    manual = module("hashscan", "manual", cwd=ROOT).encode()
    tree.write("usr/share/man/man1/hashscan.1.gz", gzip.compress(manual, mtime=0))
    zsh = "vendor-completions" if kind == "deb" else "site-functions"
    for shell, place in (
        ("bash", "usr/share/bash-completion/completions/hashscan"),
        ("zsh", f"usr/share/zsh/{zsh}/_hashscan"),
        ("fish", "usr/share/fish/vendor_completions.d/hashscan.fish"),
    ):
        tree.write(place, module("hashscan", "completion", shell, cwd=ROOT))
    tree.write("usr/share/doc/hashscan/copyright", (ROOT / "LICENSE").read_text())
    for name in run("git", "ls-files", "-z", "examples", cwd=ROOT).split("\0"):
        if name:
            tree.write(f"usr/share/hashscan/{name}", (ROOT / name).read_bytes())


def machine(wheel: Path) -> str:
    """Return the machine that a wheel is for."""
    return next(name for name in MACHINES if wheel.stem.endswith(name))


def version(wheel: Path) -> str:
    """Return the version in the name of a wheel."""
    return wheel.name.split("-")[1]


def settings(tree: Tree, wheel: Path, python: str) -> dict[str, object]:
    """Return nfpm's settings."""
    return {
        "name": "hashscan",
        "arch": MACHINES[machine(wheel)],
        "version": version(wheel),
        # An upgrade of the distribution is an upgrade of the package, too.
        "release": f"1+py{python.replace('.', '')}",
        "version_schema": "none",
        "section": "admin",
        "maintainer": "hashscan maintainers <security@hashscan.example>",
        "description": "Find known child-abuse material by hash, without looking at a picture",
        "license": "Apache-2.0",
        "contents": [
            {"src": f"{tree.root}/", "dst": "/", "type": "tree"},
            # An upgrade keeps the administrator's changes, which it does not in a tree.
            {
                "src": str(ROOT / "packaging/logrotate"),
                "dst": "/etc/logrotate.d/hashscan",
                "type": "config|noreplace",
                "file_info": {"mode": 0o644},
            },
        ],
        "scripts": {
            "postinstall": str(ROOT / "packaging/postinstall.sh"),
            "preremove": str(ROOT / "packaging/preremove.sh"),
            "postremove": str(ROOT / "packaging/postremove.sh"),
        },
        "overrides": {
            "deb": {
                "depends": [f"python{python}", "libseccomp2", "ca-certificates", "passwd"],
                "recommends": ["libarchive13t64 | libarchive13"],
            },
            "rpm": {
                "depends": [f"python{python}", "libseccomp", "ca-certificates", "shadow-utils"],
                "recommends": ["libarchive"],
            },
        },
    }


def main(arguments: list[str]) -> None:
    """Build what the command line names, and print the path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--format", choices=["deb", "rpm"], default="deb")
    parser.add_argument("--python", default="3.13", help="of the distribution: 3.11, 3.12 or 3.13")
    options = parser.parse_args(arguments)
    epoch = prepare()
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder) / "root")
        add_environment(tree, options.wheel, options.python)
        add_system_files(tree, options.format)
        for path in tree.root.rglob("*"):
            os.utime(path, (epoch, epoch), follow_symlinks=False)
        file = Path(folder) / "nfpm.json"
        file.write_text(json.dumps(settings(tree, options.wheel, options.python)))
        run("nfpm", "package", "--config", file, "--packager", options.format, "--target", options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
