"""Feedback on entries, and exceptions of entries that a matching service has named; by the real commands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashscan.matching_service_api import FeedbackRequest
from hashscan.model import Entry
from tests.cli.conftest import Ran, Run
from tests.cli.published import publish, pull
from tests.matching_services import LOGIN, SECRET, SPEAKERS, Listed, ServiceServer, service_running

HOSTER = "Beispiel Hosting GmbH"
REASON = "a theme's logo"


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@pytest.fixture
def reporter(tmp_path: Path) -> Path:
    path = tmp_path / "reporter.toml"
    path.write_text(f'[reporter]\norganisation = "{HOSTER}"\nemail = "abuse@example.org"\n')
    return path


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    with service_running(entries=[Listed("n-7", "sha256", sha256(b"7"))]) as running:
        yield running


Add = Callable[..., None]


@pytest.fixture
def add(run: Run, tmp_path: Path) -> Add:
    """Add a matching service as the list `national`."""

    def add(server: ServiceServer, *options: object) -> None:
        key = tmp_path / "service.key"
        key.write_text(LOGIN if "arachnid" in options else SECRET)
        key.chmod(0o600)
        where = ("--service", server.url, "--key-file", key, "--patience", "1s")
        ran = run("lists", "add", "national", *where, *options)
        assert ran.code == 0, ran.err

    return add


@pytest.fixture
def www(tmp_path: Path, age: Callable[[], None]) -> Path:
    folder = tmp_path / "geheimer-ordner"
    folder.mkdir()
    (folder / "seven").write_bytes(b"7")
    (folder / "eight").write_bytes(b"8")
    age()
    return folder


@pytest.fixture
def answered(run: Run, add: Add, server: ServiceServer, www: Path) -> ServiceServer:
    """A service that has named an entry in a scan, and acts."""
    add(server, "--accept-answers")
    assert run("scan", www).code == 1
    return server


def verdicts(ran: Ran) -> dict[str, str]:
    return {Path(line["path"]).name: line["verdict"] for line in ran.lines if line["type"] == "finding"}


def test_a_service_gets_the_opinion_and_nothing_else(
    run: Run, answered: ServiceServer, reporter: Path, www: Path, state: Path
) -> None:
    answered.received.clear()
    ran = run("lists", "feedback", "n-7", "--wrong", "--reason", REASON, "--reporter", reporter)
    assert ran.code == 0, ran.err
    assert answered.feedback == [FeedbackRequest("n-7", "wrong", REASON, HOSTER)]
    head, _, body = bytes(answered.received).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/feedback ")
    assert json.loads(body) == {"entry": "n-7", "opinion": "wrong", "reason": REASON, "hoster": HOSTER}
    for secret in (str(www), str(state), sha256(b"7").hex(), "seven"):
        assert secret.encode() not in bytes(answered.received)
    assert SECRET not in ran.err + ran.out
    assert run("lists", "feedback", "--send").code == 0
    assert len(answered.feedback) == 1


def test_feedback_is_kept_until_the_service_is_back(run: Run, answered: ServiceServer) -> None:
    answered.kill()
    ran = run("lists", "feedback", "n-7", "--right", "--reason", "seen")
    assert ran.code == 13
    assert "feedback on 1 entry waits" in run("lists", "status").err
    assert "n-7" in run("lists", "feedback").out
    assert run("lists", "feedback", "--send").code == 13
    answered.start()
    assert run("lists", "feedback", "--send").code == 0
    assert answered.feedback == [FeedbackRequest("n-7", "right", "seen")]
    assert "feedback" not in run("lists", "status").err


def test_a_pull_sends_what_waits(run: Run, answered: ServiceServer, tmp_path: Path) -> None:
    answered.kill()
    assert run("lists", "feedback", "n-7", "--wrong", "--reason", REASON).code == 13
    answered.start()
    publish(run, tmp_path / "ours", [Entry("e", "sha256", bytes(32), "A1")])
    pull(run, tmp_path / "ours")
    assert not answered.feedback, "only the named list was pulled"
    run("lists", "pull")
    assert [each.entry for each in answered.feedback] == ["n-7"]


def test_one_that_is_refused_waits_for_a_person(run: Run, answered: ServiceServer) -> None:
    answered.fault = lambda request: request.send(b"{}", 404)
    assert run("lists", "feedback", "n-7", "--wrong", "--reason", REASON).code == 13
    answered.fault = None
    assert run("lists", "feedback", "n-7", "--remove").code == 0
    assert run("lists", "feedback", "n-7", "--remove").code == 2
    assert run("lists", "feedback", "--send").code == 0
    assert not answered.feedback


def test_feedback_for_a_removed_service_goes_to_nobody(
    run: Run, answered: ServiceServer, add: Add, www: Path
) -> None:
    answered.kill()
    assert run("lists", "feedback", "n-7", "--wrong", "--reason", REASON).code == 13
    assert run("lists", "remove", "national").code == 0
    with service_running() as other:
        add(other)
        assert run("lists", "feedback", "--send").code == 0
        assert not other.requests
    assert "no feedback waits" in run("lists", "feedback").err


@pytest.mark.parametrize("adapter", sorted(SPEAKERS.keys() - {"hashscan"}))
def test_a_service_without_a_way_for_feedback_says_so(run: Run, add: Add, www: Path, adapter: str) -> None:
    with service_running(
        SPEAKERS[adapter], entries=[Listed("7", "md5", hashlib.md5(b"7").digest())]
    ) as server:
        add(server, "--adapter", adapter)
        run("scan", www)
        for entry in ("7", "n-7"):
            assert run("lists", "feedback", entry, "--wrong", "--reason", REASON).code == 2
    assert "no feedback waits" in run("lists", "feedback").err


def test_feedback_that_can_not_be_given(run: Run, local_list: str, answered: ServiceServer) -> None:
    for arguments in (
        ("n-7",),
        ("n-7", "--wrong"),
        ("n-7", "--reason", "x"),
        ("--wrong", "--reason", "x"),
        ("n-7", "--wrong", "--reason", "a\nb"),
        ("unknown", "--wrong", "--reason", "x"),
        ("e-sha256", "--list", "ours", "--wrong", "--reason", "x"),
        ("--output", "file"),
    ):
        assert run("lists", "feedback", *arguments).code == 2, arguments
    assert not answered.feedback
    assert "no feedback waits" in run("lists", "feedback").err


@pytest.fixture
def signed(run: Run, tmp_path: Path) -> Path:
    """A signed list `owner`, published and pulled."""
    folder = tmp_path / "owner"
    publish(run, folder, [Entry(f"e-{n}", "sha256", bytes([n]) * 32, "A1") for n in range(3)])
    pull(run, folder)
    return folder


def test_feedback_on_a_signed_list_is_a_signed_file(
    run: Run, signed: Path, reporter: Path, tmp_path: Path, state: Path
) -> None:
    file = tmp_path / "feedback.json"
    assert run("lists", "feedback", "e-0", "--wrong", "--reason", REASON).code == 0
    again = run("lists", "feedback", "e-1", "--right", "--reason", "seen", "--output", file)
    assert again.code == 2, "the file must name a hoster"
    ran = run("lists", "feedback", "--output", file, "--reporter", reporter)
    assert ran.code == 0, ran.err
    assert "no feedback waits" in run("lists", "feedback").err
    text = file.read_text()
    for secret in (str(state), bytes([0] * 32).hex(), "BEGIN"):
        assert secret not in text
    work = ("--work", signed / "work")
    shown = run("publish", "feedback", file, *work)
    assert shown.code == 0, shown.err
    rows = [line for line in shown.out.splitlines() if HOSTER in line]
    assert [("e-0" in row, "wrong" in row, REASON in row) for row in rows] == [
        (True, True, True),
        (False, False, False),
    ]
    fingerprint = ran.err.split()[-1]
    assert all(fingerprint in row for row in rows)
    assert run("publish", "feedback", file, *work, "--key", fingerprint).code == 0
    assert run("publish", "feedback", file, *work, "--key", "00" * 32).code == 2
    # The next file is signed with the same key.
    second = tmp_path / "second.json"
    arguments = ("e-2", "--wrong", "--reason", "x", "--output", second, "--reporter", reporter)
    assert run("lists", "feedback", *arguments).err.split()[-1] == fingerprint


def test_a_file_that_was_changed_is_refused(run: Run, signed: Path, reporter: Path, tmp_path: Path) -> None:
    file, work = tmp_path / "feedback.json", ("--work", signed / "work")
    arguments = ("e-0", "--wrong", "--reason", REASON, "--output", file, "--reporter", reporter)
    assert run("lists", "feedback", *arguments).code == 0
    document = json.loads(file.read_text())
    changes = [
        {**document, "payload": document["payload"][:-8] + "AAAAAAA="},
        {**document, "key": "00" * 32},
        {**document, "signatures": []},
        {**document, "signatures": [{**document["signatures"][0], "sig": "AAAA"}]},
        {**document, "signatures": [{"keyid": "x"}]},
        {**document, "payloadType": "application/json"},
        {},
        [],
    ]
    for number, changed in enumerate(changes):
        file.write_text(json.dumps(changed))
        ran = run("publish", "feedback", file, *work)
        assert (ran.code, "e-0" in ran.out) == (2, False), number
    file.write_bytes(b"\xff")
    assert run("publish", "feedback", file, *work).code == 2
    assert run("publish", "feedback", tmp_path / "missing", *work).code == 2


def test_a_file_about_another_list_is_refused(run: Run, signed: Path, reporter: Path, tmp_path: Path) -> None:
    file = tmp_path / "feedback.json"
    arguments = ("e-0", "--wrong", "--reason", REASON, "--output", file, "--reporter", reporter)
    assert run("lists", "feedback", *arguments).code == 0
    publish(run, tmp_path / "second", [Entry("e-0", "sha256", bytes(32), "A1")])
    assert run("publish", "feedback", file, "--work", tmp_path / "second" / "work").code == 2


EXCEPT = ("--reason", REASON, "--until", "2099-01-01")


def test_an_entry_of_a_service_is_excepted(
    run: Run, answered: ServiceServer, add: Add, www: Path, reporter: Path
) -> None:
    assert verdicts(run("scan", www, "--report", "-")) == {"seven": "match"}
    ran = run("lists", "except", "n-7", *EXCEPT, "--feedback", "--reporter", reporter)
    assert ran.code == 0, ran.err
    assert [each.opinion for each in answered.feedback] == ["wrong"]
    for arguments in (("scan", www), ("scan", "--known")):
        ran = run(*arguments, "--report", "-")
        assert verdicts(ran) == {"seven": "held"}
        (finding,) = [line for line in ran.lines if line["type"] == "finding"]
        assert finding["matches"][0]["excepted"]["reason"] == REASON
    # Another service that gets the name is another owner, whose entry is another one.
    assert run("lists", "remove", "national").code == 0
    add(answered, "--accept-answers")
    assert verdicts(run("scan", www, "--report", "-")) == {"seven": "match"}
    assert run("lists", "except", "n-7", "--remove").code == 0


def test_an_id_that_stands_for_all_entries_is_not_excepted(
    run: Run, add: Add, server: ServiceServer, www: Path
) -> None:
    server.entries = [Listed("*unnamed", "sha256", sha256(b"7"))]
    add(server, "--accept-answers")
    assert run("scan", www).code == 1
    assert run("lists", "except", "*unnamed", *EXCEPT).code == 2
    assert run("lists", "except", "n-8", *EXCEPT).code == 2
    assert verdicts(run("scan", www, "--report", "-")) == {"seven": "match"}


def test_feedback_with_an_exception_needs_an_owner(run: Run, local_list: str) -> None:
    ran = run("lists", "except", "e-sha256", *EXCEPT, "--feedback")
    assert ran.code == 2
    for arguments in (("--feedback",), ("e-sha256", "--remove", "--feedback")):
        assert run("lists", "except", *arguments).code == 2
