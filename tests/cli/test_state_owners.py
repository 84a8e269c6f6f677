"""Root and the timer's user share a state folder, in every order of their commands."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hashscan.model import Entry
from tests.cli.conftest import Ran, environment, runner
from tests.cli.options.test_privileges import owners, readable_to_all
from tests.cli.published import publish
from tests.sources.children import needs_root
from tests.web import served

SERVICE = 54321
PASSWD = f"root:x:0:0::/root:/bin/sh\nhashscan:x:{SERVICE}:{SERVICE}::/var/lib/hashscan:/usr/sbin/nologin\n"
GROUP = f"root:x:0:\nhashscan:x:{SERVICE}:\n"
AS_SERVICE = ("setpriv", f"--reuid={SERVICE}", f"--regid={SERVICE}", "--init-groups")
AS_TIMER = (*AS_SERVICE, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""As the unit that scans has it."""


@dataclass(frozen=True)
class Machine:
    """A machine with the service user, whose /var/lib and /etc/hashscan are folders of the test."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "lib" / "hashscan"

    def run(self, *words: object, become: tuple[str, ...] = (), umask: str = "022") -> Ran:
        script = f"umask {umask}"
        for name, place in (("lib", "/var/lib"), ("passwd", "/etc/passwd"), ("group", "/etc/group")):
            script += f" && mount --bind {self.folder}/{name} {place}"
        variables = environment(self.folder, {"HASHSCAN_WORKERS": "1", "HOME": "/root"})
        del variables["HASHSCAN_STATE"]
        variables.pop("XDG_STATE_HOME", None)
        done = subprocess.run(
            [*readable_to_all(), "bash", "-c", f'{script} && exec "$@"', "bash", *become,
             sys.executable, "-m", "hashscan", *map(str, words)],
            cwd=self.folder, env=variables, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def make_state(self) -> None:
        """As the packages and StateDirectory= make it."""
        self.state.mkdir(mode=0o700)
        os.chown(self.state, SERVICE, SERVICE)


SCANS, TIMER, PULLS = "root scans", "timer scans", "root pulls"
ORDERS = (
    (SCANS, TIMER, PULLS, SCANS, PULLS, TIMER, SCANS),
    (TIMER, SCANS, TIMER, PULLS, SCANS, PULLS, TIMER),
)
"""Each of the three follows each other, and each of those that scan begins."""


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Path(tempfile.mkdtemp(prefix="hashscan-owners-"))
    try:
        made.chmod(0o755)
        (made / "lib").mkdir(mode=0o755)
        (made / "passwd").write_text(PASSWD)
        (made / "group").write_text(GROUP)
        customer = made / "www"
        customer.mkdir(mode=0o700)
        (customer / "page.html").write_bytes(b"listed later")
        (customer / "page.html").chmod(0o600)
        os.chown(customer, 33333, 33333)
        os.chown(customer / "page.html", 33333, 33333)
        yield Machine(made)
    finally:
        shutil.rmtree(made)


@pytest.fixture(scope="module")
def national(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owner")
    publish(runner(folder / "state"), folder / "national", [Entry("n-0", "sha256", bytes(32), "A1")])
    return folder / "national"


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "umask", "order"),
    [("by the package", "022", ORDERS[0]), ("by root", "077", ORDERS[1])],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]} first",
)
def test_scans_and_pulls_of_root_and_of_the_timer_in_every_order(
    machine: Machine, national: Path, made: str, umask: str, order: tuple[str, ...]
) -> None:
    if made == "by the package":
        machine.make_state()
    shutil.copy(national / "work" / "root.json", machine.folder / "root.json")
    (machine.folder / "root.json").chmod(0o644)
    commands = {
        SCANS: (("scan", machine.folder / "www"), ()),
        TIMER: (("scan", machine.folder / "www"), AS_TIMER),
        PULLS: (("lists", "pull"), ()),
    }
    with served(national / "published") as url:
        for words in (("lists", "add", "national", url, "--root", "root.json"), ("lists", "pull")):
            ran = machine.run(*words, umask=umask)
            assert ran.code == 0, ran.err
        for name in order:
            words, become = commands[name]
            ran = machine.run(*words, become=become, umask=umask)
            assert ran.code == 0, (name, ran.err)
            assert "damaged" not in ran.err
            assert set(owners(machine.state).values()) == {SERVICE}
            assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
    for words, become in ((("lists", "verify"), AS_SERVICE), (("state", "check"), ())):
        ran = machine.run(*words, become=become, umask=umask)
        assert ran.code == 0, (words, ran.err)
    assert not list(machine.state.glob("*damaged*"))


@needs_root
@pytest.mark.slow
def test_root_that_scans_reads_all_files_and_can_do_nothing_else(machine: Machine) -> None:
    """The rights of the unit, although root has started it."""
    machine.make_state()
    (machine.folder / "entries.csv").write_text("id,algorithm,value,category\ne,sha256," + 64 * "0" + ",A1\n")
    assert machine.run("lists", "import", "entries.csv", "--name", "ours").code == 0
    only_root = machine.folder / "only-root"
    only_root.mkdir(mode=0o700)
    ran = machine.run("scan", "www", "--report", only_root / "report.jsonl")
    assert ran.code == 12, ran.err
    assert list(only_root.iterdir()) == []
    ran = machine.run("scan", "www", "--report", "-")
    assert ran.code == 0, ran.err
    assert ran.lines[-1]["verdicts"]["clean"] == 1


@needs_root
@pytest.mark.slow
def test_links_of_the_service_user_lead_root_nowhere(machine: Machine) -> None:
    """An attacker who controls this user owns the state folder, and links to what only root can change."""
    machine.make_state()
    victim = machine.folder / "victim"
    victim.mkdir(mode=0o755)
    (victim / "file").write_bytes(b"")
    before = [(path, path.stat().st_mtime_ns, path.stat().st_uid) for path in (victim, victim / "file")]
    for name in ("scans", "lists", "reports", "exceptions"):
        (machine.state / name).symlink_to(victim)
    for name in ("scan.lock", "ledger.sqlite"):
        (machine.state / name).hardlink_to(victim / "file")
    for words in (("scan", "www"), ("scan", "www", "--no-state"), ("lists", "pull"), ("cases", "list")):
        assert machine.run(*words).code in (0, 10, 12)
    assert [(path, path.stat().st_mtime_ns, path.stat().st_uid) for path, *_ in before] == before
    assert [path.name for path in victim.iterdir()] == ["file"]


@needs_root
@pytest.mark.slow
def test_a_state_of_another_user_or_behind_his_folders_is_not_scanned_by_root(machine: Machine) -> None:
    theirs = machine.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, 33333, 33333)
    (theirs / "state").mkdir()
    os.chown(theirs / "state", SERVICE, SERVICE)
    ran = machine.run("scan", "www", "--state", theirs / "state")
    assert ran.code == 2, ran.err
    machine.make_state()
    ran = machine.run("scan", "www", "--quarantine", "--retain-min", "1d", "--destroy-by", "2d")
    assert ran.code == 2, ran.err
    assert list(machine.state.iterdir()) == []


@needs_root
@pytest.mark.slow
def test_the_state_of_root_stays_roots(machine: Machine) -> None:
    """A folder with content is given to nobody; one that a killed command left empty is."""
    machine.state.mkdir(mode=0o700)
    assert machine.run("lists", "status").code == 10
    assert set(owners(machine.state).values()) == {SERVICE}
    shutil.rmtree(machine.state)
    machine.state.mkdir(mode=0o700)
    (machine.state / "lists").mkdir(mode=0o700)
    assert machine.run("lists", "status").code == 10
    assert set(owners(machine.state).values()) == {0}
