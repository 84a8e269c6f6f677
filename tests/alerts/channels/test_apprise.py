"""Messages by Apprise, to real services on loopback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.apprise import AppriseChannel, LetterChannel, redact, secrets_of
from hashscan.alerts.channels.base import DeliveryError, ProgramResult
from hashscan.errors import UsageError
from tests.alerts.mailbox import mailbox
from tests.alerts.services import PATH_TOKEN, TOKEN, webhook

HOSTILE = "a\r\nBcc: all@example.com\n\n<script>alert(1)</script>\x1b[31m[bold]"
DOCUMENT = {
    **Alert(Kind.FOUND, ("k",), f"2 new cases {HOSTILE}", (f"list {HOSTILE}",), (7, 8)).document(
        "web1", "2027-01-01T12:00:00+00:00"
    ),
    "id": 1,
}


def test_a_webhook_gets_subject_text_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What lies in the working folder is not taken for a module.
    (tmp_path / "apprise.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    with webhook() as hook:
        AppriseChannel(hook.url).deliver(DOCUMENT, 30)
    (message,) = hook.posted
    assert message["title"].startswith("hashscan on web1: 2 new cases a\\x0d\\x0aBcc")
    assert "Cases: 7, 8." in message["message"]
    assert "\x1b" not in message["message"]
    assert message["type"] == "failure"
    assert not message["attachments"]


@pytest.mark.parametrize("trouble", ["refused", "silent", "down"])
def test_a_service_that_is_not_well(trouble: str) -> None:
    with webhook() as hook:
        url = hook.url
        hook.status = 500
        if trouble == "silent":
            hook.silent.set()
        if trouble != "down":
            with pytest.raises(DeliveryError) as caught:
                AppriseChannel(url).deliver(DOCUMENT, 2 if trouble == "silent" else 30)
    if trouble == "down":
        with pytest.raises(DeliveryError) as caught:
            AppriseChannel(url).deliver(DOCUMENT, 30)
    for secret in (TOKEN, *PATH_TOKEN.split("/"), "0perator"):
        if len(secret) > 3:
            assert secret not in str(caught.value)
    assert ("no answer within 2 s" in str(caught.value)) is (trouble == "silent")


@pytest.mark.parametrize("url", ["nosuchservice://sekrit", "slack://sekrit", "mailto://sekrit"])
def test_a_url_that_apprise_does_not_know_is_refused_without_naming_it(url: str) -> None:
    with pytest.raises(UsageError, match="Apprise can't use") as caught:
        AppriseChannel(url).check()
    assert "sekrit" not in f"{caught.value} {caught.value.remedy}"


def test_a_good_url_is_looked_at_and_nothing_sent() -> None:
    with webhook() as hook:
        AppriseChannel(hook.url).check()
    assert not hook.posted


def test_a_mail_has_one_subject_and_no_header_of_strangers() -> None:
    with mailbox() as box:
        channel = AppriseChannel(box.url + "&cc=boss@example.com&bcc=log@example.com&+X-Team=abuse")
        channel.check()
        channel.deliver(DOCUMENT, 30)
        channel.deliver(DOCUMENT, 30)
    assert box.recipients == [["abuse@example.com", "boss@example.com", "log@example.com"]] * 2
    first, again = box.mails
    assert first.as_bytes() == again.as_bytes()
    assert first["Subject"].startswith("hashscan on web1: 2 new cases a\\x0d\\x0aBcc: all@example.com")
    for name, value in {
        "Bcc": None,
        "From": "scan@example.com",
        "To": "abuse@example.com",
        "Cc": "boss@example.com",
        "X-Team": "abuse",
        "Auto-Submitted": "auto-generated",
        "Message-ID": DOCUMENT["message_id"],
        "Date": "Fri, 01 Jan 2027 12:00:00 +0000",
        "List-Id": "hashscan <alerts.hashscan.web1>",
        "Content-Type": 'text/plain; charset="utf-8"',
    }.items():
        assert first.get_all(name) == (None if value is None else [value]), name
    assert first.get_content().replace("\r\n", "\n") == f"{DOCUMENT['text']}\n"


def test_a_mail_goes_to_all_recipients_or_to_none() -> None:
    with mailbox() as box:
        channel = AppriseChannel(box.url + ",gone@example.com")
        box.refused = {"gone@example.com"}
        with pytest.raises(DeliveryError):
            channel.deliver(DOCUMENT, 30)
        box.refused = set()
        box.reply = "451 later"
        with pytest.raises(DeliveryError):
            channel.deliver(DOCUMENT, 30)
        assert not box.raw
        box.reply = "250 OK"
        channel.deliver(DOCUMENT, 30)
        assert box.recipients == [["abuse@example.com", "gone@example.com"]]


def test_a_letter_goes_to_its_own_recipient_and_only_by_mail() -> None:
    letter = {**DOCUMENT, "kind": "letter", "to": "customer@example.net", "reply_to": "a@example.org"}
    with mailbox() as box:
        LetterChannel(box.url + "&cc=boss@example.com").deliver(letter, 30)
        for url in (f"{box.url}&pgp=encrypt", "json://127.0.0.1:1/"):
            with pytest.raises(UsageError):
                LetterChannel(url).check()
            with pytest.raises(DeliveryError):
                LetterChannel(url).deliver(letter, 30)
    assert box.recipients == [["customer@example.net"]]
    (mail,) = box.mails
    assert (mail["Reply-To"], mail["List-Id"]) == ("a@example.org", None)


def test_a_server_that_goes_after_it_has_accepted_a_mail_has_it() -> None:
    with mailbox() as box:
        box.reply = "250 OK\r\n221 bye"
        AppriseChannel(box.url).deliver(DOCUMENT, 30)
        assert len(box.raw) == 1


@given(st.lists(st.from_regex(r"[A-Za-z0-9%!$._~()-]{3,30}", fullmatch=True), min_size=1, max_size=4))
def test_no_piece_of_a_url_is_shown(pieces: list[str]) -> None:
    secrets = secrets_of("json://" + "/".join(pieces))
    said = redact(f"<{'|'.join(pieces)}|{pieces[0].upper()}>", secrets)
    assert not any(piece in said for piece in pieces)


def test_no_half_of_a_secret_is_shown_where_words_are_cut() -> None:
    url = "json://a.example/" + "s3cret" * 20
    token = url.rpartition("/")[2]
    said = AppriseChannel(url)._reason_suffix(ProgramResult(1, f"{token} {'y' * 240}"))
    assert "cret" not in said
    assert said.endswith("y" * 240)


def test_no_letter_of_a_password_is_shown() -> None:
    with pytest.raises(UsageError, match="can't use the URL") as caught:
        AppriseChannel("mailto://u:Xtra5ecretQ@127.0.0.1:1/?to=a@b.example").check()
    assert "Xtra" not in str(caught.value)
    assert not re.search(r"X\.+Q", str(caught.value))


def test_two_channels_of_one_service_are_distinguished_without_their_secrets() -> None:
    one, other = AppriseChannel("json://a.example/first"), AppriseChannel("json://a.example/second")
    assert one.id != other.id
    assert "first" not in one.id + one.label
    assert one.label.startswith("json (")
