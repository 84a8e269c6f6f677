"""Build the source archive and the wheels of a release; the same bytes each time.

    python -m tools.build_wheels dist                             the archive, and the wheels of all platforms
    python -m tools.build_wheels dist manylinux_2_28_x86_64       the wheel of one platform

The source is what git tracks. `zig cc` compiles the parts in C for each platform, whatever the machine is;
auditwheel and abi3audit check each wheel. Needs the extra `release`. All times in the files are
SOURCE_DATE_EPOCH, or else the time of the last commit.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

TARGETS = {
    "manylinux_2_28_x86_64": "x86_64-linux-gnu.2.28",
    "manylinux_2_28_aarch64": "aarch64-linux-gnu.2.28",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
}
"""The platforms of the wheels, and zig's names of them."""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a command prints on its standard output; end the program where it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def module(name: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a module of this interpreter, and return what it prints."""
    return run(sys.executable, "-m", name, *arguments, cwd=cwd)


def prepare() -> int:
    """Fix what else would differ between two builds: modes and times; return the time, in seconds."""
    os.umask(0o022)
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    # The tools of this environment first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.update(SOURCE_DATE_EPOCH=epoch, PATH=path)
    return int(epoch)


def copy_tracked(folder: Path) -> Path:
    """Copy what git tracks to a folder, and return it."""
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build_sdist(source: Path, output: Path, epoch: int) -> Path:
    """Build the source archive, and return its path.

    setuptools stores the times and owners of the files, and the time of the compression, so all are replaced.
    """
    module("build", "--sdist", "--no-isolation", "--outdir", source / "dist", source)
    (made,) = (source / "dist").glob("*.tar.gz")
    archive = output / made.name
    with (
        tarfile.open(made) as read,
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", mtime=epoch, fileobj=file) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as written,
    ):
        for member in sorted(read.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode, member.pax_headers = 0o755 if member.isdir() else 0o644, {}
            written.addfile(member, read.extractfile(member))
    return archive


def build_wheel(archive: Path, platform: str, output: Path, work: Path) -> Path:
    """Build the wheel of a platform from the source archive, check it, and return its path."""
    with tarfile.open(archive) as read:
        read.extractall(work, filter="data")
    (source,) = work.iterdir()
    target = TARGETS[platform]
    compiler = shlex.join([sys.executable, "-m", "ziglang", "cc", "-target", target])
    link = "-shared -s -dynamic" if target.endswith("musl") else "-shared -s"
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work / "built"),
        *(f"--config-setting=--build-option=--plat-name={platform}", source),
        env={"CC": compiler, "LDSHARED": f"{compiler} {link}", "CFLAGS": "-g0"},
    )
    (wheel,) = (work / "built").glob("*.whl")
    if target.endswith("musl"):
        wheel = name_musl(wheel, target.partition("-")[0], work)
    check(wheel, platform, len(list(source.glob("hashscan/**/_*.c"))))
    return Path(shutil.copy(wheel, output))


def name_musl(wheel: Path, machine: str, work: Path) -> Path:
    """Have the extensions of a wheel need musl by the name that auditwheel knows; return the new wheel."""
    module("wheel", "unpack", "--dest", work / "unpacked", wheel)
    (content,) = (work / "unpacked").iterdir()
    for extension in content.rglob("*.so"):
        run("patchelf", "--replace-needed", "libc.so", f"libc.musl-{machine}.so.1", extension)
    (work / "named").mkdir()
    module("wheel", "pack", "--dest-dir", work / "named", content)
    return work / "named" / wheel.name


def check(wheel: Path, platform: str, extensions: int) -> None:
    """End the program unless a wheel has all extensions, fits its platform and keeps to the limited API."""
    with zipfile.ZipFile(wheel) as content:
        found = [name for name in content.namelist() if name.endswith(".abi3.so")]
    # setup.py builds none where one can't be built.
    if len(found) != extensions:
        sys.exit(f"{wheel.name}: {len(found)} extensions of {extensions} were built")
    # Without paths of libraries, or auditwheel would look at this machine's own.
    said = module("auditwheel", "show", "--ldpaths", "", wheel)
    if f'platform tag: "{platform}"' not in " ".join(said.split()):
        sys.exit(f"{wheel.name}: {said}")
    module("abi3audit", "--strict", wheel)


def main(arguments: list[str]) -> None:
    """Build what the command line names, and print the paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("platform", nargs="*", choices=[*TARGETS, []], metavar="platform")
    options = parser.parse_args(arguments)
    epoch = prepare()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = build_sdist(copy_tracked(Path(folder) / "source"), options.output, epoch)
        print(archive)
        for platform in options.platform or TARGETS:
            work = Path(folder) / platform
            work.mkdir()
            print(build_wheel(archive, platform, options.output, work))


if __name__ == "__main__":
    main(sys.argv[1:])
