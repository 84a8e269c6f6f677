"""Removal orders, as authorities and mail programs write them."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.notices.mail import MailNotices
from hashscan.cases.notices.notice import Notice, NoticeKind
from hashscan.cases.notices.reader import SkipReason
from hashscan.cases.notices.removal_order import RemovalOrders, forms_of, is_form
from tests.cases.notices.examples import CAME, FORM, FORM_NOTICE, SENDER, URL, mail
from tests.examples import examples

SIX_WEEKS = timedelta(weeks=6)
EMPTY = "[ ] for reasons"


def only(form: str) -> Notice:
    ((notice,),) = forms_of(form, "file")
    return notice


@pytest.mark.parametrize(
    ("box", "undisclosed"),
    [
        ("[ ] for reasons", None),
        ("\u2610 for reasons", None),
        ("[__] for reasons", None),
        ("\uf0a8 for reasons", None),
        ("[x] for reasons", SIX_WEEKS),
        ("( X ) for reasons", SIX_WEEKS),
        ("\u2612 for reasons", SIX_WEEKS),
        ("\uf0fe\tfor reasons", SIX_WEEKS),
        # Nobody can say whether it is ticked.
        ("for reasons", SIX_WEEKS),
        ("x for reasons", SIX_WEEKS),
        ("[x] (until 2027-01-15) for reasons", datetime(2027, 1, 16, tzinfo=UTC)),
        ("[x] (from 1.12.2026 to 15/01/2027) for reasons", datetime(2027, 1, 16, tzinfo=UTC)),
        ("[x] (until 2027-02-30, 99.99.9999 or 31.12.9999) for reasons", SIX_WEEKS),
    ],
)
def test_what_the_customer_may_not_be_told(box: str, undisclosed: datetime | timedelta | None) -> None:
    assert only(FORM.replace(EMPTY, box)).undisclosed == undisclosed


def test_no_sentence_forbids_nothing() -> None:
    assert only(FORM.replace("refrain", "think")).undisclosed is None


def test_a_box_after_its_sentence() -> None:
    form = FORM.replace(EMPTY, "for reasons")
    for box, undisclosed in (("[ ]", None), ("[x]", SIX_WEEKS)):
        after = form.replace("access to the terrorist content\n\nSECTION D", f"it {box}\n\nSECTION D")
        assert only(after).undisclosed == undisclosed


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("Germany", "DE"), ("DE", "DE"), ("the Netherlands (NL)", "NL"), ("EL", "GR"), ("Hellas", ""),
        ("FRANCE\n", "FR"), ("Germany or France", ""), ("", ""), ("....", ""),
    ],
)  # fmt: skip
def test_the_member_state(state: str, code: str) -> None:
    assert only(FORM.replace("Germany", state)).member_state == code


def test_wrapped_and_quoted_lines_say_the_same() -> None:
    words = FORM.replace("Reference number of the removal order", "Reference number of\n  the removal\torder")
    assert only(words) == FORM_NOTICE
    assert only("".join(f"> > {line}\n" for line in FORM.splitlines())) == FORM_NOTICE
    assert only(FORM.replace("\n", "\r\n")) == FORM_NOTICE
    long = "https://customer.example/" + "a" * 50
    wrapped = FORM.replace("hxxps://customer[.]example/u/a%20b.jpg?x=1", f"{long}\n/b.jpg")
    assert only(wrapped).url == f"{long}/b.jpg"


def test_only_the_addresses_of_the_content_are_items() -> None:
    form = FORM.replace("\nReasons", "\nhttp://b.example/1 http://b.example/1\nReasons")
    (items,) = forms_of(form, "file")
    assert [one.url for one in items] == [URL, "http://b.example/1"]
    assert len({one.notice_key for one in items}) == 1


def test_what_is_missing_is_taken_from_elsewhere() -> None:
    assert only(FORM.replace("DE/2026-17", "")).reference == "4711/26"
    bare = FORM.replace("DE/2026-17", "").replace("4711/26", "")
    assert only(bare).reference == only(bare).reference != ""
    assert only(FORM.replace(SENDER, "")).sender == "Federal police"
    assert only(FORM[: FORM.index("SECTION C")]).sender == ""


def test_a_form_without_an_address_is_counted_beside_others() -> None:
    found = RemovalOrders()
    data = (FORM + FORM.replace("hxxps", "")).encode()
    assert list(found.notices(io.BytesIO(data), "file")) == [FORM_NOTICE]
    assert [one.reason for one in found.passed_over.elements()] == [SkipReason.NO_ADDRESS]


def test_a_mail_with_the_form_as_text_and_as_a_page_is_one_notice() -> None:
    page = "<pre>" + FORM + "</pre>"
    data = mail(("Content-Type: text/plain", FORM.encode()), ("Content-Type: text/html", page.encode()))
    (notice,) = MailNotices().notices(io.BytesIO(data), "file")
    assert (notice.kind, notice.received, notice.sender) == (NoticeKind.TERRORIST, CAME, SENDER)


def test_a_mail_that_only_writes_of_orders_is_a_notice_of_its_addresses() -> None:
    text = b"By Regulation (EU) 2021/784 you may get a removal order: see section A. https://x.example/1"
    (notice,) = MailNotices().notices(io.BytesIO(mail(("Content-Type: text/plain", text))), "file")
    assert (notice.kind, notice.url) == (None, "https://x.example/1")


PIECES = st.sampled_from(
    [*FORM.splitlines(keepends=True), *FORM.split(), "SECTION A\n", "\n", " " * 50, "\0"]
)


@given(st.lists(PIECES | st.text(max_size=20), max_size=60).map("".join))
@settings(deadline=None, max_examples=examples(200))
def test_no_text_is_more_than_notices(text: str) -> None:
    text = f"2021/784\nSECTION A {text}\nSECTION B"
    assert is_form(text)
    for items in forms_of(text, "file"):
        for one in items:
            assert (one.kind, one.hours) == (NoticeKind.TERRORIST, 1.0)
            assert f"{one.reference}{one.sender}{one.url}{one.name}".isprintable()
            assert isinstance(one.undisclosed, datetime | timedelta | None)


@pytest.mark.parametrize(
    "filler",
    [
        "\n",
        " ",
        "SECTION A ",
        "\nSECTION A",
        "Name of ",
        "Name     ",
        "[",
        "> ",
        "refrain ",
        "1.1.1111 ",
        "h",
    ],
)
def test_a_long_text_takes_time_in_proportion(filler: str) -> None:
    """Square time would take hours, not the seconds of the test's limit."""
    text = FORM + filler * ((2 << 20) // len(filler) - len(FORM))
    assert forms_of(text[: 2 << 20], "file")
