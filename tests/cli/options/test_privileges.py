"""Root on another user's state folder, and another user on root's: nobody is locked out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import click
import pytest

from hashscan.cli.main import cli
from hashscan.cli.options.base import HashscanCommand
from hashscan.cli.options.privileges import RootRights, controlling_uid
from tests.cli.conftest import Ran, environment, runner
from tests.prefork import Prefork
from tests.sources.children import needs_root

USER, OTHER = 54321, 54322

ARGUMENTS: dict[str, Sequence[str]] = {
    "scan": ["uploads"],
    "check": ["uploads/listed.jpg"],
    "lookup": ["uploads/listed.jpg"],
    "lists accept": ["ours"],
    "lists activate": ["ours"],
    "lists add": ["far", "http://127.0.0.1:1/", "--root", "entries.csv"],
    "lists diff": ["ours"],
    "lists except": ["e-sha256", "--list", "ours", "--reason", "wrong", "--until", "2099-01-01"],
    "lists export": ["ours", "--format", "csv"],
    "lists feedback": [],
    "lists import": ["entries.csv", "--name", "more"],
    "lists pull": [],
    "lists remove": ["ours"],
    "lists status": [],
    "lists verify": [],
    "report accept": ["report.jsonl", "--output", "state/b", "--reason", "known", "--until", "2099-01-01"],
    "report convert": ["report.jsonl", "--format", "csv"],
    "report prune": ["--keep", "90d"],
    "report push": ["report.jsonl"],
    "report show": ["report.jsonl"],
    "quarantine add": ["report.jsonl", "--retain-min", "1d", "--destroy-by", "2d"],
    "quarantine export": ["--all", "--recipient", "age1x", "--output", "state/out"],
    "quarantine list": [],
    "quarantine destroy": [],
    "quarantine restore": ["--all"],
    "quarantine verify": [],
    "care make": ["--from", "2020", "--to", "2020", "--output", "state/care.json"],
    "cases acknowledge": ["1"],
    "cases draft": ["1", "--kind", "receipt"],
    "cases withhold": ["1", "--lift", "--reason", "x"],
    "cases report-authority": ["1"],
    "cases add": ["/x"],
    "cases assign": ["1", "--to", "ada"],
    "cases check": [],
    "cases close": ["1", "--reason", "done"],
    "cases confirm": ["1", "--reason", "seen"],
    "cases dispute": ["1", "--reason", "wrong"],
    "cases due": [],
    "cases fetch": [],
    "cases form": ["--listen", "unix:/nowhere/form.sock"],
    "cases import": ["entries.csv"],
    "cases letter": ["1"],
    "cases list": [],
    "cases mails": [],
    "cases prune": ["--older-than", "1d"],
    "cases queue": [],
    "cases reopen": ["1", "--reason", "wrong"],
    "cases review": ["1", "--decision", "unclear", "--reason", "blurred"],
    "cases serve": ["--listen", "unix:/nowhere/cases.sock"],
    "cases show": ["1"],
    "cases sync": ["--hub", "http://127.0.0.1:1/", "--key-file", "entries.csv"],
    "cases tell": ["1", "--recipient", "mail"],
    "cases times": [],
    "serve": ["--clamd", "unix:/nowhere/clamd.sock"],
    "stats": [],
    "alerts digest": [],
    "alerts drop": [],
    "alerts list": [],
    "alerts send": [],
    "state check": [],
    "state export": [],
    "state status": [],
    "state vacuum": [],
    "hub alerts": [],
    "publish filter": ["--work", "nowhere", "--no-passphrase"],
    "hub audit list": [],
    "hub audit verify": [],
    "hub export": ["alpha"],
    "hub prune": ["--older-than", "730d"],
    "hub init": [],
    "hub key add": ["alpha", "k"],
    "hub key list": [],
    "hub key revoke": ["alpha", "k"],
    "hub key rotate": ["alpha", "k"],
    "hub notice list": [],
    "hub notice mark": ["P-1", "removed"],
    "hub notice observe": ["P-1", "gone"],
    "hub notice send": ["alpha", "--path", "/srv/a", "--category", "A1"],
    "hub notice withdraw": ["P-1"],
    "hub stats answer": ["1", "alpha", "--text", "t"],
    "hub stats prepare": ["--month", "2026-10"],
    "hub stats release": ["1"],
    "hub stats show": [],
    "hub stats withdraw": ["1"],
    "hub org add": ["alpha"],
    "hub org change": ["alpha", "--country", "NL"],
    "hub org close": ["alpha"],
    "hub org delete": ["alpha", "--yes"],
    "hub org list": [],
    "hub outbox list": [],
    "hub outbox send": [],
    "hub serve": [],
    "hub server defaults": [],
    "hub server list": [],
    "hub server set": ["alpha", "web1", "--silent-after", "2d"],
    "hub user add": ["vera", "--role", "viewer"],
    "hub user disable": ["vera"],
    "hub user list": [],
    "hub user reset": ["vera"],
    "worker": ["--scheduler", "tcp://127.0.0.1:1"],
    "selftest": [],
}

STARTED = frozenset({"scan", "check", "lookup", "quarantine add", "serve", "worker", "selftest"})
"""Commands that start interpreters, which have to be readable to the user that these continue as."""


def commands(
    command: click.Command = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """All that have a state folder."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, (*words, name))
    elif any(parameter.name == "state" for parameter in command.params):
        yield " ".join(words), command


COMMANDS = dict(commands())


def test_each_command_with_a_state_folder_is_tried() -> None:
    assert COMMANDS.keys() == ARGUMENTS.keys()
    assert all(isinstance(command, HashscanCommand) for command in COMMANDS.values())


def readable_to_all() -> list[str]:
    """Return a command that runs another where every user can read the interpreter and this program."""
    needed = {sys.base_prefix, sys.prefix, *filter(os.path.isdir, sys.path), str(Path(__file__).parents[2])}
    script = "set -e\n"
    hidden: dict[Path, list[str]] = {}
    for path in map(Path, sorted(needed)):
        closed = next((a for a in reversed(path.parents) if not a.stat().st_mode & 0o001), None)
        if closed is not None and not any(path.is_relative_to(one) for one in hidden.get(closed, [])):
            hidden.setdefault(closed, []).append(str(path))
    for closed, folders in hidden.items():
        # Kept aside by descriptors, since nothing else is in sight of all users for certain.
        opened = "".join(f"exec {200 + n}<'{folder}'\n" for n, folder in enumerate(folders))
        script += f"{opened}mount -t tmpfs -o mode=755 none '{closed}'\n"
        for number, folder in enumerate(folders):
            script += f"mkdir -p '{folder}'; mount -c --bind /proc/self/fd/{200 + number} '{folder}'\n"
            script += f"exec {200 + number}<&-\n"
    return ["unshare", "--mount", "--propagation", "private", "bash", "-c", f'{script}exec "$@"', "bash"]


@pytest.fixture(scope="module")
def scanned(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of `prepared` after a scan."""
    made = tmp_path_factory.mktemp("scanned")
    shutil.copytree(prepared, made, symlinks=True, dirs_exist_ok=True)
    ran = runner(made / "state")("scan", made / "uploads", "--report", made / "report.jsonl")
    assert ran.code == 1
    (made / "report.jsonl").chmod(0o644)
    return made


@pytest.fixture
def place(scanned: Path) -> Iterator[Path]:
    """A copy of it in a folder that all users can read."""
    made = Path(tempfile.mkdtemp(prefix="hashscan-owner-"))
    try:
        shutil.copytree(scanned, made, symlinks=True, dirs_exist_ok=True)
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


def give(folder: Path, user: int) -> None:
    subprocess.run(["chown", "-hR", f"{user}:{user}", folder], check=True)


@cache
def prefork() -> Prefork:
    """Return what forks commands of root; they continue as another user in the process that is forked."""
    return Prefork(prefix=readable_to_all())


def run(place: Path, command: str, *more: str, user: int = 0) -> Ran:
    variables = environment(place / "state", {"HASHSCAN_WORKERS": "1"})
    if not user and command not in STARTED:
        done = prefork().run([*command.split(), *ARGUMENTS[command], *more], env=variables, cwd=place)
        return Ran(done.returncode, done.stdout, done.stderr)
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    words = [*command.split(), *ARGUMENTS[command], *more]
    done = subprocess.run(
        [*readable_to_all(), *become, sys.executable, "-m", "hashscan", *words],
        cwd=place, env=variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def owners(state: Path) -> dict[str, int]:
    found = [state, *(Path(folder, name) for folder, a, b in os.walk(state) for name in [*a, *b])]
    return {str(path): path.lstat().st_uid for path in found}


def content(state: Path) -> dict[str, tuple[int, int]]:
    return {path: (os.lstat(path).st_size, os.lstat(path).st_mtime_ns) for path in owners(state)}


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("command", ARGUMENTS)
def test_root_leaves_nothing_of_its_own_in_the_state_of_another(place: Path, command: str) -> None:
    give(place / "state", USER)
    before = content(place / "state")
    ran = run(place, command, "-v")
    found = COMMANDS[command]
    assert isinstance(found, HashscanCommand)
    assert set(owners(place / "state").values()) == {USER}
    if found.needs in (RootRights.NOTHING, RootRights.FILES):
        assert "hashscan: continues as" in ran.err
        assert ran.code not in (12, 70), ran.err
    else:
        assert (ran.code, content(place / "state")) == (2, before)
        assert ("setpriv" in ran.err) == (found.needs is RootRights.READING)


@needs_root
@pytest.mark.slow
def test_the_command_that_root_is_advised_to_type_reads_what_only_root_can(place: Path) -> None:
    give(place / "state", USER)
    (place / "uploads").chmod(0o700)
    (advice,) = [line for line in run(place, "scan").err.splitlines() if "setpriv" in line]
    typed = advice.split("`")[1].removesuffix(" hashscan scan ...").split()
    done = subprocess.run(
        [*readable_to_all(), *typed, sys.executable, "-m", "hashscan", "scan", "uploads"],
        cwd=place, env=environment(place / "state"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert set(owners(place / "state").values()) == {USER}


@needs_root
@pytest.mark.slow
def test_root_that_can_become_nobody_is_advised_what_can_be_typed(place: Path) -> None:
    """The owner has no name, so that `runuser` would not know him."""
    give(place / "state", USER)
    command = [sys.executable, "-m", "hashscan", "lists", "status"]

    def ran(*before: str) -> subprocess.CompletedProcess[str]:
        words = [*readable_to_all(), *before, *command]
        env = environment(place / "state")
        return subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False)

    refused = ran("setpriv", "--bounding-set=-setuid")
    assert refused.returncode == 2, refused.stderr
    typed = refused.stderr.split("`")[1].removesuffix(" hashscan lists status ...").split()
    done = ran(*typed)
    assert done.returncode == 0, done.stderr


@needs_root
@pytest.mark.slow
def test_root_leaves_nothing_of_its_own_where_another_publishes(place: Path) -> None:
    folder = place / "published"
    folder.mkdir()
    give(folder, USER)
    for words in (
        ["init", "theirs", "--repository", "published/repository", "--no-passphrase"],
        ["add", "entries.csv"],
        ["release", "--no-passphrase"],
        ["status"],
    ):
        command = [sys.executable, "-m", "hashscan", "publish", *words, "--work", "published/work"]
        done = subprocess.run(
            [*readable_to_all(), *command],
            cwd=place, env=environment(place / "state"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert set(owners(folder).values()) == {USER}


@needs_root
@pytest.mark.slow
def test_links_in_the_state_of_another_lead_root_nowhere(place: Path) -> None:
    target = place / "only-root"
    target.mkdir(mode=0o700)
    shutil.rmtree(place / "state" / "lists")
    (place / "state" / "lists").symlink_to(target)
    give(place / "state", USER)
    ran = run(place, "lists import")
    assert ran.code == 12, ran.err
    assert list(target.iterdir()) == []


@needs_root
@pytest.mark.slow
def test_lists_behind_a_link_of_root_are_not_written(place: Path) -> None:
    """As the unit that moves has them, whose log root keeps and whose lists another user."""
    give(place / "state" / "lists", USER)
    own = place / "own"
    own.mkdir(mode=0o700)
    (own / "lists").symlink_to(place / "state" / "lists")
    ran = run(place, "lists import", "--state", str(own))
    assert ran.code == 12, ran.err
    assert run(place, "lists status", "--state", str(own)).code == 0
    assert set(owners(place / "state" / "lists").values()) == {USER}


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["scan", "check", "lists pull", "lists except", "cases list", "quarantine add"]
)
def test_another_user_is_shown_whose_the_state_is(place: Path, command: str) -> None:
    before = content(place / "state")
    (place / "state").chmod(0o700)
    ran = run(place, command, user=OTHER)
    assert ran.code == 12, ran.err
    assert "belongs to root" in ran.err
    assert content(place / "state") == before


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["lists", "lists/ours/versions", "lists/ours", "scans", "exceptions", "ledger.sqlite"]
)
def test_what_root_has_left_in_a_state_is_not_damaged(place: Path, part: str) -> None:
    if part == "exceptions":
        assert run(place, "lists except").code == 0
    give(place / "state", USER)
    left = place / "state" / part
    give(left, 0)
    left.chmod(0o700)
    for file in [left, *left.rglob("*")]:
        if file.is_file() and not file.is_symlink():
            file.chmod(0o600)
    before = content(left) if left.is_dir() else {}
    for command in ("scan", "lists status", "check", "cases list", "state check"):
        ran = run(place, command, user=USER)
        said = (command, ran.code, ran.err)
        assert "Traceback" not in ran.err, said
        assert "is damaged" not in ran.err, said
        assert "set aside" not in ran.err, said
        assert ran.code in (0, 1, 4, 12), said
        if part.startswith("lists") and command in ("scan", "lists status", "check"):
            assert ran.code == 12, said
            assert "chown" in ran.err or "permission" in ran.err.lower(), said
    assert not list((place / "state").glob("*damaged*"))
    assert (content(left) if left.is_dir() else {}) == before


@needs_root
@pytest.mark.slow
def test_a_settings_file_of_root_can_be_read_by_the_service(place: Path) -> None:
    """In a file system of its own, where the group is there, and where it is not."""
    for there in (True, False):
        (place / "group").write_text("root:x:0:\n" + "hashscan:x:54321:\n" * there)
        file = place / f"settings-{there}.toml"
        script = f'mount --bind {place}/group /etc/group && exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", sys.executable,
             "-m", "hashscan", "config", "init", file],
            env=environment(place / "state"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        expected = (54321, 0o640) if there else (0, 0o600)
        assert (file.stat().st_gid, file.stat().st_mode & 0o777) == expected
        assert ("chgrp" in done.stderr) == (not there)


@needs_root
def test_who_controls_a_path(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "state").mkdir()
    (tmp_path / "ours" / "to-theirs").symlink_to("../theirs/state")
    (tmp_path / "theirs" / "to-ours").symlink_to(tmp_path / "ours")
    os.chown(tmp_path / "theirs", USER, USER)
    os.lchown(tmp_path / "theirs" / "to-ours", OTHER, OTHER)
    assert controlling_uid(tmp_path / "ours") == 0
    assert controlling_uid(tmp_path / "ours" / "missing" / "state") == 0
    assert controlling_uid(tmp_path / "theirs" / "state") == USER
    assert controlling_uid(tmp_path / "theirs" / "missing") == USER
    assert controlling_uid(tmp_path / "ours" / "to-theirs") == USER
    assert controlling_uid(tmp_path / "theirs" / "to-ours") == USER
    assert controlling_uid(tmp_path / "ours" / ".." / "ours") == 0
    os.chown(tmp_path / "theirs", 0, 0)
    assert controlling_uid(tmp_path / "theirs" / "to-ours") == OTHER
    (tmp_path / "ours" / "loop").symlink_to("loop")
    assert controlling_uid(tmp_path / "ours" / "loop") == 0
