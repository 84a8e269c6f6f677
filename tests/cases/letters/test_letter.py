"""Letters to customers, from our templates and from an operator's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.letter import LANGUAGES, Letter, cases_of_letter, write_letter
from hashscan.cases.queries import Queries
from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DAY, DEADLINES, add_case

NOW = 1_800_000_000
US = Reporter("Example Hosting", "abuse@example.org", phone="+31 20 1234567")
HOSTILE = "\r\nBcc: all@example.com\u202e\x1b[31m{{ 7 * 7 }}{% for x in y %}"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def letter(
    ledger: Ledger, *numbers: int, customer: str | None = None, language: str = "en", **more: object
) -> Letter:
    cases = cases_of_letter(Queries(ledger, DEADLINES), numbers, customer)
    return write_letter(cases, US, NOW, language=language, **more)  # type: ignore[arg-type]


def own(folder: Path, text: str) -> Path:
    (folder / "letter.en.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_cases_deadlines_and_sender(ledger: Ledger, language: str) -> None:
    late = add_case(ledger, "/srv/alice/1.jpg", NOW - 2 * DAY, customer="alice")
    fresh = add_case(
        ledger, "/srv/alice/2.jpg", NOW - 60, customer="alice", url="https://alice.example/2.jpg"
    )
    add_case(ledger, "/srv/alice/3.jpg", NOW - 60, customer="alice", verdict="review")
    add_case(ledger, "/srv/alice/4.jpg", NOW - 60, customer="alice", removed=NOW)
    add_case(ledger, "/srv/bob/1.jpg", NOW - 60, customer="bob")
    written = letter(ledger, customer="alice", language=language)
    assert written.cases == (late, fresh)
    assert f"({late}, {fresh})" in written.subject
    assert "2027-01-14 08:00 UTC" in written.subject
    lines = written.text.splitlines()
    assert sum(str(late) in line and "2027-01-14 08:00 UTC" in line for line in lines) == 1
    assert sum(str(fresh) in line and "2027-01-16 07:59 UTC" in line for line in lines) == 1
    assert lines[-3:] == ["Example Hosting", "abuse@example.org", "+31 20 1234567"]
    assert "alice" in written.text
    assert ".jpg" not in written.text
    assert max(map(len, lines)) <= 78
    named = letter(ledger, customer="alice", language=language, with_paths=True)
    for line in ("/srv/alice/1.jpg", "/srv/alice/2.jpg", "https://alice.example/2.jpg"):
        assert named.text.count(line) == 1


def test_a_letter_is_about_one_customer_and_confirmed_open_cases_only(ledger: Ledger) -> None:
    alice = add_case(ledger, "/a", NOW, customer="alice")
    bob = add_case(ledger, "/b", NOW, customer="bob")
    review = add_case(ledger, "/r", NOW, customer="alice", verdict="review")
    held = add_case(ledger, "/h", NOW, customer="alice", verdict="held")
    over = add_case(ledger, "/o", NOW, customer="alice", removed=NOW)
    nobody, other = add_case(ledger, "/n", NOW), add_case(ledger, "/m", NOW)
    for numbers in ((alice, bob), (review,), (held,), (over,), (nobody, other), (alice, nobody), (99,)):
        with pytest.raises(UsageError):
            letter(ledger, *numbers)
    with pytest.raises(UsageError):
        letter(ledger, bob, customer="alice")
    assert letter(ledger, nobody).cases == (nobody,)
    assert letter(ledger, alice, alice, customer="alice").cases == (alice,)
    assert cases_of_letter(Queries(ledger, DEADLINES), (), "carol") == []


def test_names_from_strangers_are_neither_lines_nor_templates(ledger: Ledger) -> None:
    number = add_case(ledger, f"/srv/{HOSTILE}", NOW, customer=HOSTILE, url=f"https://x/{HOSTILE}")
    add_case(ledger, "/srv/" + "y" * 4000, NOW, customer=HOSTILE)
    written = letter(ledger, customer=HOSTILE, with_paths=True)
    assert written.subject.isprintable()
    assert all(line.isprintable() for line in written.text.splitlines())
    assert not any(line.startswith("Bcc") for line in written.text.splitlines())
    assert written.text.count("{{ 7 * 7 }}") == 3
    assert "y" * 4000 in written.text
    assert number in written.cases
    with pytest.raises(UsageError):
        letter(ledger, number, language="../../../etc/passwd")


def test_a_customer_with_many_files_gets_a_letter_of_bounded_length(ledger: Ledger) -> None:
    for number in range(150):
        add_case(ledger, f"/srv/{number}", NOW, customer="alice")
    written = letter(ledger, customer="alice")
    assert len(written.cases) == 150
    assert written.text.count("\nCase ") == 100
    assert "and 50 more" in written.text


def test_an_operators_template_comes_before_ours(ledger: Ledger, tmp_path: Path) -> None:
    number = add_case(ledger, "/a", NOW, customer="alice")
    written = letter(
        ledger, number, templates=own(tmp_path, "Subject: {{ number }} for {{ customer }}\n\nü {{ due }}\n")
    )
    assert written.subject == "1 for alice"
    assert written.text == "ü 2027-01-16 08:00 UTC"
    # Another language is still ours.
    assert letter(ledger, number, language="nl", templates=tmp_path).text.startswith("Beste klant alice")
    (tmp_path / "letter.fr.txt").write_text("Subject: x\n\ny\n")
    assert letter(ledger, number, language="fr", templates=tmp_path).text == "y"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no subject\n\ntext\n",
        "Subject: no text\n",
        "Subject: {{ unknown }}\n\ntext\n",
        "Subject: x\n\n{% for %}\n",
        "Subject: x\n\n{{ 1 / 0 }}\n",
        "Subject: x\n\n{{ cases.append(1) }}\n",
        "Subject: x\n\n{{ range(1000000000) | list }}\n",
        "Subject: x\n\n{{ customer.__class__.__mro__[1].__subclasses__() }}\n",
        "Subject: x\n\n{% include '/etc/passwd' %}\n",
    ],
)
def test_a_template_that_cannot_be_used_is_named(ledger: Ledger, tmp_path: Path, text: str) -> None:
    number = add_case(ledger, "/a", NOW, customer="alice")
    with pytest.raises(UsageError, match=r"letter\.en\.txt"):
        letter(ledger, number, templates=own(tmp_path, text))


def test_a_template_that_is_no_text(ledger: Ledger, tmp_path: Path) -> None:
    number = add_case(ledger, "/a", NOW, customer="alice")
    (tmp_path / "letter.en.txt").write_bytes(b"Subject: \xff\n\nx\n")
    with pytest.raises(UsageError, match=r"letter\.en\.txt"):
        letter(ledger, number, templates=tmp_path)
