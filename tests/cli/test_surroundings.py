"""Exit codes don't depend on standard streams, limits and variables: 1 is a match, and a shortage is 12."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.sources.children import needs_root

SCANS, FINDS, LISTS, ASKS, TESTS = "scan clean", "scan listed", "lists status", "check listed", "selftest"
AS_EVER = {FINDS: 1, LISTS: 0, ASKS: 1}
"""Without the scan of a clean file: one that ends with 1 is complete, too, or it would be 4."""
TESTED = {**AS_EVER, TESTS: 0}
"""With a selftest, which takes as long as the others together, where it could end otherwise than scans."""
REFUSED = dict.fromkeys(TESTED, 12)
RUN = 'exec "$@"'
USER = 1_000_000 + os.getpid()
"""A user without any other process: a limit of processes counts all that a user has on the machine."""

CONDITIONS: dict[str, tuple[str, dict[str, int]]] = {
    "standard error full": (f"{RUN} 2>/dev/full", {**AS_EVER, SCANS: 0}),
    "standard error closed": (f"{RUN} 2>&-", AS_EVER),
    "standard error without a reader": ('"$@" 2> >(exec 2>&- <&-)', AS_EVER),
    "standard input closed, and all permissions masked": (f"umask 0777; {RUN} <&-", TESTED),
    # A scan's findings are in its report, too.
    "standard output closed": (f"{RUN} >&-", {**AS_EVER, LISTS: 12, ASKS: 12, TESTS: 12}),
    "standard output full": (
        f"{RUN} >/dev/full",
        {**AS_EVER, SCANS: 0, FINDS: 4, LISTS: 12, ASKS: 12, TESTS: 12},
    ),
    "all three closed": (f"{RUN} <&- >&- 2>&-", {**AS_EVER, LISTS: 12, ASKS: 12, TESTS: 12}),
    "60 MB of addresses": (f"ulimit -v 61440; {RUN}", REFUSED),
    "100 MB of addresses, with which OpenBLAS exits 1": (f"ulimit -v 102400; {RUN}", REFUSED),
    "150 MB of addresses": (f"ulimit -v 153600; {RUN}", REFUSED),
    "32 MB of data, with which OpenBLAS exits 1": (f"ulimit -d 32768; {RUN}", REFUSED),
    "512 MB of addresses": (f"ulimit -v 524288; {RUN}", TESTED),
    "5 open files": (f"ulimit -n 5; {RUN}", REFUSED),
    "24 open files": (f"ulimit -n 24; {RUN}", REFUSED),
    "32 open files": (f"ulimit -n 32; {RUN}", REFUSED),
    "64 open files": (f"ulimit -n 64; {RUN}", TESTED),
    "no files": (f"ulimit -f 0; {RUN}", REFUSED),
    "files of 1 kB": (f"ulimit -f 1; {RUN}", {**AS_EVER, SCANS: 12, FINDS: 12, TESTS: 12}),
    "a current folder that is gone": (f"mkdir gone; cd gone; rmdir ../gone; {RUN}", REFUSED),
    "a locale that isn't there, and no folder for temporary files": (
        f"export LANG=xx_YY LC_ALL=xx_YY TMPDIR=/nonexistent; {RUN}",
        TESTED,
    ),
    "a locale of ASCII, and warnings as errors": (
        f"export LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 PYTHONWARNINGS=error; {RUN}",
        AS_EVER,
    ),
    "no asserts, and a prompt at the end": (
        f"export PYTHONOPTIMIZE=2 PYTHONINSPECT=1; {RUN} </dev/null",
        AS_EVER,
    ),
    "no variables, and SIGPIPE and SIGCHLD ignored": (
        """trap '' PIPE CHLD; exec env -i HASHSCAN_STATE="$HASHSCAN_STATE" "$@" """,
        TESTED,
    ),
}
IN_A_NAMESPACE: dict[str, tuple[str, dict[str, int]]] = {
    "an empty /dev": (f"mount -t tmpfs none /dev; {RUN}", REFUSED),
    # The decoder's limits can't be looked at, so that the sandbox isn't known to be whole.
    "no /proc": (f"umount -l /proc; {RUN}", {**AS_EVER, TESTS: 12}),
    "a root that can't be written": (
        f"mount -o bind,remount,ro / && {RUN}",
        {**AS_EVER, SCANS: 12, FINDS: 12, TESTS: 12},
    ),
}


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    for name, picture in (("clean", "other.jpg"), ("listed", "listed.jpg")):
        (tmp_path / name).mkdir()
        shutil.copyfile(prepared / "uploads" / picture, tmp_path / name / picture)
    shutil.copytree(prepared / "state", tmp_path / "state", symlinks=True)
    return tmp_path


def exits(place: Path, script: str, arguments: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    verb, _, name = arguments.partition(" ")
    target = {"scan": place / name, "check": place / name / "listed.jpg"}.get(verb, name)
    command = [sys.executable, "-m", "hashscan", verb, *([str(target)] if name else [])]
    done = subprocess.run(
        [*prefix, "bash", "-c", script, "bash", *command],
        env=environment(place / "state", {"HASHSCAN_WORKERS": "1"}),
        cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def require(place: Path, script: str, expected: dict[str, int], prefix: tuple[str, ...] = ()) -> None:
    ended = {arguments: exits(place, script, arguments, prefix) for arguments in expected}
    assert {arguments: code for arguments, (code, _) in ended.items()} == expected, ended
    for code, said in ended.values():
        # A shortage is reported in a line, and the remedy in another.
        assert "Traceback" not in said or code not in (12, 70)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "expected"), CONDITIONS.values(), ids=CONDITIONS)
def test_exit_codes_tell_the_truth(place: Path, script: str, expected: dict[str, int]) -> None:
    require(place, script, expected)


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(("script", "expected"), IN_A_NAMESPACE.values(), ids=IN_A_NAMESPACE)
def test_exit_codes_tell_the_truth_of_a_mount_namespace(
    place: Path, script: str, expected: dict[str, int]
) -> None:
    require(place, script, expected, ("unshare", "--mount", "--propagation", "private"))


@pytest.fixture
def become(place: Path) -> tuple[str, ...]:
    """Return a command that runs another as an ordinary user, who owns everything here."""
    subprocess.run(["chown", "-R", f"{USER}:{USER}", place], check=True)
    place.parent.chmod(0o755)
    return (
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )  # fmt: skip


@needs_root
@pytest.mark.slow
def test_few_processes_are_no_defect(place: Path, become: tuple[str, ...]) -> None:
    require(place, f"ulimit -u 16; {RUN}", TESTED, become)
    # With fewer, a decoder can't be started while the one before it ends.
    assert exits(place, f"ulimit -u 8; {RUN}", "selftest", become)[0] in {0, 12}
    require(place, f"ulimit -u 1; {RUN}", {SCANS: 12, FINDS: 12, LISTS: 0}, become)


@needs_root
@pytest.mark.slow
def test_a_umask_locks_no_ordinary_user_out(place: Path, become: tuple[str, ...]) -> None:
    script = f"umask 0777; export HASHSCAN_STATE=new/state; {RUN}"
    (place / "new").mkdir()
    os.chown(place / "new", USER, USER)
    require(place, script, {SCANS: 10, FINDS: 10, LISTS: 10}, become)
    require(place, f"umask 0777; {RUN}", AS_EVER, become)
    made = [path for path in place.rglob("*") if not path.is_symlink()]
    assert [path for path in made if not path.stat().st_mode & 0o700] == []


@pytest.mark.parametrize("arguments", [SCANS, LISTS])
def test_the_remedy_is_said(place: Path, arguments: str) -> None:
    code, said = exits(place, f"ulimit -n 24; {RUN}", arguments)
    assert code == 12
    assert "ulimit -n" in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_report_to_a_closed_stream_is_no_success(place: Path, closed: str) -> None:
    script = f'exec "$@" --report - {closed}'
    code, _ = exits(place, script, FINDS)
    assert code == (12 if ">&- " in f"{closed} ".replace("2>&- ", "") else 1)


def test_no_file_of_ours_takes_the_place_of_a_closed_stream(place: Path) -> None:
    """Output of a library must not get into the state."""
    program = (
        "import os; from hashscan.process import prepare_streams; prepare_streams(); "
        "os._exit(not os.open('/dev/null', os.O_RDONLY) > 2)"
    )
    done = subprocess.run(["bash", "-c", f"{RUN} <&- >&- 2>&-", "bash", sys.executable, "-c", program])
    assert done.returncode == 0


def test_standard_error_that_would_block_loses_what_does_not_fit(place: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, bytes(4096))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hashscan", "lists", "status"],
            env=environment(place / "state"), stderr=theirs, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0


@pytest.fixture
def uncompiled(tmp_path: Path) -> Path:
    """A copy of the program without bytecode, in a folder to run it in."""
    ours = Path(__file__).parents[2] / "hashscan"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ours, tmp_path / "copy" / "hashscan", ignore=ignore)
    return tmp_path / "copy"


def status_of_lists(folder: Path, script: str = RUN) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "hashscan", "lists", "status"],
        env={**environment(folder / "state"), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(folder)},
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_what_a_limit_cuts_short_breaks_no_later_command(uncompiled: Path) -> None:
    status_of_lists(uncompiled, f"ulimit -f 1; {RUN}")
    assert status_of_lists(uncompiled)[0] == 10


def test_damaged_bytecode_is_no_interruption(uncompiled: Path) -> None:
    assert status_of_lists(uncompiled)[0] == 10
    (file,) = uncompiled.glob("hashscan/cli/commands/__pycache__/lists.*.pyc")
    os.truncate(file, 1024)
    code, said = status_of_lists(uncompiled)
    assert code == 12
    assert str(file) in said
