"""Say which build of hashscan a benchmark measures, and refuse one without the parts in C."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hashscan import c_parts

_QUESTION = (
    "import json, hashscan, hashscan.c_parts as parts; "
    "print(json.dumps([hashscan.__version__, hashscan.__file__, parts.BUILT]))"
)


def announce_build() -> None:
    """Print the build of hashscan on standard error: version, place, commit, parts in C, SIMD instructions.

    Both the package that this process imports and the installed one, which benchmarks run as a command, are
    named where they differ. A build without the parts in C ends the process with exit code 2.
    """
    builds = {_build(("-c",)), _build(("-P", "-c"))}
    for version, place, has_c in sorted(builds):
        parts = ", ".join((_commit(Path(place)), "C" if has_c else "without C", _features()))
        print(f"hashscan {version} in {place}: {parts}", file=sys.stderr, flush=True)
        if not has_c:
            print(f"hashscan: {c_parts.MISSING}", file=sys.stderr)
            sys.exit(2)


def _build(options: tuple[str, ...]) -> tuple[str, str, bool]:
    said = subprocess.run([sys.executable, *options, _QUESTION], capture_output=True, text=True, check=True)
    version, file, has_c = json.loads(said.stdout)
    return version, str(Path(file).parent), has_c


def _commit(place: Path) -> str:
    def git(*words: str) -> str:
        said = subprocess.run(["git", "-C", place, *words], capture_output=True, text=True, check=False)
        return said.stdout.strip()

    try:
        commit = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
    except OSError:
        return "no commit known"
    return f"commit {commit}{' and changes' if changed else ''}" if commit else "no commit known"


def _features() -> str:
    """Return the SIMD instructions that the loops in C use here."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return "instructions unknown"
    return "AVX2" if "avx2" in flags else "no AVX2"
