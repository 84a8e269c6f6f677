"""Documents of every notice format, with what is in them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hashscan.cases.notices.notice import Notice, NoticeKind, SenderRole

SHA256 = "ab" * 32
CAME = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
URL = "https://customer.example/u/a%20b.jpg?x=1"
SENDER = "notices@hotline.example"

V4: dict[str, Any] = {
    "xarf_version": "4.2.0",
    "report_id": "0d2b8f64-6c1d-4b7e-9d0a-111111111111",
    "timestamp": "2026-11-26T09:30:00Z",
    "reporter": {"org": "A hotline", "contact": SENDER, "domain": "hotline.example"},
    "sender": {"org": "A hotline", "contact": SENDER, "domain": "hotline.example"},
    "source_identifier": "198.51.100.7",
    "category": "content",
    "type": "csam",
    "url": URL,
    "classification": "A1",
    "detection_method": "manual_review",
    "hash_values": {"sha256": SHA256.upper(), "photodna": "not for us"},
    "evidence": [{"content_type": "text/plain", "payload": "bm90aGluZw=="}],
}
V4_NOTICE = Notice(V4["report_id"], SENDER, URL, b"", CAME, None, "A1", (("sha256", SHA256),))
V3: dict[str, Any] = {
    "ReporterInfo": {"ReporterOrg": "A hotline", "ReporterOrgEmail": SENDER},
    "Disclosure": True,
    "Report": {
        "ReportClass": "Content",
        "ReportType": "ChildAbuse",
        "Date": "2026-11-26T10:30:00+01:00",
        "SourceIp": "198.51.100.7",
        "SourceUrl": URL,
    },
}
V3_NOTICE = Notice("", SENDER, URL, b"", CAME)
SPAM: dict[str, Any] = {**V4, "category": "messaging", "type": "spam"}


def text(*documents: object) -> bytes:
    """Documents, a line each."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def mail(*parts: tuple[str, bytes], date: str = "Thu, 26 Nov 2026 10:30:00 +0100", cut: str = "cut") -> bytes:
    """A mail with these parts, each after its own headers."""
    head = f"From: {SENDER}\nDate: {date}\nMessage-ID: <1@hotline.example>\nMIME-Version: 1.0\n"
    head += f"Content-Type: multipart/mixed; boundary={cut}\n\n"
    body = b"".join(f"--{cut}\n{headers}\n\n".encode() + data + b"\n" for headers, data in parts)
    return head.encode() + body + f"--{cut}--\n".encode()


def arf(kind: str, *uris: str) -> bytes:
    """A report in ARF about addresses, which encloses a mail with another one."""
    report = f"Feedback-Type: {kind}\nUser-Agent: x/1\nVersion: 1\n"
    report += "".join(f"Reported-URI: {uri}\n" for uri in uris)
    parts = (
        ("text/plain", "This is an abuse report."),
        ("message/feedback-report", report),
        ("message/rfc822", "Subject: spam\n\nhttps://spam.example/\n"),
    )
    body = "".join(f"--cut\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    head = f"From: {SENDER}\nMessage-ID: <3@hotline.example>\nMIME-Version: 1.0\n"
    head += "Content-Type: multipart/report; report-type=feedback-report; boundary=cut\n\n"
    return f"{head}{body}--cut--\n".encode()


FORM = """\
ANNEX I
REMOVAL ORDER
(Article 3 of Regulation (EU) 2021/784 of the European Parliament and of the Council)

SECTION A:
Member State of the issuing competent authority:
Germany
NB: details of the issuing competent authority to be provided in Sections E and F
Addressee and, where relevant, legal representative: Example Hosting B.V.
Contact point: abuse@hosting.example
Member State of the main establishment of the hosting service provider or where its
legal representative resides or is established: NL
Time and date of issuing of the removal order: 26.11.2026, 09:00
Reference number of the removal order: ....DE/2026-17....

SECTION B: terrorist content to be removed or access to which is to be disabled
URL and any additional information enabling the identification and exact location of the
terrorist content:
hxxps://customer[.]example/u/a%20b.jpg?x=1
Reasons for considering the material to be terrorist content, see https://police.example/why
[x] incites others to commit terrorist offences

SECTION C: Information to the content provider
Please note that (please tick, if applicable):
[ ] for reasons of public security, the addressee must refrain from informing the content
provider of the removal of or the disabling of access to the terrorist content

SECTION D: Information to the competent authority of the Member State
[ ] A copy of the removal order is sent

SECTION E: Details of the issuing competent authority
Name of issuing competent authority: Federal police
Name of its representative and post held (title and grade): A. Nyone
File No: 4711/26
Address: 1 Street
Email address: notices@hotline.example
Date: 26.11.2026
"""
"""A removal order for terrorist content, as text."""
FORM_NOTICE = Notice(
    "DE/2026-17",
    SENDER,
    URL,
    category="terrorism",
    kind=NoticeKind.TERRORIST,
    role=SenderRole.AUTHORITY,
    member_state="DE",
    legal_basis="Regulation (EU) 2021/784, article 3",
    hours=1.0,
    name="Federal police",
)


@dataclass(frozen=True)
class Examples:
    """The examples of one format."""

    good: list[tuple[bytes, list[Notice]]]
    bad: list[tuple[bytes, str]]
    """With words that the error has to have."""


EXAMPLES: dict[str, Examples] = {
    "csv": Examples(
        good=[
            (
                b"url,path,reference,sender,received,deadline,category,md5,sha1,sha256\n"
                b'"https://customer.example/u/a%20b.jpg?x=1",,R-1,notices@hotline.example,'
                b"2026-11-26T09:30:00Z,2026-11-27T09:30:00+00:00,a1,,," + SHA256.encode() + b"\n\n"
                b",/srv/www/a.jpg,,,2026-11-26,,,,,\n",
                [
                    Notice("R-1", SENDER, URL, b"", CAME, CAME.replace(day=27), "A1", (("sha256", SHA256),)),
                    Notice("", "", "", b"/srv/www/a.jpg", CAME.replace(hour=0, minute=0)),
                ],
            ),
            (b"\xef\xbb\xbfURL; Seen \nhxxps://a[.]example/x;y\n", [Notice("", "", "https://a.example/x")]),
            (b"sha256\n" + SHA256.encode() + b"\n", [Notice("", "", digests=(("sha256", SHA256),))]),
            (b"url\n", []),
        ],
        bad=[
            (b"", "line 1"),
            (b"reference,category\nR-1,A1\n", "line 1"),
            (b"url,url\nhttps://a/,https://a/\n", "line 1"),
            (b"url\nhttps://a.example/\nexample.com/x\n", "line 3"),
            (b"url\nhttps://a.example/ x\n", "line 2"),
            (b"url,reference\n,R-1\n", "line 2"),
            (b"url,category\nhttps://a.example/,known-good\n", "line 2"),
            (b"url,received\nhttps://a.example/,2026-11-26T09:30:00\n", "line 2"),
            (b"url,received\nhttps://a.example/,0001-01-01T00:00:00+23:59\n", "line 2"),
            (b"url,sha256\nhttps://a.example/,abcd\n", "line 2"),
            (b"path\nvar/www\n", "line 2"),
            (b"url,reference\nhttps://a.example/\n", "line 2"),
            (b'url,reference\n"https://a.example/,x\n', "line 2"),
            ("url\nhttps://a.example/\n".encode("utf-16"), "line 1"),
        ],
    ),
    "xarf": Examples(
        good=[
            (text(V4), [V4_NOTICE]),
            (text(V4, V3), [V4_NOTICE, V3_NOTICE]),
            (json.dumps([V3, SPAM, V4], indent=1).encode(), [V3_NOTICE, V4_NOTICE]),
            (b"\xef\xbb\xbf\n" + json.dumps(V4, indent=2).encode(), [V4_NOTICE]),
            (text(SPAM), []),
        ],
        bad=[
            (b"", "empty"),
            (b"{", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (text(V4) + b"{\n", "report 1"),
            (text([1]), "no JSON object"),
            (text({"type": "scan", "schema": 1}), "no XARF"),
            (text({**V4, "xarf_version": "5.0.0"}), "5.0.0"),
            (text({**V4, "url": 7}), "url"),
            (text({**V4, "url": ""}), "not a URL"),
            (text({**V4, "classification": "worst"}), "worst"),
            (text({**V4, "hash_values": ["x"]}), "hash_values"),
            (text({**V4, "hash_values": {"md5": "x"}}), "md5"),
            (text({**V4, "timestamp": "yesterday"}), "yesterday"),
            (text({**V3, "Report": {**V3["Report"], "SourceUrl": None}}), "not a URL"),
        ],
    ),
    "mail": Examples(
        good=[
            (mail(("Content-Type: application/json", text(V4))), [V4_NOTICE]),
            # Python knows it, and would take hours over a long one.
            (mail(("Content-Type: application/json; charset=punycode", text(V4))), [V4_NOTICE]),
            (
                mail(
                    ("Content-Type: text/plain", b"See {attached}."),
                    ('Content-Type: application/octet-stream; name="x.JSON"', text(SPAM)),
                    ("Content-Type: text/plain; charset=utf-8", b"\n" + text(V3)),
                ),
                [Notice("<1@hotline.example>", SENDER, URL, b"", CAME)],
            ),
            (
                mail(
                    (
                        "Content-Type: application/xarf+json; charset=utf-16\n"
                        "Content-Transfer-Encoding: base64",
                        base64.encodebytes(json.dumps(V4).encode("utf-16")),
                    ),
                    ("Content-Type: application/json", b'{"other": 1}'),
                ),
                [V4_NOTICE],
            ),
            (
                mail(
                    (
                        "Content-Type: message/rfc822",
                        mail(
                            ("Content-Type: application/json", text(V4)),
                            date="Wed, 25 Nov 2026 09:30:00 +0000",
                            cut="inner",
                        ),
                    )
                ),
                [
                    Notice(
                        V4["report_id"],
                        SENDER,
                        URL,
                        received=CAME.replace(day=25),
                        category="A1",
                        digests=(("sha256", SHA256),),
                    )
                ],
            ),
            (
                b"Received: by mx; Thu, 26 Nov 2026 09:30:00 +0000\nDate: Fri, 1 Jan 2100 00:00:00 +0000\n"
                b"Content-Type: application/json\n\n" + text(V4),
                [V4_NOTICE],
            ),
            (b"Date: not a date\nContent-Type: application/json\n\n" + text(V4), [V4_NOTICE]),
            (
                f"From: A hotline <{SENDER}>\nMessage-ID: <2@hotline.example>\n"
                "Authentication-Results: mx; spf=fail\n\nPlease remove hxxps://customer[.]example/u/a%20b.jpg?x=1\n"
                "and https://customer.example/2.\n".encode(),
                [
                    Notice("<2@hotline.example>", SENDER, url, authentication="mx; spf=fail")
                    for url in (URL, "https://customer.example/2")
                ],
            ),
            (
                mail(
                    ("Content-Type: text/plain; name=list.txt", b"https://no.example/attached"),
                    ("Content-Type: text/html; charset=x-none", f'<a href="{URL}">it</a>'.encode()),
                ),
                [Notice("<1@hotline.example>", SENDER, URL, b"", CAME)],
            ),
            (arf("abuse", URL), [Notice("<3@hotline.example>", SENDER, URL)]),
            (
                mail(
                    ("Content-Type: text/plain", b"See https://police.example/ and the order."),
                    ("Content-Type: text/plain; name=order.txt", FORM.replace("\n", "\n> ").encode()),
                ),
                [replace(FORM_NOTICE, received=CAME)],
            ),
        ],
        bad=[
            (mail(("Content-Type: text/plain", FORM.replace("hxxps", "").encode())), "no web address"),
            (b"Subject: nothing\n\nsee www.a.example\n", "no web address"),
            (mail(("Content-Type: application/json", b'{"other": 1}')), "no web address"),
            (arf("abuse"), "no web address"),
            (b"Subject: many\n\n" + b"".join(b"http://a/%d " % n for n in range(20_001)), "more than 20000"),
            (mail(("Content-Type: text/html", b"<p>" * (1 << 20))), "page of more than"),
            (mail(("Content-Type: application/json", b"{")), "no JSON"),
            (mail(("Content-Type: application/json", text({**V4, "url": "x"}))), "not a URL"),
            (b"From a\nX: y\n\n\nFrom b\nX: y\n\n", "mailbox"),
            (b"X: y\n" + b"\n--" * 5_001, "too many parts"),
            # What takes apart their parameters would take hours.
            (b"Content-Type: application/json; " + b"a=b; " * 500_000 + b"\n\n{}", "too much said"),
            (b"X: y\rContent-Type: a/b;\r " + b"a=b;\r " * 500_000 + b"\r\r{}", "too much said"),
            (mail(("Content-Disposition: attachment;" + '"' * 500_000, b"{}")), "too much said"),
            (b"a: b\n" * 1_500_001, "too much said"),
            (b"Content-Type: a/b; boundary=x\n" * 300 + b"\n" * 200_000, "too much said"),
            (b"".join(b"Content-Type: message/rfc822\n\n" for _ in range(2_000)), "a mail"),
        ],
    ),
    "removal-order": Examples(
        good=[
            (FORM.encode(), [FORM_NOTICE]),
            (
                ("\f\n" + FORM + FORM.replace("17", "18")).encode(),
                [
                    FORM_NOTICE,
                    replace(FORM_NOTICE, reference="DE/2026-18"),
                ],
            ),
        ],
        bad=[
            (b"", "not the form"),
            (FORM.replace("2021/784", "2022/2065").encode(), "not the form"),
            (FORM.replace("hxxps", "").encode(), "no web address"),
            (FORM.encode() + b"\nSECTION A\nSECTION B" * 1000, "removal orders"),
            (FORM.encode() + b" " * (2 << 20), "more than"),
            (
                FORM.replace("URL and", "")
                .replace("hxxps", "http://a.example/%d " * 20_002 % (*range(20_002),))
                .encode(),
                "more than 20000",
            ),
        ],
    ),
}
