"""Make a release: build twice and compare, list the libraries, audit them, write checksums, and sign these.

    python -m tools.release dist --gpg KEY           or --minisign FILE, or --sigstore
    python -m tools.release dist manylinux_2_28_x86_64 --without-audit

The folder has the source archive, the wheels, the packages of the wheels for glibc, requirements.lock, a
bill of materials (CycloneDX), and SHA256SUMS with a signature. It is made beside its place and renamed at
the end, so that there is all of it or nothing. Needs the extra `release`, a network for the audit, and gpg,
minisign or sigstore to sign. docs/verify.md says how others check it.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tools import build_packages
from tools.build_wheels import ROOT, TARGETS, prepare, run

LOCK = ROOT / "requirements.lock"
EXCEPTIONS = ROOT / "packaging/audit-exceptions.toml"
SUMS = "SHA256SUMS"
PACKAGES = (("deb", "3.11"), ("deb", "3.12"), ("deb", "3.13"), ("rpm", "3.12"))
"""Packages to build of each wheel for glibc: the format, and the interpreter of the distribution."""
FOR_DEVELOPMENT = frozenset({"docs", "lint", "release", "test"})
"""Extras that nobody installs to use hashscan; the bill of materials leaves them out."""


def build(output: Path, platforms: Sequence[str], packages: bool) -> None:
    """Build all files of a release, without what an earlier build left in a cache."""
    with tempfile.TemporaryDirectory() as cache:
        caches = {"ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache}
        run(sys.executable, "-m", "tools.build_wheels", output, *platforms, cwd=ROOT, env=caches)
    if packages:
        for wheel in sorted(output.glob("*-manylinux_*.whl")):
            for kind, python in PACKAGES:
                build_packages.main([str(wheel), str(output), "--format", kind, "--python", python])


def compare(first: Path, second: Path) -> None:
    """End the program unless two folders have the same files."""
    names = sorted({path.name for folder in (first, second) for path in folder.iterdir()})
    _, different, missing = filecmp.cmpfiles(first, second, names, shallow=False)
    if different or missing:
        sys.exit(f"two builds differ in {', '.join(different + missing)}: find out why, and release nothing")


def write_bill(file: Path, version: str) -> None:
    """Write the bill of materials: the libraries of all extras, with the versions and hashes of the lock.

    Ends the program unless each of them has a version that the lock has, and hashes.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [f"--extra={name}" for name in project["optional-dependencies"] if name not in FOR_DEVELOPMENT]
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements"
        compiled = ("uv", "pip", "compile", "--universal", "--no-header", "--generate-hashes", *extras)
        run(*compiled, "--constraint", LOCK, "--output-file", locked, "pyproject.toml", cwd=ROOT)
        about = ("--pyproject", ROOT / "pyproject.toml", "--mc-type", "application")
        run("cyclonedx-py", "requirements", *about, "--output-reproducible", "--output-file", file, locked)
    bill = json.loads(file.read_bytes())
    bill["metadata"]["component"]["version"] = version
    file.write_text(json.dumps(bill, indent=2) + "\n")
    check_bill(bill, project["dependencies"])


def check_bill(bill: dict[str, Any], dependencies: Sequence[str]) -> None:
    """End the program unless a bill of materials has what a project needs, with versions of the lock."""
    text = LOCK.read_text()
    listed = set()
    for component in bill["components"]:
        name, version = component["name"], component["version"]
        hashes = {one["content"] for source in component["externalReferences"] for one in source["hashes"]}
        if f"\n{name}=={version}" not in text or not hashes or not all(one in text for one in hashes):
            sys.exit(f"the bill of materials has {name} {version}, which is not in {LOCK.name}")
        listed.add(name)
    missing = {Requirement(one).name.lower() for one in dependencies} - listed
    if missing:
        sys.exit(f"the bill of materials lacks {', '.join(sorted(missing))}")


def audit() -> None:
    """End the program if a library of the lock has a known vulnerability, or may have one."""
    command = ("pip-audit", "--require-hashes", "--disable-pip", "--format", "json", "-r", LOCK)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"pip-audit failed: {done.stderr.strip().splitlines()[-1:]}; see whether it has a network")
    faults = list(findings(answer, read_exceptions(EXCEPTIONS, date.today())))
    if faults:
        sys.exit("\n".join([*faults, f"update the library by tools/lock.sh, or see {EXCEPTIONS.name}"]))


def findings(answer: dict[str, Any], excepted: frozenset[str]) -> list[str]:
    """Return a line for each vulnerability that is not excepted, and for libraries that were not audited."""
    lines = [
        f"{library['name']} {library['version']}: {found['id']}, fixed in {', '.join(found['fix_versions'])}"
        for library in answer["dependencies"]
        for found in library.get("vulns", ())
        if not excepted & {found["id"], *found.get("aliases", ())}
    ]
    # pip-audit calls an installation clean of which its service knows no library at all.
    skipped = [library["name"] for library in answer["dependencies"] if "skip_reason" in library]
    if skipped:
        lines.append(
            f"{len(skipped)} libraries were not audited, such as {skipped[0]}: the service lacks them"
        )
    return lines


def read_exceptions(file: Path, today: date) -> frozenset[str]:
    """Return the ids of vulnerabilities that are accepted for now; end the program at one without reason."""
    accepted = set()
    for entry in tomllib.loads(file.read_text()).get("exception", ()):
        if not (entry.get("id") and entry.get("reason") and isinstance(entry.get("until"), date)):
            sys.exit(f"{file}: an exception needs an id, a reason and a date `until`: {entry}")
        if entry["until"] < today:
            sys.exit(f"{file}: the exception of {entry['id']} ended on {entry['until']}: examine it again")
        accepted.add(entry["id"])
    return frozenset(accepted)


def write_sums(folder: Path) -> Path:
    """Write the checksums of all files of a folder, and return their file."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())
    ]
    sums = folder / SUMS
    sums.write_text("".join(lines))
    return sums


def sign(sums: Path, *, gpg: str | None = None, minisign: Path | None = None, sigstore: bool = False) -> None:
    """Sign the checksums, in a file beside them, in each way that is asked for.

    Args:
        gpg: name of a secret key in the keyring; gpg's agent asks for its passphrase.
        minisign: file of a secret key.
        sigstore: sign by the account that sigstore asks for, which needs a network.
    """
    if gpg is not None:
        run("gpg", "--batch", "--armor", "--local-user", gpg, "--detach-sign", sums)
    if minisign is not None:
        subprocess.run(["minisign", "-S", "-s", minisign, "-m", sums], check=True)
    if sigstore:
        subprocess.run(["sigstore", "sign", sums], check=True)


def main(arguments: list[str]) -> None:
    """Make what the command line names, and print the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("platform", nargs="*", choices=[*TARGETS, []], metavar="platform")
    parser.add_argument("--gpg", metavar="KEY", help="sign with this key of gpg")
    parser.add_argument("--minisign", type=Path, metavar="FILE", help="sign with this secret key of minisign")
    parser.add_argument("--sigstore", action="store_true", help="sign by an account, with a network")
    parser.add_argument("--without-audit", action="store_true", help="do not ask for known vulnerabilities")
    parser.add_argument("--without-packages", action="store_true", help="build no .deb and no .rpm")
    options = parser.parse_args(arguments)
    if options.output.exists():
        sys.exit(f"{options.output} exists: name a new folder")
    signed = options.gpg is not None or options.minisign is not None or options.sigstore
    if signed and run("git", "status", "--porcelain", cwd=ROOT):
        sys.exit("there are changes that are not committed: a signed release is made of a commit")
    if options.without_audit:
        print("warning: nobody asked for known vulnerabilities", file=sys.stderr)
    else:
        audit()
    prepare()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=options.output.parent) as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        for output in (first, second):
            build(output, options.platform, not options.without_packages)
        compare(first, second)
        (archive,) = first.glob("*.tar.gz")
        name = archive.name.removesuffix(".tar.gz")
        write_bill(first / f"{name}.cdx.json", name.rpartition("-")[2])
        shutil.copyfile(LOCK, first / LOCK.name)
        sign(write_sums(first), gpg=options.gpg, minisign=options.minisign, sigstore=options.sigstore)
        first.rename(options.output)
    print(options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
