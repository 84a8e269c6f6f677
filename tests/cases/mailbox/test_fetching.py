"""Takes notices from Debian's dovecot: each mail once, over kills, lost connections and new UIDs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from hashscan.attribution.customers import NO_CUSTOMERS
from hashscan.cases.actions import CLOSED, prune_cases, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.mailbox import connection
from hashscan.cases.mailbox.fetching import MailboxFetcher, MailReason, record_read, waiting_mails
from hashscan.cases.notice_import import DEFAULT_TERMS, ImportCounts, NoticeImporter
from hashscan.cases.notices.pictures import PictureDigester
from hashscan.cases.notices.reader import DigestPicture
from hashscan.cases.queries import Queries
from hashscan.errors import UnreachableError, UsageError
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES
from hashscan.settings.mailbox import MailboxSettings, mailbox_of
from hashscan.state_dir import StateDir
from tests.certificates import Authority
from tests.imap_server import DOVECOT, PASSWORD, USER, Dovecot, TokenServer, dovecot, token_server
from tests.pictures import encoded, scene
from tests.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(DOVECOT is None or os.getuid() != 0, reason="needs dovecot, and root to start it"),
]
NOW = 1_800_000_000
MANY = 300


def mail(number: int, text: str = "", **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Hotline <report@hotline.example>"
    message["Message-ID"] = f"<{number}@hotline.example>"
    message["Date"] = "Mon, 01 Feb 2027 10:00:00 +0000"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text or f"Please remove https://site.example/{number}.jpg\n")
    return message


@pytest.fixture
def server() -> Iterator[Dovecot]:
    with dovecot() as server:
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path / "state")) as ledger:
        yield ledger


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def table(port: int, secret: Path, **more: Any) -> dict[str, Any]:
    found = {"host": "127.0.0.1", "port": port, "tls": "none", "user": USER, "password_file": str(secret)}
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def settings(port: int, secret: Path, **more: Any) -> MailboxSettings:
    return mailbox_of(table(port, secret, **more), "test")


def fetch(ledger: Ledger, wanted: MailboxSettings, digest: DigestPicture | None = None) -> MailboxFetcher:
    importer = NoticeImporter(lambda _: (), NO_CUSTOMERS, ImportCounts(), None, DEFAULT_TERMS)
    fetcher = MailboxFetcher(ledger, wanted, importer, digest)
    fetcher.fetch(NOW)
    return fetcher


def urls(ledger: Ledger) -> list[str]:
    return [str(row[0]) for row in ledger.rows("SELECT url FROM notice_items ORDER BY url")]


def count(ledger: Ledger, what: str) -> int:
    return int(ledger.one(f"SELECT count(*) FROM {what}")[0])


def reasons(ledger: Ledger) -> list[str]:
    return [mail.reason for mail in waiting_mails(ledger)]


def test_takes_each_mail_once_and_changes_nothing(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    for number in range(3):
        server.deliver(bytes(mail(number)))
    wanted = settings(server.port, secret)
    assert fetch(ledger, wanted).counts.mails == 3
    assert len(urls(ledger)) == count(ledger, "notices") == 3
    server.deliver(bytes(mail(3)))
    assert fetch(ledger, wanted).counts.mails == 1
    assert fetch(ledger, wanted).counts.mails == 0
    assert count(ledger, "events WHERE kind='noticed'") == 4
    assert not any(name.endswith("S") for name in server.files())


def test_takes_no_mail_again_when_the_server_numbers_anew(
    server: Dovecot, ledger: Ledger, secret: Path
) -> None:
    wanted = settings(server.port, secret)
    server.deliver(bytes(mail(1)))
    server.deliver(b"From: a@b.example\r\n\r\nnothing here\r\n")
    fetch(ledger, wanted)
    (waiting,) = waiting_mails(ledger)
    assert record_read(ledger, (waiting.number,)) == [waiting.number]
    before = ledger.one("SELECT validity FROM mails")
    server.renumber()
    server.deliver(bytes(mail(2)))
    fetch(ledger, wanted)
    assert count(ledger, "mails") == 3
    assert reasons(ledger) == []
    assert ledger.one("SELECT min(validity) FROM mails") > before
    assert count(ledger, "events WHERE kind='noticed'") == 2


@pytest.mark.parametrize("numbers", [1, 3])
def test_finds_mails_over_gaps_of_uids(
    server: Dovecot, ledger: Ledger, secret: Path, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BATCH", numbers)
    for number in range(7):
        server.deliver(bytes(mail(number)))
    wanted = settings(server.port, secret)
    fetch(ledger, wanted)
    for name in server.files()[1:6]:
        (server.box / "new" / name).unlink()
    for number in range(7, 12):
        server.deliver(bytes(mail(number)))
    assert fetch(ledger, wanted).counts.mails == 5
    assert count(ledger, "notices") == 12


def test_lists_each_mail_without_notice(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    other = (
        b"From: a@b.example\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: virus\r\n\r\n--x--\r\n"
    )
    parts = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n" * 6000
    large = bytes(mail(1)) + b"x" * 70_000 + b"\r\n"
    for data in (b"From: a@b.example\r\n\r\nhello\r\n", large, other, parts, bytes(mail(2))):
        server.deliver(data)
    wanted = settings(server.port, secret, max_size="64K")
    fetcher = fetch(ledger, wanted)
    assert (fetcher.counts.mails, fetcher.counts.waiting) == (5, 4)
    found = list(waiting_mails(ledger))
    expected = [MailReason.NO_ADDRESS, MailReason.TOO_LARGE, MailReason.OTHER_ABUSE, MailReason.MALFORMED]
    assert [one.reason for one in found] == expected
    assert found[1].sender == "report@hotline.example"
    assert found[1].reference == "<1@hotline.example>"
    assert urls(ledger) == ["https://site.example/2.jpg"]


@pytest.mark.parametrize("number", [500, 10_000])
def test_many_addresses_of_one_mail_are_one_notice(
    server: Dovecot, ledger: Ledger, secret: Path, number: int
) -> None:
    server.deliver(bytes(mail(1, "".join(f"https://site.example/{n}\n" for n in range(number)))))
    fetch(ledger, settings(server.port, secret))
    assert (count(ledger, "notices"), count(ledger, "notice_items")) == (1, number)


def test_hostile_mails_hold_nothing_back(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    url = b"\r\n\r\nhttps://site.example/x\r\n"
    nested = b"From: a@b.example\r\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(400)
    )
    hostile = [
        b"From: =?utf-8?q?=00=1b[31m?= <a@b.example>\r\nMessage-ID: \x1b]0;x\x07" + url,
        b"From: " + b"(" * 30_000 + url,
        b"From: " + b"(" * 499 + url,
        b"From: a@b.example\r\nContent-Type: text/plain; charset=idna" + url,
        b"From: a@b.example\r\nContent-Type: text/plain; name*0*=x''%ff; name*1=\"" + url,
        b"From: a@[b\r\nDate: Mon, 99 Feb 99999999999 10:00 +9999999" + url,
        nested + url,
        b"\x00\xff" * 4000,
        b"\r\n",
    ]
    for data in (*hostile, bytes(mail(9))):
        server.deliver(data)
    fetcher = fetch(ledger, settings(server.port, secret))
    assert fetcher.counts.mails == len(hostile) + 1
    assert "https://site.example/9.jpg" in urls(ledger)
    texts = ledger.rows("SELECT sender || reference || detail FROM mails")
    assert all(str(text).isprintable() for (text,) in texts)


def test_authentication_results_decide_nothing(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    results = "mx.hoster.example; spf=fail smtp.mailfrom=hotline.example; dkim=none"
    server.deliver(bytes(mail(1, Authentication_Results=results)))
    fetch(ledger, settings(server.port, secret))
    queries = Queries(ledger, DeadlineCalculator(DEFAULT_DEADLINES))
    (case,) = queries.all_cases()
    (notice,) = queries.notices(case.id)
    assert (notice.authentication, notice.pictures) == (results, [])
    record_action(ledger, (case.id,), CLOSED, "done", "me", NOW)
    prune_cases(ledger, NOW + 1, NOW + 1)
    assert count(ledger, "notice_mails") == count(ledger, "mails WHERE sender<>'' OR reference<>''") == 0


def test_pictures_are_digested_and_dropped(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    picture = encoded(scene(1), "PNG")
    message = mail(1)
    message.add_attachment(picture, "image", "png", filename="a.png")
    message.add_attachment(picture, "application", "octet-stream", filename="a.bin")
    message.add_attachment(picture[:60], "image", "jpeg", filename="broken.jpg")
    message.add_attachment(b"no picture", "image", "jpeg", filename="b.jpg")
    inner = mail(2, "hello")
    inner.add_attachment(encoded(scene(2)), "image", "jpeg", filename="c.jpg")
    message.add_attachment(inner)
    server.deliver(bytes(message))
    with PictureDigester() as digester:
        fetch(ledger, settings(server.port, secret), digester)
    found = json.loads(ledger.one("SELECT pictures FROM notice_mails")[0])
    assert [set(one) for one in found] == [
        {"md5", "sha1", "sha256", "pdq"},
        {"md5", "sha1", "sha256"},
        {"md5", "sha1", "sha256", "pdq"},
    ]
    assert found[0]["sha256"] == hashlib.sha256(picture).hexdigest()
    assert count(ledger, "cases WHERE sha256 IS NOT NULL") == 0


@pytest.mark.parametrize("after", ["seen", "move:done"])
def test_changes_mails_as_set(server: Dovecot, ledger: Ledger, secret: Path, after: str) -> None:
    server.deliver(bytes(mail(1)))
    server.deliver(b"From: a@b.example\r\n\r\nhello\r\n")
    wanted = settings(server.port, secret, after=after)
    if after.startswith("move:"):
        with pytest.raises(UsageError):
            fetch(ledger, wanted)
        for name in ("", "new", "cur", "tmp"):
            server.make_folder("done", name)
    fetch(ledger, wanted)
    assert count(ledger, "mails WHERE marks") == 0
    assert count(ledger, "notices") == 1
    left = server.files()
    assert len([name for name in left if not name.endswith("S")]) == 1
    assert len(left) + len(server.files("done") if after != "seen" else []) == 2


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_tls(tmp_path: Path, ledger: Ledger, secret: Path, kind: str) -> None:
    authority = Authority(tmp_path / "ca")
    with dovecot(authority.issue("localhost")) as server:
        server.deliver(bytes(mail(1)))
        port = server.port if kind == "starttls" else server.tls_port
        wanted = settings(port, secret, host="localhost", tls=kind, ca_file=str(authority.file))
        assert fetch(ledger, wanted).counts.mails == 1
        for wrong in ({"ca_file": None}, {"host": "127.0.0.1"}):
            with pytest.raises(UsageError):
                fetch(ledger, settings(port, secret, **{"tls": kind, "host": "localhost", **wrong}))
    with pytest.raises(UsageError):
        settings(143, secret, host="imap.example", tls="none")


def test_wrong_login_and_folder(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    with pytest.raises(UsageError):
        fetch(ledger, settings(server.port, secret, folder='no"where'))
    secret.write_text("wrong\n")
    with pytest.raises(UsageError) as caught:
        fetch(ledger, settings(server.port, secret))
    assert "wrong" not in str(caught.value)
    with pytest.raises(UnreachableError):
        fetch(ledger, settings(1, secret))


def oauth(tokens: TokenServer, secret: Path, port: int) -> MailboxSettings:
    secret.write_text("refresh-0\n")
    return settings(
        port, secret, password_file=None, token_url=tokens.url + "token", client_id="me", scope="imap",
        refresh_token_file=str(secret),
    )  # fmt: skip


def test_oauth(ledger: Ledger, secret: Path) -> None:
    with token_server() as tokens, dovecot(token_url=tokens.url) as server:
        server.deliver(bytes(mail(1)))
        wanted = oauth(tokens, secret, server.port)
        assert fetch(ledger, wanted).counts.mails == 1
        expected = {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-0",
            "client_id": "me",
            "scope": "imap",
        }
        assert tokens.requests == [expected]
        assert secret.read_text() == "refresh-1\n"
        assert secret.stat().st_mode & 0o777 == 0o600
        server.deliver(bytes(mail(2)))
        assert fetch(ledger, wanted).counts.mails == 1
        secret.write_text("expired\n")
        with pytest.raises(UsageError):
            fetch(ledger, wanted)
        tokens.refresh = "expired"
        tokens.refuses = True
        with pytest.raises(UsageError) as caught:
            fetch(ledger, wanted)
        assert "token-" not in str(caught.value)


@contextmanager
def dropping(port: int, allowances: list[int], dropped: Callable[[], None] = lambda: None) -> Iterator[int]:
    """A proxy that ends its connections after so many bytes of the server, and then none."""
    listener = socket.create_server(("127.0.0.1", 0))

    def relay(client: socket.socket) -> None:
        left = allowances.pop(0) if allowances else 1 << 40
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            threading.Thread(target=forward, args=(client, server), daemon=True).start()
            while left > 0 and (data := server.recv(min(left, 65536))):
                client.sendall(data)
                left -= len(data)
            if left <= 0:
                dropped()
            for each in (client, server):
                each.shutdown(socket.SHUT_RDWR)

    def forward(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)

    def quiet(client: socket.socket) -> None:
        with suppress(OSError):
            relay(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=quiet, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield int(listener.getsockname()[1])


def test_goes_on_after_a_lost_connection_with_a_new_token(ledger: Ledger, secret: Path) -> None:
    with token_server() as tokens, dovecot(token_url=tokens.url) as server:
        for number in range(30):
            server.deliver(bytes(mail(number)))
        with dropping(server.port, [5_000, 5_000], tokens.active.clear) as port:
            fetcher = fetch(ledger, oauth(tokens, secret, port))
        assert fetcher.counts.mails == 30
        assert len(tokens.given) == 3
    assert len(urls(ledger)) == count(ledger, "events WHERE kind='noticed'") == 30


def test_ends_where_no_connection_brings_a_mail(server: Dovecot, ledger: Ledger, secret: Path) -> None:
    server.deliver(bytes(mail(1)))
    with dropping(server.port, [500] * 9) as port, pytest.raises(UnreachableError):
        fetch(ledger, settings(port, secret))
    assert fetch(ledger, settings(server.port, secret)).counts.mails == 1


@pytest.mark.slow
@pytest.mark.parametrize("after", ["keep", "move:done"])
def test_killed_at_random(server: Dovecot, tmp_path: Path, secret: Path, after: str) -> None:
    for number in range(MANY):
        server.deliver(bytes(mail(number)))
    for name in ("", "new", "cur", "tmp"):
        server.make_folder("done", name)
    file, state = tmp_path / "mailbox.toml", tmp_path / "state"
    command = [sys.executable, "-m", "hashscan", "cases", "fetch", "--mailbox", file, "--state", state]
    running: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        with Ledger(StateDir(state)) as ledger:
            until(lambda: count(ledger, "mails") > 0)
        running[-1].kill()
        until(lambda: running[-1].poll() is not None)

    chance = random.Random(7)
    allowances = [chance.randint(60_000, 70_000), *(chance.randint(1_000, 40_000) for _ in range(2))]
    with dropping(server.port, allowances, kill) as port:
        values = table(port, secret, after=after)
        file.write_text("[mailbox]\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items()))
        for _ in range(3):
            running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            running[-1].wait()
        assert [process.returncode for process in running] == [-signal.SIGKILL] * 3
        with Ledger(StateDir(state)) as ledger:
            assert 0 < count(ledger, "mails") == count(ledger, "notices") < MANY
        assert subprocess.run(command, stderr=subprocess.PIPE, check=False).returncode == 3
    with Ledger(StateDir(state)) as ledger:
        assert count(ledger, "mails") == count(ledger, "notices") == MANY
        assert count(ledger, "events WHERE kind='noticed'") == MANY
        assert count(ledger, "mails WHERE marks") == 0
    assert len(server.files("done" if after != "keep" else "")) == MANY
