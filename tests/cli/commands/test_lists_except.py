"""`lists except` by the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.later import days_later

UNTIL = "2999-01-31"


def excepted(run: Run, entry: str, *options: object) -> Ran:
    return run("lists", "except", entry, "--reason", "a harmless lake", "--until", UNTIL, *options)


def test_a_match_becomes_held_in_the_next_check_and_scan(run: Run, uploads: Path, local_list: str) -> None:
    alike = uploads / "alike.jpg"
    assert run("check", "--format", "json", alike).lines[0]["verdict"] == "match"
    ran = excepted(run, "e-pdq")
    assert ran.code == 0, ran.err
    assert "entry e-pdq (pdq, A1) of list ours is excepted until 2999-02-01T00:00:00Z" in ran.err

    ran = run("check", "--format", "json", alike)
    (line,) = ran.lines
    assert (ran.code, line["verdict"]) == (0, "held")
    assert line["because"].endswith(
        "but the entry is excepted here until 2999-02-01T00:00:00Z: a harmless lake"
    )
    assert line["matches"][0]["excepted"] == {"reason": "a harmless lake", "until": "2999-02-01T00:00:00Z"}
    assert "1 entry is excepted here" in ran.err

    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 1
    header, *findings, summary = ran.lines
    (in_force,) = header["excepted"]
    assert in_force["since"] <= in_force["until"] == "2999-02-01T00:00:00Z"
    assert in_force["by"]
    assert {key: in_force[key] for key in ("list", "entry", "algorithm", "category", "reason")} == {
        "list": "ours",
        "entry": "e-pdq",
        "algorithm": "pdq",
        "category": "A1",
        "reason": "a harmless lake",
    }
    # The other file is on the list by its bytes too, and that entry stands.
    assert {Path(f["path"]).name: f["verdict"] for f in findings} == {
        "listed.jpg": "match",
        "alike.jpg": "held",
    }
    assert summary["verdicts"]["held"] == 1

    assert excepted(run, "e-sha256").code == 0
    ran = run("scan", uploads, "--report", "-")
    # Cron would mail the same false accusation every night.
    assert (ran.code, ran.lines[-1]["verdicts"]["held"]) == (0, 2)
    assert run("scan", uploads, "--report", "-", "--no-state", "--list", "demo").lines[0]["excepted"] == []

    ran = run("lists", "except", "--remove", "e-pdq")
    assert ran.code == 0, ran.err
    assert run("check", "--format", "json", alike).lines[0]["verdict"] == "match"


def test_a_digest_is_held_too(run: Run, uploads: Path, local_list: str) -> None:
    (hashed,) = run("hash", uploads / "listed.jpg").lines
    assert excepted(run, "e-sha256").code == 0
    ran = run("check", "--format", "json", f"sha256:{hashed['digests']['sha256']}")
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "held")


def test_shown_with_all_that_was_said(run: Run, local_list: str) -> None:
    assert "no entry is excepted" in run("lists", "except").err
    excepted(run, "e-pdq")
    ran = run("lists", "except")
    assert ran.code == 0
    for said in ("e-pdq", "ours", "A1", "2999-02-01T00:00:00Z", "in force", "a harmless lake"):
        assert said in ran.out
    assert "no entry is excepted" in run("lists", "except", "--list", "theirs").err


def test_several_at_once_or_none(run: Run, local_list: str) -> None:
    ran = excepted(run, "e-pdq", "e-sha265")
    assert (ran.code, "'e-sha265'" in ran.err) == (2, True)
    assert "no entry is excepted" in run("lists", "except").err
    assert excepted(run, "e-pdq", "e-sha256").code == 0
    shown = run("lists", "except").out
    assert "e-pdq" in shown
    assert "e-sha256" in shown
    assert run("lists", "except", "--remove", "e-pdq", "e-sha256").code == 0
    assert "no entry is excepted" in run("lists", "except").err


def test_neither_import_nor_removal_of_the_list_loses_it(
    run: Run, uploads: Path, entries: Path, local_list: str
) -> None:
    excepted(run, "e-pdq")
    run("lists", "import", entries, "--name", local_list)
    assert run("check", "--format", "json", uploads / "alike.jpg").lines[0]["verdict"] == "held"
    run("lists", "remove", local_list)
    run("lists", "import", entries, "--name", local_list)
    assert run("check", "--format", "json", uploads / "alike.jpg").lines[0]["verdict"] == "held"
    run("lists", "import", entries, "--name", "again")
    assert run("check", "--format", "json", uploads / "alike.jpg").lines[0]["verdict"] == "match", (
        "of another list"
    )


def test_another_value_under_the_id_is_not_excepted(
    run: Run, uploads: Path, entries: Path, local_list: str
) -> None:
    excepted(run, "e-pdq")
    (other,) = run("hash", uploads / "other.jpg").lines
    entries.write_text(f"id,algorithm,value,category\ne-pdq,pdq,{other['digests']['pdq']},A1\n")
    assert run("lists", "import", entries, "--name", local_list).code == 0
    assert run("check", "--format", "json", uploads / "other.jpg").lines[0]["verdict"] == "match"


@pytest.mark.slow
def test_an_exception_ends_and_that_is_said(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    later = days_later(tmp_path / "later", 400_000)
    excepted(run, "e-pdq")
    ran = run("scan", uploads / "alike.jpg", "--report", "-", env=later)
    assert (ran.code, ran.lines[1]["verdict"], ran.lines[0]["excepted"]) == (1, "match", [])
    message = "exception of entry e-pdq of list ours ended 2999-02-01T00:00:00Z, and it matches again"
    assert message in ran.err
    assert message in run("check", "--format", "json", uploads / "alike.jpg", env=later).err
    ran = run("lists", "status", env=later)
    assert (ran.code, message in ran.err) == (0, True)
    assert "ended" in run("lists", "except", env=later).out
    run("lists", "except", "--remove", "e-pdq")
    assert message not in run("lists", "status", env=later).err


def test_the_lists_that_have_the_entry(run: Run, entries: Path, local_list: str, uploads: Path) -> None:
    ran = excepted(run, "e-pqd")
    assert ran.code == 2
    assert "no entry of ours has the id 'e-pqd'" in ran.err
    assert run("lists", "import", entries, "--name", "again").code == 0
    ran = excepted(run, "e-pdq")
    assert ran.code == 2
    assert "again and ours" in ran.err
    assert "--list" in ran.err
    assert excepted(run, "e-pdq", "--list", "again").code == 0
    assert run("check", "--format", "json", uploads / "alike.jpg").lines[0]["verdict"] == "match"
    assert excepted(run, "e-pdq", "--list", "ours").code == 0
    assert run("check", "--format", "json", uploads / "alike.jpg").lines[0]["verdict"] == "held"
    assert run("lists", "except", "--remove", "e-pdq").code == 2
    assert run("lists", "except", "--remove", "e-pdq", "--list", "ours").code == 0
    assert run("lists", "except", "--remove", "e-pdq", "--list", "ours").code == 2
    assert excepted(run, "e-pdq", "--list", "gone").code == 10


def test_what_can_not_be_meant(run: Run, local_list: str) -> None:
    for arguments, said in (
        (("e-pdq",), "--reason"),
        (("e-pdq", "--reason", "x"), "--until"),
        (("e-pdq", "--until", UNTIL), "--reason"),
        (("e-pdq", "--reason", " ", "--until", UNTIL), "reason"),
        (("e-pdq", "--reason", "x", "--until", "soon"), "no day and no time"),
        (("e-pdq", "--reason", "x", "--until", "2020-01-01"), "in the past"),
        (("--reason", "x", "--until", UNTIL), "no entry is named"),
        (("--remove",), "no entry is named"),
        (("--remove", "e-pdq", "--reason", "x"), "no --reason"),
        (("--remove", "e-pdq"), "not excepted"),
    ):
        ran = run("lists", "except", *arguments)
        assert (ran.code, said in ran.err) == (2, True), (arguments, ran.err)
    assert "no entry is excepted" in run("lists", "except").err


def test_without_a_list(run: Run) -> None:
    assert excepted(run, "e-pdq").code == 10


def test_what_is_known_to_be_good_has_nothing_to_withhold(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "good.csv"
    file.write_text(f"id,algorithm,value,category\ng,sha256,{'0' * 64},known-good\n")
    assert run("lists", "import", file, "--name", "good").code == 0
    ran = excepted(run, "g")
    assert ran.code == 2
    assert "known-good" in ran.err


def test_a_damaged_file_stops_every_command_that_needs_it(
    run: Run, state: Path, uploads: Path, local_list: str
) -> None:
    excepted(run, "e-pdq")
    file = state / "exceptions" / "entries.json"
    file.write_bytes(file.read_bytes()[:-20])
    for command in (
        ("scan", uploads, "--report", "-"),
        ("check", uploads / "alike.jpg"),
        ("lists", "status"),
        ("lists", "except"),
        ("lists", "except", "--remove", "e-pdq"),
    ):
        ran = run(*command)
        assert (ran.code, ran.out) == (12, "")
        assert str(file) in ran.err
        assert "backup" in ran.err
    assert excepted(run, "e-sha256").code == 12


def excepted_content(run: Run, *contents: object) -> Ran:
    named = [word for content in contents for word in ("--content", content)]
    return run("lists", "except", *named, "--reason", "a harmless lake", "--until", UNTIL)


def test_all_entries_of_one_content_are_held_and_a_near_copy_is_not(
    run: Run, uploads: Path, local_list: str
) -> None:
    listed = uploads / "listed.jpg"
    same = uploads / "same.jpg"
    same.write_bytes(listed.read_bytes())
    ran = excepted_content(run, listed)
    assert ran.code == 0, ran.err
    (line,) = run("check", "--format", "json", listed).lines
    assert line["verdict"] == "held"
    assert {match["entry"] for match in line["matches"]} == {"e-sha256", "e-pdq"}
    for match in line["matches"]:
        assert match["excepted"] == {"reason": "a harmless lake", "until": "2999-02-01T00:00:00Z"}

    # Before and after the digests come from the state, and without the file.
    for known in ((), (), ("--known",)):
        ran = run("scan", uploads, *known, "--report", "-")
        assert ran.code == 1, ran.err
        header, *findings, _ = ran.lines
        (in_force,) = header["excepted_contents"]
        assert (header["excepted"], in_force["reason"]) == ([], "a harmless lake")
        # The other file is a near copy: only the digest that identifies content counts.
        assert {Path(f["path"]).name: f["verdict"] for f in findings if f["type"] == "finding"} == {
            "listed.jpg": "held",
            "same.jpg": "held",
            "alike.jpg": "match",
        }
        for text in ("sha256", run("hash", listed).lines[0]["digests"]["sha256"]):
            assert text not in str(in_force)


def test_a_content_is_named_by_its_digest_shown_and_removed(run: Run, uploads: Path, local_list: str) -> None:
    listed = uploads / "listed.jpg"
    (hashed,) = run("hash", listed).lines
    name = f"sha256:{hashed['digests']['sha256']}"
    assert excepted_content(run, name).code == 0
    ran = run("check", "--format", "json", name)
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "held")
    assert "excepted" in ran.lines[0]["matches"][0]
    assert "1 content is excepted here" in ran.err
    shown = run("lists", "except").out
    assert "a harmless lake" in shown
    assert run("lists", "except", "--remove", "--content", listed).code == 0
    assert run("check", "--format", "json", listed).lines[0]["verdict"] == "match"
    assert run("lists", "except", "--remove", "--content", name).code == 2


def test_an_exception_of_a_content_ends(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    later = days_later(tmp_path / "later", 400_000)
    assert excepted_content(run, uploads / "listed.jpg").code == 0
    ran = run("check", "--format", "json", uploads / "listed.jpg", env=later)
    assert ran.lines[0]["verdict"] == "match"
    assert "1 exception of a content has ended" in ran.err


def test_contents_that_can_not_be_meant(run: Run, uploads: Path, local_list: str) -> None:
    given = ("--reason", "x", "--until", UNTIL)
    for arguments in (
        ("--content", uploads / "listed.jpg"),
        ("--content", uploads / "absent.jpg", *given),
        ("--content", uploads, *given),
        ("--content", "sha1:" + "0" * 40, *given),
        ("--content", "sha256:00", *given),
        ("e-pdq", "--content", uploads / "listed.jpg", *given),
        ("--list", "ours", "--content", uploads / "listed.jpg", *given),
        ("--content", uploads / "listed.jpg", "--content", uploads / "absent.jpg", *given),
    ):
        assert run("lists", "except", *arguments).code == 2, arguments
    assert "excepted contents" not in run("lists", "except").out
