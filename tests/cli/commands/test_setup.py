"""`hashscan setup` on images of systems: it makes nothing twice, and a removal leaves nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cli.setup.choices import Choices, Terms
from hashscan.cli.setup.files import planned_files
from hashscan.cli.setup.machine import Machine
from hashscan.cli.setup.steps import Setup, read_record, run_steps, write_record
from tests.cli.conftest import Ran, Run, environment
from tests.cli.options.test_privileges import owners, readable_to_all
from tests.prefork import PREFORK
from tests.sources.children import needs_root

pytestmark = needs_root

needs_systemctl = pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is not installed")
TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
QUARANTINE = "/var/lib/hashscan-quarantine"
SETTINGS = "etc/hashscan/hashscan.toml"
PROGRAM = "/opt/hashscan/bin/hashscan"
CHOICES = Choices(
    targets=("/var/www",), demo=True, quarantine=Terms("90d", "365d"), alerts=True, scheduler="cron"
)

Tree = dict[str, tuple[object, ...]]


def make_image(folder: Path, *more: str) -> Path:
    for name in ("etc/cron.d", "var/www", "var/lib", "home", *more):
        (folder / name).mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A system with cron, and without systemd."""
    return make_image(tmp_path / "image")


@pytest.fixture
def with_systemd(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image", "usr/lib/systemd/system", "etc/systemd/system")


def tree(folder: Path, *, times: bool = False) -> Tree:
    """All paths, with owners, modes and contents, but without the copies that useradd makes."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        if re.fullmatch(r"(passwd|group|shadow|gshadow|subuid|subgid)-?", path.name):
            continue
        s = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        moment = (s.st_mtime_ns, s.st_ino) if times else ()
        found[str(path.relative_to(folder))] = (s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode), what, *moment)
    return found


def ids(image: Path) -> tuple[int, int]:
    (user,) = [line for line in (image / "etc/passwd").read_text().splitlines() if line[:9] == "hashscan:"]
    return int(user.split(":")[2]), int(user.split(":")[3])


def test_a_dry_run_shows_files_and_commands_and_changes_nothing(run: Run, image: Path) -> None:
    before = tree(image, times=True)
    ran = run(
        "setup", "--image", image, "/var/www", "--demo", *TERMS, "--notify", "json://secret", "--dry-run"
    )
    assert ran.code == 0, ran.err
    assert tree(image, times=True) == before
    assert f"write {image}/{SETTINGS}" in ran.out
    assert 'targets = ["/var/www"]' in ran.out
    assert "run: useradd" in ran.out
    assert "secret" not in ran.out
    assert run("setup", "--image", image, "--remove", "--dry-run").code == 0
    assert tree(image, times=True) == before


def test_cron_starts_scans_where_there_is_no_systemd(run: Run, image: Path) -> None:
    options = (
        "--demo",
        "--schedule",
        "3:05",
        "--notify",
        "json://secret",
        *TERMS,
        "--keep-reports",
        "90d",
        "--digest",
        "08:05",
    )
    ran = run("setup", "--image", image, "/var/www", *options, "--yes")
    assert ran.code == 0, ran.err
    uid, gid = ids(image)
    made = tree(image)
    assert made["var/lib/hashscan"][:3] == (uid, gid, 0o700)
    assert made["var/lib/hashscan-quarantine"][:3] == (0, 0, 0o700)
    assert made["var/lib/hashscan-quarantine/lists"][3] == "/var/lib/hashscan/lists"
    assert made["etc/hashscan"][:3] == (0, gid, 0o750)
    assert made[SETTINGS][:3] == (0, gid, 0o640)
    assert made["etc/hashscan/notify"] == (0, gid, 0o640, b"json://secret\n")
    assert made["etc/hashscan/setup.json"][:3] == (0, 0, 0o600)
    assert made["etc/cron.d/hashscan"][:3] == (0, 0, 0o644)
    assert tomllib.loads((image / SETTINGS).read_text()) == {
        "scan": {"targets": ["/var/www"], "list": ["demo"]},
        "quarantine": {
            "retain-min": "90d",
            "destroy-by": "365d",
            **{x: {"state": QUARANTINE} for x in ("add", "destroy", "export", "list", "restore", "verify")},
        },
        "report prune": {"keep": "90d"},
    }
    assert run("config", "check", image / SETTINGS).code == 0
    lines = [x for x in (image / "etc/cron.d/hashscan").read_text().splitlines() if x and x[0] != "#"]
    assert [x for x in lines if x.startswith("5 3 * * * root ")]
    assert [x for x in lines if x.startswith("*/15 * * * * root ")]
    assert [x for x in lines if x.startswith("5 8 * * * root ") and "alerts digest" in x]
    assert [x for x in lines if x.startswith('AFTER_FINDINGS="/')]
    assert [x for x in lines if x.startswith('AFTER_SCAN="/')]
    assert not [x for x in lines if x.startswith("HASHSCAN_TARGETS=")]
    assert "secret" not in (image / "etc/hashscan/setup.json").read_text()
    for words in (("--digest", "off"), ("--no-notify",)):
        assert run("setup", "--image", image, *words, "--yes").code == 0
        assert "\n5 8 * * * root " not in (image / "etc/cron.d/hashscan").read_text()


@needs_systemctl
def test_units_and_timers(run: Run, with_systemd: Path) -> None:
    image = with_systemd
    options = ("--demo", "--schedule", "04:30", *TERMS, "--keep-reports", "90d", "--yes")
    ran = run("setup", "--image", image, "/var/www", "/home", *options)
    assert ran.code == 0, ran.err
    units = image / "etc/systemd/system"
    assert "OnCalendar=*-*-* 04:30:00\n" in (units / "hashscan.timer.d/setup.conf").read_text()
    assert "ExecStopPost=-/" in (units / "hashscan.service.d/setup.conf").read_text()
    assert 'ReadWritePaths="/home"\n' in (units / "hashscan-quarantine.service.d/setup.conf").read_text()
    (started,) = re.findall(r"^ExecStart=(\S+) scan", (units / "hashscan.service").read_text(), re.MULTILINE)
    assert started != PROGRAM
    wanted = {path.name for path in (units / "timers.target.wants").iterdir()}
    assert wanted == {"hashscan.timer", "hashscan-pull.timer"}
    assert not (image / "etc/cron.d/hashscan").exists()
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *map(str, units.glob("hashscan*.*[!d]"))],
            env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert [line for line in done.stderr.splitlines() if "hashscan" in line] == []

    before = tree(image)
    changed = ("--no-quarantine", "--notify", "json://x", "--keep-reports", "all")
    assert run("setup", "--image", image, *changed, "--yes").code == 0
    gone = {path for path in before.keys() - tree(image).keys() if "wants" not in path}
    assert gone == {
        f"etc/systemd/system/{name}"
        for name in ("hashscan-quarantine.path", "hashscan-quarantine.service",
                     "hashscan-quarantine.service.d/setup.conf", "hashscan.service.d/setup.conf",
                     "hashscan-cases.service")
    }  # fmt: skip
    wanted = {path.name for path in (units / "timers.target.wants").iterdir()}
    assert wanted == {
        "hashscan.timer",
        "hashscan-pull.timer",
        "hashscan-alerts.timer",
        "hashscan-digest.timer",
    }
    assert run("setup", "--image", image, "--digest", "23:00", "--yes").code == 0
    assert "OnCalendar=*-*-* 23:00:00\n" in (units / "hashscan-digest.timer.d/setup.conf").read_text()
    assert run("setup", "--image", image, "--digest", "off", "--yes").code == 0
    assert not [path for path in units.rglob("hashscan-digest*") if not path.is_dir()]


@needs_systemctl
def test_units_of_a_package_are_used_as_they_are(run: Run, with_systemd: Path) -> None:
    packaged = with_systemd / "usr/lib/systemd/system"
    for name in ("hashscan.service", "hashscan.timer", "hashscan-pull.service", "hashscan-pull.timer"):
        text = (Path(__file__).parents[3] / "examples/systemd" / name).read_text()
        (packaged / name).write_text(text.replace(PROGRAM, "/usr/bin/hashscan"))
    assert run("setup", "--image", with_systemd, "/var/www", "--demo", "--yes").code == 0
    made = [path.name for path in (with_systemd / "etc/systemd/system").iterdir()]
    assert sorted(made) == ["hashscan.timer.d", "timers.target.wants"]
    assert run("setup", "--image", with_systemd, "--remove", "--yes").code == 0
    assert list((with_systemd / "etc/systemd/system").rglob("hashscan*")) == []
    assert len(list(packaged.iterdir())) == 4


@pytest.mark.parametrize("kind", ["image", pytest.param("with_systemd", marks=needs_systemctl)])
def test_a_second_run_changes_nothing_and_a_removal_leaves_nothing(
    run: Run, kind: str, request: pytest.FixtureRequest
) -> None:
    image: Path = request.getfixturevalue(kind)
    before = tree(image)
    options = ("--image", image, "/var/www", "--demo", "--notify", "json://x", *TERMS)
    assert run("setup", *options, "--yes").code == 0
    made = tree(image, times=True)
    for words in (options, ("--image", image)):
        again = run("setup", *words, "--yes")
        assert (again.code, again.out) == (0, "")
        assert tree(image, times=True) == made
    assert run("setup", "--image", image, "--remove", "--yes").code == 0
    left = {path: what for path, what in tree(image).items() if "target.wants" not in path}
    assert left == before
    assert "hashscan" not in (image / "etc/passwd").read_text() + (image / "etc/group").read_text()
    again = run("setup", "--image", image, "--remove", "--yes")
    assert (again.code, again.out) == (0, "")


def test_a_removal_leaves_the_state_and_its_user_and_what_was_changed(run: Run, image: Path) -> None:
    assert run("setup", "--image", image, "/var/www", "--demo", *TERMS, "--yes").code == 0
    (image / "var/lib/hashscan/reports").mkdir()
    (image / "var/lib/hashscan-quarantine/quarantine").mkdir()
    with (image / SETTINGS).open("a") as file:
        file.write("# mine\n")
    ran = run("setup", "--image", image, "--remove", "--yes")
    assert ran.code == 0, ran.err
    for stays in ("var/lib/hashscan ", "var/lib/hashscan-quarantine ", SETTINGS, "the user hashscan"):
        assert stays in ran.err
    assert (image / "var/lib/hashscan/reports").is_dir()
    assert (image / "var/lib/hashscan-quarantine/quarantine").is_dir()
    assert (image / SETTINGS).read_text().endswith("# mine\n")
    assert ids(image)
    assert not (image / "etc/cron.d/hashscan").exists()
    assert not (image / "etc/hashscan/setup.json").exists()


def test_files_that_are_not_setups_own_are_replaced_only_by_force(run: Run, image: Path) -> None:
    (image / "etc/hashscan").mkdir()
    (image / SETTINGS).write_text("workers = 2\n")
    before = tree(image, times=True)
    command = ("setup", "--image", image, "/var/www", "--demo", "--yes")
    ran = run(*command)
    assert ran.code == 2
    assert str(image / SETTINGS) in ran.err
    assert tree(image, times=True) == before
    assert run(*command, "--force").code == 0
    assert (image / f"{SETTINGS}.bak").read_text() == "workers = 2\n"
    with (image / SETTINGS).open("a") as file:
        file.write("# mine\n")
    assert run("setup", "--image", image, "--schedule", "04:00", "--yes").code == 0
    assert (image / SETTINGS).read_text().endswith("# mine\n")
    ran = run("setup", "--image", image, "/home", "--yes")
    assert ran.code == 2, ran.err


@pytest.mark.parametrize(
    "targets",
    [
        ("www",),
        ("/missing",),
        ("/var/www", "/var/www/alice"),
        ("/var/www", "/var/www/"),
        ("/srv/link", "/var/www"),
        ("/var/lib/hashscan/reports",),
        ("s3://bucket/x",),
        (os.fsdecode(b"/srv/\xff"),),
        ("/srv/pipe",),
        (),
    ],
)
def test_bad_targets(run: Run, image: Path, targets: tuple[str, ...]) -> None:
    for name in ("var/www/alice", "var/lib/hashscan/reports"):
        (image / name).mkdir(parents=True)
    (image / "srv").mkdir()
    (image / "srv" / os.fsdecode(b"\xff")).mkdir()
    (image / "srv/link").symlink_to("../var/www")
    os.mkfifo(image / "srv/pipe")
    before = tree(image, times=True)
    ran = run("setup", "--image", image, *targets, "--demo", "--yes")
    assert ran.code == 2, ran.err
    assert tree(image, times=True) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--schedule", "25:00"),
        ("--schedule", "noon"),
        ("--retain-min", "90d"),
        ("--retain-min", "9y", "--destroy-by", "10y"),
        ("--retain-min", "90d", "--destroy-by", "1d"),
        (*TERMS, "--no-quarantine"),
        ("--notify", "@/missing"),
        ("--keep-reports", "0d"),
        ("--notify", "json://x", "--digest", "24:00"),
        ("--digest", "08:00"),
        ("--keep-reports", "long"),
        ("--notify", "json://x", "--no-notify"),
        ("--list", "national", "https://lists.example.org", "/missing"),
        ("--list", "../x", "https://lists.example.org", "/etc/passwd"),
    ],
)
def test_bad_options(run: Run, image: Path, options: tuple[str, ...]) -> None:
    before = tree(image, times=True)
    ran = run("setup", "--image", image, "/var/www", *options, "--yes")
    assert ran.code == 2, ran.err
    assert tree(image, times=True) == before


def test_a_link_as_target_is_mentioned(run: Run, image: Path) -> None:
    (image / "srv").mkdir()
    (image / "srv/link").symlink_to("/etc")
    ran = run("setup", "--image", image, "/srv/link", "/var/www/", "--demo", "--dry-run")
    assert ran.code == 0
    assert "the target /srv/link is, or lies behind, a link: " in ran.err
    assert "the target /var/www/" not in ran.err


def test_a_target_may_contain_the_state_folder(run: Run, image: Path) -> None:
    ran = run("setup", "--image", image, "/", "--demo", "--yes")
    assert ran.code == 0, ran.err
    assert "/var/lib/hashscan lies in the target /" in ran.err


def test_without_consent_nothing_is_done(run: Run, image: Path) -> None:
    before = tree(image, times=True)
    assert run("setup", "--image", image, "/var/www", "--demo", stdin=subprocess.DEVNULL).code == 2
    assert tree(image, times=True) == before


@pytest.mark.parametrize("folder", ["etc", "etc/hashscan", "var/lib"])
def test_folders_of_others_and_links_out_of_the_image_are_refused(
    run: Run, image: Path, tmp_path: Path, folder: str
) -> None:
    """Whoever controls such a folder could have root write and remove anything."""
    (image / folder).mkdir(exist_ok=True)
    os.chown(image / folder, 33333, 33333)
    ran = run("setup", "--image", image, "/var/www", "--demo", "--yes")
    assert ran.code == 2, ran.err
    os.chown(image / folder, 0, 0)
    (image / folder).rename(tmp_path / "away")
    (image / folder).symlink_to(tmp_path / "away")
    before = tree(tmp_path, times=True)
    assert run("setup", "--image", image, "/var/www", "--demo", "--yes").code == 2
    assert tree(tmp_path, times=True) == before


def test_a_state_that_root_has_begun_is_given_to_the_user(run: Run, image: Path, tmp_path: Path) -> None:
    """But not files that have another name elsewhere, nor what symlinks lead to."""
    state, victim = image / "var/lib/hashscan", tmp_path / "victim"
    victim.write_text("root's")
    (state / "lists/national").mkdir(parents=True)
    (state / "lists/national/pin").write_text("x")
    (state / "link").symlink_to(victim)
    (state / "hard").hardlink_to(victim)
    assert run("setup", "--image", image, "/var/www", "--demo", "--yes").code == 0
    uid, gid = ids(image)
    for path in (
        state,
        state / "lists",
        state / "lists/national",
        state / "lists/national/pin",
        state / "link",
    ):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (uid, gid), path
    assert victim.stat().st_uid == 0
    assert run("setup", "--image", image, "--yes").out == ""


@pytest.mark.slow
def test_a_killed_setup_is_continued_and_a_killed_removal_too(run: Run, tmp_path: Path) -> None:
    def wanted(folder: Path) -> Setup:
        machine = Machine(folder)
        files = list(planned_files(CHOICES, PROGRAM, packaged=False, lists=(), notify=b"json://x\n"))
        return Setup(machine, CHOICES, files, (), read_record(machine), force=False)

    def finish(setup: Setup, done: int) -> int:
        """Do some of the steps."""
        steps = setup.steps()
        begun = setup.begun()
        write_record(setup.machine, begun)
        run_steps(steps[:done])
        if done >= len(steps):
            write_record(setup.machine, setup.ended(begun))
        return len(steps)

    whole = make_image(tmp_path / "whole")
    number = finish(wanted(whole), 99)
    for done in range(number):
        image = make_image(tmp_path / f"image-{done}")
        before = tree(image)
        finish(wanted(image), done)
        if done % 2:
            finish(wanted(image), 99)
            assert tree(image) == tree(whole)
            assert wanted(image).steps() == []
        assert run("setup", "--image", image, "--remove", "--yes").code == 0
        assert tree(image) == before


def test_a_damaged_record_is_named(run: Run, image: Path) -> None:
    assert run("setup", "--image", image, "/var/www", "--demo", "--yes").code == 0
    record = image / "etc/hashscan/setup.json"
    for damage in (b"", b"{}", record.read_bytes()[:-20], json.dumps({"schema": 2}).encode()):
        record.write_bytes(damage)
        for words in ((), ("--remove",)):
            ran = run("setup", "--image", image, *words, "--yes")
            assert ran.code == 2
            assert str(record) in ran.err


def test_two_at_once(run: Run, image: Path) -> None:
    import fcntl

    descriptor = os.open(image / "etc", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert run("setup", "--image", image, "/var/www", "--demo", "--yes").code == 11
    os.close(descriptor)


def test_no_machine(run: Run, tmp_path: Path) -> None:
    assert run("setup", "--image", tmp_path, "/var/www", "--demo", "--yes").code == 2
    (tmp_path / "etc").mkdir()
    (tmp_path / "www").mkdir()
    assert run("setup", "--image", tmp_path, "/www", "--demo", "--yes").code == 2
    assert run("setup", "--image", tmp_path, "/www", "--demo", "--dry-run", "--scheduler", "none").code == 0


def test_questions_on_a_terminal(image: Path, state: Path) -> None:
    root = f"national https://lists.example.org {image}/"
    answers = (
        *("/missing", "www", "'/var", "'/var/www'"), *(f"{root}missing", f"X {root}", "two words", "demo"),
        *("noon", "3:15"), *("@/missing", "json://localhost"), *("24:00", "6:30"),
        *("90d", "90d 365d"), "30d", "y",
    )  # fmt: skip
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [PREFORK.program(), "setup", "--image", image],
        stdin=slave, stdout=slave, stderr=slave, env=environment(state, {"TERM": "dumb"}),
    )  # fmt: skip
    os.close(slave)
    os.write(master, "".join(f"{answer}\n" for answer in answers).encode())
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait(timeout=60) == 0, shown.decode()
    record = json.loads((image / "etc/hashscan/setup.json").read_bytes())
    assert record["choices"] == {
        "targets": ["/var/www"], "lists": [], "demo": True, "schedule": "03:15", "alerts": True,
        "digest": "06:30",
        "quarantine": {"retain_min": "90d", "destroy_by": "365d"}, "keep_reports": "30d",
        "scheduler": "cron",
    }  # fmt: skip


@pytest.fixture
def machine() -> Iterator[Path]:
    """A folder with an `etc` and a `lib` to be mounted at /etc and /var/lib, readable for all users."""
    made = Path(tempfile.mkdtemp(prefix="hashscan-machine-"))
    try:
        made.chmod(0o755)
        (made / "lib").mkdir(mode=0o755)
        subprocess.run(["cp", "-a", "/etc", made / "etc"], check=True)
        for name in ("passwd", "group", "shadow", "gshadow"):
            file = made / "etc" / name
            if file.exists():
                lines = file.read_text().splitlines(keepends=True)
                file.write_text("".join(line for line in lines if not line.startswith("hashscan:")))
        shutil.rmtree(made / "etc/hashscan", ignore_errors=True)
        (made / "etc/cron.d").mkdir(exist_ok=True)
        (made / "etc/cron.d/hashscan").unlink(missing_ok=True)
        yield made
    finally:
        shutil.rmtree(made)


def run_on(machine: Path, *words: object, become: tuple[str, ...] = (), systemd: bool = False) -> Ran:
    """Run a command with the folders of the machine; `systemd` puts a fake one in place of another."""
    script = f"mount --bind {machine}/etc /etc && mount --bind {machine}/lib /var/lib"
    variables = environment(machine, {"HASHSCAN_WORKERS": "1", "HOME": "/root"})
    del variables["HASHSCAN_STATE"]
    if systemd:
        script += " && mount -t tmpfs none /run && mkdir -p /run/systemd/system"
        variables["PATH"] = f"{machine}/commands:{variables['PATH']}"
    done = subprocess.run(
        [*readable_to_all(), "unshare", "--pid", "--fork", "--mount-proc",
         "bash", "-c", f'{script} && exec "$@"', "bash", *become,
         sys.executable, "-m", "hashscan", *map(str, words)],
        cwd=machine, env=variables, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


SYSTEMCTL = """\
#!/bin/bash
cd "${0%/*}"
case $1 in
  is-enabled|is-active) test -e "on/$2" ; exit ;;
  show) echo no ; exit ;;
esac
echo "$*" >> log
case $1 in
  enable) for unit in "${@:3}"; do touch "on/$unit"; done ;;
  disable) for unit in "${@:3}"; do rm "on/$unit"; done ;;
esac
"""


@pytest.mark.slow
def test_a_running_systemd_reads_units_again_and_starts_timers(machine: Path) -> None:
    (machine / "commands/on").mkdir(parents=True)
    program, log = machine / "commands/systemctl", machine / "commands/log"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (machine / "www").mkdir()
    timers = "hashscan.timer hashscan-pull.timer"
    for words, commands in (
        ((machine / "www", "--demo"), ["daemon-reload", f"enable --now {timers}"]),
        ((), []),
        (("--schedule", "04:00"), ["daemon-reload", f"restart {timers}"]),
        (TERMS, ["daemon-reload", "enable --now hashscan-quarantine.path", f"restart {timers}"]),
        (("--remove",), [f"disable --now {timers} hashscan-quarantine.path", "daemon-reload"]),
    ):
        log.write_text("")
        ran = run_on(machine, "setup", *words, "--yes", systemd=True)
        assert ran.code == 0, ran.err
        assert log.read_text().splitlines() == commands


@pytest.mark.slow
def test_a_scan_without_any_option_is_the_nightly_one(machine: Path) -> None:
    """On the machine of the test, with other folders at /etc and /var/lib."""
    uploads = Path(__file__).parents[3] / "examples/uploads"
    shutil.copytree(uploads, machine / "www")
    os.chown(machine / "www/carol", 33333, 33333)
    (machine / "www/carol").chmod(0o700)

    before = tree(machine)
    made = run_on(machine, "setup", machine / "www", "--demo", *TERMS, "--scheduler", "cron", "--yes")
    assert made.code == 0, made.err
    (line,) = [x for x in (machine / "etc/passwd").read_text().splitlines() if x.startswith("hashscan:")]
    uid, gid = line.split(":")[2:4]
    service = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups")
    timer = (*service, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for become in ((), timer):
        # Only root may enter the folder of the quarantine.
        scanned = run_on(machine, "scan", "--quarantine-state", QUARANTINE, become=become)
        assert scanned.code == 1, scanned.err
        assert f"{machine}/www/carol/blog/village.webp" in scanned.out
    (machine / "root").mkdir(mode=0o700)
    (machine / "root/ours.csv").write_text(f"id,algorithm,value,category\nx,sha256,{1:064},A1\n")
    at_home = ("bash", "-c", f'cd {machine}/root && exec "$@"', "bash")
    for words in (
        ("selftest",),
        ("lists", "import", "ours.csv", "--name", "ours"),
        ("lists", "remove", "ours"),
    ):
        tried = run_on(machine, *words, become=at_home)
        assert tried.code == 0, tried.err
    refused = run_on(machine, "scan", "--report", "found.html", become=at_home)
    assert refused.code == 12
    assert "continues as hashscan: name a place" in refused.err
    shutil.rmtree(machine / "root")
    assert set(owners(machine / "lib/hashscan").values()) == {int(uid)}
    assert run_on(machine, "setup", "--yes").out == ""
    shutil.rmtree(machine / "lib/hashscan")
    removed = run_on(machine, "setup", "--remove", "--yes")
    assert removed.code == 0, removed.err
    assert tree(machine) == before
    assert "hashscan:" not in (machine / "etc/passwd").read_text()
