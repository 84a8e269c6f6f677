"""`hashscan serve` in a process of its own: start, stop, reload, kills, and cases of refused uploads."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, runner
from tests.service.running import activated, cases, listens, service
from tests.sources.children import needs_root
from tests.waiting import until


@pytest.fixture
def listed(prepared: Path, state: Path) -> bytes:
    """A picture of the list in the state folder."""
    shutil.copytree(prepared / "state", state, symlinks=True)
    return (prepared / "uploads" / "listed.jpg").read_bytes()


@pytest.fixture
def clean(prepared: Path) -> bytes:
    return (prepared / "uploads" / "other.jpg").read_bytes()


def test_it_refuses_and_lets_through_and_stops_in_order(
    listed: bytes, clean: bytes, state: Path, run: Run
) -> None:
    with service(state) as running:
        assert running.upload(clean) is None
        first = running.upload(listed)
        assert running.upload(listed) == first
        assert running.upload(listed + b"more") not in {None, first}
        running.process.send_signal(signal.SIGTERM)
        running.notified("STOPPING=1")
        assert running.process.wait() == 0
        assert not running.socket.exists()
    one, other = cases(run)
    assert (one["state"], one["verdict"], one["reference"], one["door"]) == (
        "refused",
        "match",
        first,
        "icap",
    )
    assert one["upload"]["number"] == 2
    assert one["upload"]["address"] == "uid=0" if os.geteuid() == 0 else True
    assert set(one["upload"]["digests"]) >= {"md5", "sha1", "sha256", "pdq"}
    assert {match["entry"] for match in one["matches"]} == {"e-sha256", "e-pdq"}
    assert other["upload"]["number"] == 1
    # All journals are in the ledger.
    assert not list(StateDir(state).uploads.glob("*.jsonl"))
    counted = json.loads(run("stats", "--format", "json").out)["totals"]
    assert counted["uploads"]["clean"] == 1
    assert (counted["uploads"]["match"], counted["uploads"]["refused"]) == (3, 3)
    assert counted["doors"] == {"icap": 4}
    assert counted["removal"]["cases"] == 0


def test_a_refused_upload_has_its_case_after_a_kill_right_after_the_answer(
    listed: bytes, state: Path, run: Run
) -> None:
    with service(state) as running:
        reference = running.upload(listed)
        running.kill()
    (case,) = cases(run)
    assert case["reference"] == reference
    for named in (reference, f"hashscan.Blocked-{reference}", str(case["case"])):
        assert json.loads(run("cases", "show", named, "--format", "json").out)["reference"] == reference
    for named in (f"{reference}0", "x", "0", "9" * 30, "hashscan.Blocked-"):
        assert run("cases", "show", named).code == 2


@pytest.mark.slow
def test_kills_at_any_time_lose_no_answered_refusal(listed: bytes, state: Path, run: Run) -> None:
    chosen = random.Random(7)
    answered: dict[str, int] = {}
    number = 0
    for _ in range(6):
        with service(state) as running:
            killer = threading.Timer(chosen.random() * 0.4, running.process.kill)
            killer.start()
            try:
                while True:
                    number += 1
                    reference = running.upload(listed + b"%d" % (number // 2))
                    assert reference is not None
                    answered[reference] = answered.get(reference, 0) + 1
            except (OSError, AssertionError):
                pass
            killer.join()
            running.kill()
    found = {case["reference"]: case["upload"]["number"] for case in cases(run)}
    assert answered
    # One refusal may be recorded in each life whose answer was not sent.
    for reference, times in answered.items():
        assert times <= found[reference] <= times + 6


def test_it_starts_again_where_another_was_killed(listed: bytes, state: Path) -> None:
    for _ in range(2):
        with service(state) as running:
            assert running.upload(listed) is not None
            running.kill()


def test_a_new_version_of_a_list_is_used(
    clean: bytes, listed: bytes, state: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "clean.jpg").write_bytes(clean)
    with service(state) as running, running.connected():
        assert running.upload(clean) is None
        (hashed,) = run("hash", tmp_path / "clean.jpg").lines
        (tmp_path / "more.csv").write_text(
            f"id,algorithm,value,category\nm-1,sha256,{hashed['digests']['sha256']},A1\n"
        )
        assert run("lists", "import", tmp_path / "more.csv", "--name", "more").code == 0
        until(lambda: running.upload(clean))
        assert run("lists", "remove", "more", "--yes").code in {0, 2}
        assert running.upload(listed)


def test_sighup_reloads(listed: bytes, state: Path) -> None:
    with service(state) as running:
        running.process.send_signal(signal.SIGHUP)
        running.notified("RELOADING=1")
        running.notified("READY=1")
        assert running.upload(listed)


def test_the_watchdog_is_fed(listed: bytes, state: Path) -> None:
    with service(state, env={"WATCHDOG_USEC": "400000"}) as running:
        for _ in range(3):
            running.notified("WATCHDOG=1")


def test_sockets_of_the_service_manager_are_used(listed: bytes, state: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as named, socket.create_server(("127.0.0.1", 0)) as by_name:
        named.bind(str(tmp_path / "icap.sock"))
        named.listen()
        # The first has the address of a door, the second the name of a protocol.
        env = {"LISTEN_FDNAMES": "anything:icap"}
        with (
            activated(named, by_name) as (prefix, options),
            service(state, env=env, prefix=prefix, **options) as running,
        ):
            assert running.upload(listed)
            with socket.create_connection(by_name.getsockname()) as connection:
                connection.settimeout(60)
                connection.sendall(b"OPTIONS icap://x/avscan ICAP/1.0\r\nHost: x\r\n\r\n")
                assert connection.recv(100).startswith(b"ICAP/1.0 200")
            running.stop()
        # The service manager's socket stays where it is.
        assert (tmp_path / "icap.sock").exists()


def test_a_socket_without_a_protocol_is_refused(listed: bytes, state: Path, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as nameless,
        activated(nameless) as (prefix, options),
        service(state, doors=(), prefix=prefix, ready=False, **options) as running,
    ):
        assert running.process.wait(60) == 2


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd-socket-activate")
def test_systemd_socket_activate_starts_it(listed: bytes, state: Path, tmp_path: Path) -> None:
    path = tmp_path / "icap.sock"
    passed = ["-E", "HASHSCAN_STATE", "-E", "HASHSCAN_WORKERS", "-E", "PATH", "-E", "NOTIFY_SOCKET"]
    prefix = ["systemd-socket-activate", f"--listen={path}", "--fdname=icap", *passed]
    with service(state, doors=(), prefix=prefix, ready=False, cwd=Path(__file__).parents[2]) as running:
        until(lambda: listens(path))
        assert running.upload(listed)


def test_a_locked_ledger_delays_no_answer_and_loses_no_case(listed: bytes, state: Path, run: Run) -> None:
    with service(state) as running:
        with closing(sqlite3.connect(StateDir(state).ledger, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reference = running.upload(listed)
            assert reference is not None
            assert other.execute("SELECT count(*) FROM refusals").fetchone() == (0,)
            other.execute("ROLLBACK")
        running.kill()
    (case,) = cases(run)
    assert case["reference"] == reference


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], check=False).returncode:
        pytest.skip("mounts are not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@needs_root
def test_a_full_disk_changes_no_answer_and_loses_no_case(small_disk: Path) -> None:
    there = small_disk / "state"
    # No picture, as each would have decoders of its own.
    listed = b"words on a list"
    entries = small_disk / "words.csv"
    entries.write_text(f"id,algorithm,value,category\nw,sha256,{hashlib.sha256(listed).hexdigest()},A1\n")
    assert runner(there)("lists", "import", entries, "--name", "words").code == 0
    with service(there, "--trust-owner", "icap=X-Owner") as running:
        running.upload(listed)
        filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
        with closing(os.fdopen(filler, "wb", buffering=0)) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        # Some fit into the journal, which was allocated before; the others wait in memory.
        references = {running.upload(listed, f"X-Owner: {n}") for n in range(1500)}
        assert None not in references
        assert len(references) == 1500
        (small_disk / "filler").unlink()
        assert running.upload(listed)
        assert running.stop() == 0
    assert {case["reference"] for case in cases(runner(there))} >= references


def test_refused_content_is_kept_encrypted(
    listed: bytes, clean: bytes, state: Path, run: Run, tmp_path: Path
) -> None:
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "recipients").write_text(f"# ours\n{identity.to_public()}\n")
    with service(state, "--keep-refused", tmp_path / "recipients") as running:
        reference = running.upload(listed)
        assert running.upload(listed) == reference
        assert running.upload(clean) is None
        running.kill()
    (kept,) = StateDir(state).refused.iterdir()
    assert kept.name == f"{reference}.age"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert pyrage.decrypt(kept.read_bytes(), [identity]) == listed
    (case,) = cases(run)
    assert case["upload"]["kept"] == kept.name
    assert case["upload"]["number"] == 2


def test_there_is_a_limit_of_what_is_kept(listed: bytes, state: Path, run: Run, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    (tmp_path / "recipients").write_text(str(pyrage.x25519.Identity.generate().to_public()))
    options = ("--keep-refused", tmp_path / "recipients", "--keep-refused-max", len(listed) + 10)
    with service(state, *options) as running:
        assert running.upload(listed)
        assert running.upload(listed + b"1")
        running.kill()
    assert len(list(StateDir(state).refused.iterdir())) == 1
    assert [bool(case["upload"]["kept"]) for case in cases(run)] == [True, False]


def test_customers_are_those_that_a_trusted_header_names(listed: bytes, state: Path, run: Run) -> None:
    with service(state, "--trust-owner", "icap=X-Owner") as running:
        references = {running.upload(listed, f"X-Owner: {name}") for name in ("anna", "otto", "anna")}
        assert len(references) == 2
        running.kill()
    found = {case["customer"]: case["upload"]["number"] for case in cases(run)}
    assert found == {"anna": 2, "otto": 1}


def test_metrics_are_written(listed: bytes, clean: bytes, state: Path, tmp_path: Path) -> None:
    path = tmp_path / "serve.prom"
    with service(state, "--service-metrics", path) as running:
        running.upload(listed)
        running.upload(clean)
        assert running.stop() == 0
    lines = path.read_text().splitlines()
    assert 'hashscan_serve_uploads_total{answer="refuse",door="icap",verdict="match"} 1.0' in lines
    assert 'hashscan_serve_check_seconds_count{door="icap"} 2.0' in lines
    assert 'hashscan_serve_list_state{list="ours",state="local"} 1.0' in lines
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_settings_file_has_its_options(listed: bytes, state: Path, tmp_path: Path) -> None:
    settings = tmp_path / "hashscan.toml"
    settings.write_text(
        f'[serve]\nicap = ["unix:{tmp_path / "icap.sock"}"]\nanswer = ["icap.match=allow"]\n'
        'trust_owner = ["icap=X-Owner"]\nallow = ["icap=10.0.0.0/8"]\nmax_upload = "1M"\nqueue_time = "5s"\n'
    )
    with service(state, doors=(), env={"HASHSCAN_CONFIG": str(settings)}) as running:
        assert running.upload(listed) is None


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--icap", "tcp:localhost:1344"),
        ("--icap", "tcp:127.0.0.1:99999"),
        ("--icap", "unix:relative"),
        ("--icap", "1344"),
        ("--icap", "tcp:192.0.2.1:1344"),
        ("--icap", "unix:/nowhere/at/all.sock"),
        ("--icap", "unix:{}/x.sock", "--allow", "icap=10.0.0.1/8"),
        ("--icap", "unix:{}/x.sock", "--allow", "ftp=10.0.0.0/8"),
        ("--icap", "unix:{}/x.sock", "--answer", "icap.clean=refuse"),
        ("--icap", "unix:{}/x.sock", "--answer", "icap.match=maybe"),
        ("--icap", "unix:{}/x.sock", "--trust-owner", "clamd=X-Owner"),
        ("--icap", "unix:{}/x.sock", "--trust-owner", "icap=X Owner"),
        ("--icap", "unix:{}/x.sock", "--trust-owner", "icap=X-Owner", "--one-owner", "icap"),
        ("--icap", "unix:{}/x.sock", "--keep-refused", "/nowhere"),
        ("--icap", "unix:{}/x.sock", "--service-metrics", "{}/metrics.txt"),
        ("--icap", "unix:{}/x.sock", "--tls-key", "{}/key.pem"),
        ("--icap", "unix:{}/x.sock", "--socket-mode", "9"),
        ("--icap", "unix:{}/x.sock", "--max-upload", "0"),
    ],
)
def test_wrong_options_are_refused(
    options: tuple[str, ...], listed: bytes, state: Path, run: Run, tmp_path: Path
) -> None:
    ran = run("serve", *(option.format(tmp_path) for option in options))
    assert ran.code == 2, ran.err


def test_without_a_list_it_does_not_start(state: Path, run: Run, tmp_path: Path) -> None:
    assert run("serve", "--icap", f"unix:{tmp_path / 'x.sock'}").code == 10
    assert not (tmp_path / "x.sock").exists()


def test_it_can_be_stopped_while_it_starts(listed: bytes, state: Path) -> None:
    with service(state, ready=False) as running:
        until(lambda: StateDir(state).uploads.exists())
        assert running.stop() == 0


def shown_commands(begin: str = "hashscan serve") -> list[str]:
    """The commands that the page shows, in its order."""
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    lines = (line.strip() for line in page.splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith(begin)))


def test_the_page_shows_commands() -> None:
    assert len(shown_commands()) >= 3


@pytest.mark.parametrize("shown", shown_commands())
def test_every_command_of_the_page_runs(
    shown: str, listed: bytes, state: Path, run: Run, tmp_path: Path
) -> None:
    pyrage = pytest.importorskip("pyrage")
    (tmp_path / "recipients").write_text(str(pyrage.x25519.Identity.generate().to_public()))
    assert run("keys", "add", "shop", "--http-keys", tmp_path / "http-keys", "--right", "scan").code == 0
    placed = re.sub(r"tcp:[\d.]+:\d+", "tcp:127.0.0.1:0", shown).replace("FINGERPRINT", "0" * 64)
    placed = (
        placed.replace("/tmp", "/run/hashscan")
        .replace("/run/hashscan", str(tmp_path))
        .replace("/etc/hashscan", str(tmp_path))
    )
    with service(state, doors=placed.split()[2:]) as running:
        assert running.stop() == 0


def test_every_command_about_keys_of_the_page_runs(run: Run, tmp_path: Path) -> None:
    shown = [*shown_commands("(umask 077; hashscan keys"), *shown_commands("hashscan keys")]
    assert shown
    for command in shown:
        words = (
            command.removeprefix("(umask 077; ")
            .partition(" >")[0]
            .replace("/etc/hashscan", str(tmp_path))
            .split()[1:]
        )
        assert run(*words).code == 0, command


@pytest.mark.skipif(shutil.which("clamdscan") is None, reason="clamdscan is not installed")
def test_the_first_try_of_the_page(state: Path, run: Run, tmp_path: Path) -> None:
    serve, write, scan = (
        line.replace("/tmp", str(tmp_path))
        for begin in ("hashscan serve --list demo", "echo", "clamdscan")
        for line in shown_commands(begin)
    )
    uploads = Path(__file__).parents[2] / "examples" / "uploads"
    with service(state, doors=serve.split()[2:]):
        subprocess.run(["bash", "-c", write], cwd=tmp_path, check=True)
        done = subprocess.run(
            ["bash", "-c", scan.replace("examples/uploads", str(uploads))],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert "hashscan.Blocked-" in done.stdout
    assert run("cases", "list", "--status", "refused", "--format", "json").lines == []


def test_a_list_that_a_service_uses_is_not_removed(listed: bytes, state: Path, run: Run) -> None:
    with service(state) as running:
        assert run("lists", "remove", "ours", "--force").code == 11
        assert running.upload(listed) is not None
        running.kill()
    # A killed one leaves no lock.
    assert run("lists", "remove", "ours").code == 0


def test_a_reference_of_a_test_entry_is_no_case_and_known_as_such(state: Path, run: Run) -> None:
    uploads = Path(__file__).parents[2] / "examples" / "uploads"
    with service(state, "--list", "demo") as running:
        references = {running.upload(file.read_bytes()) for file in uploads.rglob("*") if file.is_file()}
    references.discard(None)
    assert references
    for reference in references:
        for named in (reference, f"hashscan.Blocked-{reference}"):
            ran = run("cases", "show", named)
            assert ran.code == 2
            assert "test entries" in ran.err
    ran = run("cases", "show", "0" * 16)
    assert ran.code == 2
    assert "test entries" not in ran.err


def test_every_command_about_cases_of_the_page_runs(listed: bytes, state: Path, run: Run) -> None:
    with service(state) as running:
        reference = running.upload(listed)
    shown = shown_commands("hashscan cases")
    assert shown
    for command in shown:
        ran = run(*command.replace("REFERENCE", reference).split()[1:])
        assert ran.code == 0, command
        assert reference in ran.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_its_processes_stops_it_in_order(
    number: signal.Signals, listed: bytes, state: Path, run: Run
) -> None:
    with service(state) as running, running.connected() as idle:
        reference = running.upload(listed)
        os.killpg(running.process.pid, number)
        assert running.process.wait(60) == 0
        assert idle.recv(1) == b""
    assert [case["reference"] for case in cases(run)] == [reference]
