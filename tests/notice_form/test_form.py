"""The form takes what article 16(2) of the DSA asks for, and nothing else, within its limits."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.cases.actions import prune_cases, record_action
from hashscan.cases.form_spool import EXPLANATION_MAX, URLS_MAX, follow_form, last_refused
from hashscan.cases.ledger import Ledger
from hashscan.errors import OutputError
from hashscan.model import CustomerRule, SiteRule
from hashscan.state_dir import StateDir
from tests.notice_form.serving import Form, serving

PERSON = {"name": "Ada", "email": "ada@example.org"}


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.fixture
def form(state: StateDir) -> Iterator[Form]:
    with serving(state) as served:
        yield served


def test_receipt_and_case(form: Form) -> None:
    answer = form.send(
        urls=["https://a.example/x.jpg", "hxxps://b[.]example/y"], explanation="one\r\ntwo", **PERSON
    )
    assert answer.status == 201
    assert answer.document["urls"] == 2
    assert form.waiting == [f"{answer.document['reference']}.json"]
    first, second = form.taken()
    assert first == second
    (notice,) = first
    assert (notice.reference, notice.sender) == (answer.document["reference"], "ada@example.org")
    assert (notice.name, notice.subject, notice.explanation) == ("Ada", "child_sexual_abuse", "one\ntwo")
    assert (notice.kind, notice.role) == ("notice", "user")
    assert form.waiting == []


@pytest.mark.parametrize("changed", [
    {"urls": []}, {"urls": None}, {"urls": ["a.example"]}, {"urls": ["file:///etc/passwd"]},
    {"urls": ["javascript://a/%0aalert(1)"]}, {"urls": ["https://"]}, {"urls": ["https://[/"]},
    {"urls": ["https://a.example/\nX: y"]}, {"urls": ["https://a.example/\u202egpj.exe"]},
    {"urls": ["https://a.example/x"] * (URLS_MAX + 1)}, {"urls": ["https://a.example/" + "x" * 8000]},
    {"subject": "spam"}, {"subject": None}, {"explanation": " \n"}, {"explanation": None},
    {"explanation": "x" * (EXPLANATION_MAX + 1)}, {"good_faith": False}, {"good_faith": None},
    {"good_faith": "yes"}, {"subject": "other"}, {"subject": "other", "name": "Ada"},
    {"subject": "other", "email": "ada@example.org"}, {"name": "a\nb"}, {"name": "\u202eada"},
    {"email": "ada"}, {"email": "a@b.example\nBcc: c@d.example"}, {"picture": "aGk="},
    {"name": "\ud800"},
])  # fmt: skip
def test_fields_that_are_not_valid(form: Form, changed: dict[str, Any]) -> None:
    answer = form.send(**changed)
    assert (answer.status, answer.code) == (422, "invalid_document")
    assert form.waiting == []


def test_person_is_needed_but_for_child_sexual_abuse(form: Form) -> None:
    assert form.send(subject="other", **PERSON).status == 201
    assert form.send().status == 201


def test_page(form: Form) -> None:
    assert form.submit().status == 201
    refused = form.submit(
        name="<script>alert(1)</script>", explanation="\0 </textarea><img src=x>", urls="none"
    )
    assert refused.status == 422
    assert b"<script>" not in refused.body
    assert b"<img" not in refused.body
    assert b"&lt;/textarea&gt;" in refused.body
    assert b"script-src" not in refused.headers["content-security-policy"].encode()
    assert refused.headers["content-security-policy"].startswith("default-src 'none'")
    assert form.submit(upload="x").status == 422


@pytest.mark.parametrize("origin", ["", "null", "https://evil.example", "http://127.0.0.1"])
def test_pages_of_other_sites_send_nothing(form: Form, origin: str) -> None:
    assert form.submit(origin=origin).status == 403
    assert form.send({"Origin": origin}).code == "forbidden"
    assert form.waiting == []


def test_other_names_of_the_server(form: Form) -> None:
    assert form.send({"Host": "evil.example"}).code == "misdirected"


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", "image/jpeg", "text/plain", "", "application/octet-stream"]
)
def test_no_files(form: Form, kind: str) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n\xff\xd8\r\n--x--\r\n'
    assert (answer := form.post(part, kind)).status == 415
    assert answer.code == "unsupported"
    assert form.post(b"\x1f\x8b", "application/json", Content_Encoding="gzip").code == "encoded"
    assert form.post(b" " * (1 << 20), "application/json").code == "too_large"
    assert form.waiting == []


def test_the_same_notice_twice(form: Form) -> None:
    first, again = form.send(submission="a"), form.send(submission="a")
    assert first.body == again.body
    assert [len(notices) for notices in form.taken()] == [1]
    # After the ledger has taken it, too.
    assert form.send(submission="a").document["reference"] == first.document["reference"]
    assert [len(notices) for notices in form.taken()] == [1]
    assert form.send(submission="b").document["reference"] != first.document["reference"]
    assert [len(notices) for notices in form.taken()] == [2]


def test_personal_data_goes_with_the_last_case(form: Form) -> None:
    form.send(urls=["https://a.example/x", "https://a.example/y"], **PERSON)
    form.taken()
    with Ledger(form.state) as ledger:
        for case, left in ((1, 1), (2, 0)):
            record_action(ledger, [case], "closed", "no", "me", 1)
            ledger.one("UPDATE cases SET seen=1, closed=1 WHERE id=?", case)
            prune_cases(ledger, 2, 3)
            assert ledger.one("SELECT count(*) FROM notice_texts") == (left,)


def test_rates(state: StateDir) -> None:
    proxies = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}
    with serving(state, {"per_client": 2, "per_hour": 5}, **proxies) as form:

        def code(address: str) -> int:
            return form.send({"X-Forwarded-For": address}).status

        # What is not valid counts for its client alone.
        wrong = [form.send({"X-Forwarded-For": f"192.0.2.{n}"}, urls=[]).status for n in range(10, 16)]
        assert wrong == [422] * 6
        assert [code("192.0.2.1") for _ in range(3)] == [201, 201, 429]
        # A network of 64 bits is one client; a header's earlier parts are the client's own words.
        assert [code(f"203.0.113.{n}, 2001:db8::{n}") for n in range(3)] == [201, 201, 429]
        assert [code(f"198.51.100.{n}") for n in range(2)] == [201, 429]
        assert int(form.send().headers["retry-after"]) > 0


def test_headers_of_clients_are_not_believed(state: StateDir) -> None:
    with serving(state, {"per_client": 1}) as form:
        assert [form.send({"X-Forwarded-For": f"192.0.2.{n}"}).status for n in range(2)] == [201, 429]


@pytest.mark.parametrize("limits", [{"waiting": 2}, {"waiting_bytes": 600}])
def test_full_spool(state: StateDir, limits: dict[str, int]) -> None:
    with serving(state, limits) as form:
        answers = [form.send(submission=str(number)) for number in range(4)]
        assert [answer.status for answer in answers] == [201, 201, 503, 503]
        assert answers[2].code == "spool_full"
        assert int(answers[2].headers["retry-after"]) > 0
        assert form.submit(submission="9").status == 503
        assert last_refused(state) is not None
        # One that is stored has its receipt all the same.
        assert form.send(submission="0").body == answers[0].body
        form.taken()
        assert form.send(submission="2").status == 201


def test_full_disk(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hashscan.cases.form_spool.replace_file", full)
    assert form.send().code == "spool_full"


def test_places_by_the_rules(state: StateDir, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "x.jpg").write_bytes(b"x")
    rules = {
        "sites": (SiteRule("one", "https://a.example/", str(tmp_path / "srv")),),
        "customers": (CustomerRule("one", "alice", (f"{tmp_path}/srv/",)),),
    }
    with serving(state, **rules) as form:
        # What is before an @ is no host; letters of other scripts are others.
        urls = [
            "https://a.example/x.jpg",
            "https://a.example@evil.example/x.jpg",
            "https://\u0430.example/x.jpg",
        ]
        assert form.send(urls=urls).status == 201
        form.taken()
    with Ledger(state) as ledger:
        rows = list(ledger.rows("SELECT path, customer, url FROM cases ORDER BY id"))
    assert rows == [
        (os.fsencode(tmp_path / "srv" / "x.jpg"), "alice", urls[0]), (None, "", urls[1]), (None, "", urls[2])
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "text", "other", "late"])
def test_spool_of_an_attacker(form: Form, tmp_path: Path, kind: str) -> None:
    """A process of the form that was taken over has no other files read, and holds up no notice."""
    form.send()
    (name,) = form.waiting
    path = form.state.form / "N-AAAA-AAAA-AAAA-AAAA.json"
    if kind == "link":
        (tmp_path / "x").write_bytes((form.state.form / name).read_bytes())
        path.symlink_to(tmp_path / "x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "late":
        spooled = json.loads((form.state.form / name).read_bytes())
        path.write_text(json.dumps({**spooled, "reference": path.stem, "received": 1 << 40}))
    else:
        path.write_bytes(b"{" if kind == "text" else (form.state.form / name).read_bytes())
    with Ledger(form.state) as ledger, pytest.raises(OutputError):
        follow_form(ledger, form.state)
    assert form.waiting == [path.name]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(
        st.sampled_from(["urls", "subject", "explanation", "name", "email", "submission"]),
        st.one_of(
            st.text(max_size=60),
            st.sampled_from(
                ["other", "hxxp://a[.]b/\u0085", "http://\uff0e\uff0e/", "https://a@b:c/", "a@b"]
            ),
        ),
    ),
    raw=st.one_of(st.none(), st.binary(max_size=200)),
)
def test_any_body(form: Form, fields: dict[str, str], raw: bytes | None) -> None:
    """Each answer is a receipt or says what is wrong, and the ledger can take whatever has a receipt."""
    as_list = {**fields, **({"urls": [fields["urls"]]} if "urls" in fields else {})}
    answers = [form.submit(**fields), form.send(**as_list)]
    if raw is not None:
        answers += [
            form.post(raw, "application/json"),
            form.post(raw, "application/x-www-form-urlencoded", Origin=form.origin),
        ]
    assert {answer.status for answer in answers} <= {201, 400, 422}
    receipts = {
        answer.document["reference"] for answer in answers if answer.status == 201 and answer.body[:1] == b"{"
    }
    found = {notice.reference for notices in form.taken() for notice in notices}
    assert receipts <= found
    assert form.waiting == []
