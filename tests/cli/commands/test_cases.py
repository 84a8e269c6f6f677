"""Cases, as an operator meets them: real scans, real files, real commands."""

from __future__ import annotations

import base64
import csv
import io
import json
import signal
import subprocess
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.lists.exceptions import read_contents
from hashscan.state_dir import StateDir
from tests.cases.world import World, result
from tests.cli.conftest import COMMAND, Run, environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK

HOSTILE = b"/www/<script>=1+1[bold]\x1b[31m\n\xff\xe2\x80\xae" + b"x" * 200 + b".jpg"


@pytest.fixture
def world(state: Path) -> World:
    """A state in which one scan has found two files."""
    with World(state) as world:
        world.now = int(time.time()) - 3600
        world.scan({b"/www/a.jpg": result(b"1"), HOSTILE: result(b"2", category="B1")})
        return world


def test_a_finding_is_followed_until_its_file_is_gone(
    run: Run, local_list: str, uploads: Path, tmp_path: Path
) -> None:
    """From a real scan to a real removal."""
    found = run("scan", uploads, "--list", local_list, "--report", tmp_path / "r.jsonl")
    assert found.code == 1, found.err
    listed = run("cases", "list", "--format", "json")
    paths = {Path(case["path"]) for case in listed.lines}
    assert paths
    for path in paths:
        path.unlink()
    checked = run("cases", "check")
    assert checked.code == 0, checked.err
    assert f"{len(paths)} gone" in checked.err
    assert run("cases", "list", "--format", "json").lines == []
    removed = run("cases", "list", "--status", "removed", "--format", "json").lines
    assert {case["how"] for case in removed} == {"gone"}
    (month,) = run("cases", "times", "--format", "json").lines
    assert (month["removed"], month["in_time"], month["late"]) == (len(paths), len(paths), 0)


def test_what_is_due_is_said_by_the_exit_code(call: Run, world: World) -> None:
    assert call("cases", "due").code == 0
    assert call("cases", "due", "--within", "24h").code == 1
    one = call("cases", "due", "--category-deadline", "B1=30m", "--format", "json")
    assert one.code == 1
    assert [(case["case"], case["overdue"]) for case in one.lines] == [(2, True)]
    assert "1 overdue" in one.err


def test_cases_of_a_customer_are_chosen_on_the_command_line_only(
    call: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HASHSCAN_CUSTOMER names a file of customers for scans; it must not hide cases here."""
    assert call("cases", "list", "--customer", "nobody", "--format", "json").lines == []
    monkeypatch.setenv("HASHSCAN_CUSTOMER", "/etc/customers.toml")
    assert len(call("cases", "list", "--format", "json").lines) == 2


def test_deadlines_come_from_the_settings_file(call: Run, world: World, tmp_path: Path) -> None:
    config = tmp_path / "hashscan.toml"
    config.write_text('[cases]\ndeadline = "10m"\ncategory_deadline = ["B1=5h"]\n')
    due = call("--config", config, "cases", "due", "--format", "json")
    assert [case["case"] for case in due.lines] == [1]


def test_names_of_strangers_do_nothing_on_a_terminal_and_come_back_whole(call: Run, world: World) -> None:
    for arguments in (("list",), ("due", "--within", "24h"), ("show", "2"), ("list", "--format", "csv")):
        shown = call("cases", *arguments)
        assert "\x1b" not in shown.out
        assert "\u202e" not in shown.out
        assert "[bold]" in shown.out
    listed = call("cases", "list", "--format", "json").lines
    assert base64.b64decode(listed[1]["path_b64"]) == HOSTILE
    rows = list(csv.DictReader(io.StringIO(call("cases", "list", "--format", "csv").out)))
    assert [row["case"] for row in rows] == ["1", "2"]
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_what_people_do_is_put_down_with_who_and_why(call: Run, world: World) -> None:
    assert call("cases", "tell", 1, 2, "--recipient", "ticket 4711").code == 0
    assert call("cases", "dispute", 2, "--reason", "a drawing").code == 0
    assert call("cases", "close", 1, "--reason", "=so").code == 0
    assert "no change" in call("cases", "close", 1, "--reason", "again").err
    shown = call("cases", "show", "--format", "json", 1).lines[0]
    assert shown["why"] == "=so"
    assert [event["kind"] for event in shown["events"]] == ["found", "told", "closed"]
    assert shown["events"][1]["words"] == "ticket 4711"
    assert shown["events"][1]["who"]
    assert [case["state"] for case in call("cases", "list", "--format", "json").lines] == ["disputed"]
    assert call("cases", "reopen", 1, 2, "--reason", "no").code == 0
    states = [case["state"] for case in call("cases", "list", "--format", "json").lines]
    assert states == ["told", "told"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", 9), "there is no case 9"),
        (("tell", 1, 9), "there is no case 9"),
        (("check", 9), "there is no case 9"),
        (("due", "--category-deadline", "Z=1h"), "no deadline of a category"),
        (("import", "nowhere.csv"), "can't open"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    call: Run, world: World, arguments: tuple[object, ...], message: str
) -> None:
    refused = call("cases", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert [c["state"] for c in call("cases", "list", "--format", "json").lines] == ["found", "found"]


def test_notices_become_cases_once(call: Run, world: World, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[[site]]\nurl = "https://shop.example/"\npath = "{tmp_path}/shop"\n')
    notices = tmp_path / "notices.csv"
    notices.write_text(
        "url,path,reference,received,deadline,category\n"
        "https://shop.example/a.jpg,,r1,2026-01-01T00:00:00Z,,A1\n"
        "https://nobody.example/a.jpg,,r2,2026-01-01T00:00:00Z,,\n"
        ",/www/a.jpg,r3,2026-01-01T00:00:00Z,2026-01-01T02:00:00Z,B2\n"
        "https://shop.example/b.jpg,,r4,2999-01-01T00:00:00Z,,\n"
    )
    first = call("cases", "import", notices, "--site", site)
    assert first.code == 3
    assert "4 notices: 3 new cases, 1 of known cases, 0 known already, 1 without a path" in first.err
    again = call("cases", "import", notices, "--site", site)
    assert "0 new cases, 0 of known cases, 4 known already" in again.err
    by_id = {case["case"]: case for case in call("cases", "list", "--format", "json").lines}
    assert sorted(by_id) == [1, 2, 3, 4, 5]
    assert by_id[1]["verdict"] == "match"
    assert by_id[1]["categories"] == ["A1", "B2"]
    assert by_id[1]["due"] == "2026-01-01T02:00:00+00:00"
    assert by_id[3]["path"] == f"{tmp_path}/shop/a.jpg"
    assert "path" not in by_id[4]
    assert by_id[5]["found"] < "2998", "no deadline counts from the future"


def test_an_address_gets_its_path_once_a_table_knows_it(call: Run, world: World, tmp_path: Path) -> None:
    notices = tmp_path / "notices.csv"
    notices.write_text("url,reference\nhttps://shop.example/a.jpg,r1\nhttps://shop.example/b.jpg,r2\n")
    assert call("cases", "import", notices).code == 3
    site = tmp_path / "site.toml"
    site.write_text('[[site]]\nurl = "https://shop.example/"\npath = "/www"\n')
    assert call("cases", "import", notices, "--site", site).code == 0
    paths = {c["case"]: c.get("path") for c in call("cases", "list", "--format", "json").lines[:3]}
    first = paths.pop(1)
    assert (first, paths) == ("/www/a.jpg", {2: paths[2], 4: "/www/b.jpg"})
    merged = call("cases", "show", "--format", "json", 3).lines[0]
    assert (merged["state"], merged["why"]) == ("closed", "continued as case 1")
    assert "2 known already" in call("cases", "import", notices, "--site", site).err
    assert json.loads(call("stats", "--format", "json").out)["totals"]["notices"] == 2


def test_a_notice_about_what_is_closed_is_another_case(call: Run, world: World, tmp_path: Path) -> None:
    call("cases", "close", 1, "--reason", "so")
    (tmp_path / "n.csv").write_text("path,reference\n/www/a.jpg,r1\n")
    time.sleep(1.1)
    assert "1 new case" in call("cases", "import", tmp_path / "n.csv").err
    third = call("cases", "show", "--format", "json", 3).lines[0]
    assert (third["verdict"], third["previous"]) == ("notice", 1)


def test_a_damaged_file_of_notices_is_taken_in_up_to_there(call: Run, world: World, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("url,reference\nhttps://a.example/,r1\nno url,r2\n")
    done = call("cases", "import", tmp_path / "n.csv")
    assert done.code == 2
    assert "1 new case" in done.err
    assert len(call("cases", "list", "--format", "json").lines) == 3


def test_old_cases_are_pruned_and_still_counted(call: Run, world: World, state: Path) -> None:
    world.wait(60)
    world.scan({HOSTILE: result(b"2", category="B1")}, [b"/www/a.jpg"])
    before = call("cases", "times", "--format", "json").out
    assert "1 case pruned" in call("cases", "prune", "--older-than", "1m").err
    pruned = call("cases", "show", "--format", "json", 1).lines[0]
    assert pruned["state"] == "removed"
    assert "path" not in pruned
    assert [match["entry"] for match in pruned["matches"]] == ["n-31"]
    assert call("cases", "times", "--format", "json").out == before
    assert call("cases", "list", "--status", "all", "--format", "json").lines[1]["case"] == 2
    call("cases", "list")
    assert b"/www/a.jpg" not in (state / "ledger.sqlite").read_bytes()


def test_a_ledger_that_is_damaged_is_left_as_it_is_and_scans_go_on(
    run: Run, local_list: str, uploads: Path, state: Path, tmp_path: Path
) -> None:
    state.mkdir(exist_ok=True)
    (state / "ledger.sqlite").write_bytes(b"no database at all" * 999)
    listed = run("cases", "list")
    assert listed.code == 12
    assert "backup" in listed.err
    found = run("scan", uploads, "--list", local_list, "--report", tmp_path / "r.jsonl")
    assert found.code == 4
    assert "ledger" in found.err
    assert (tmp_path / "r.jsonl").exists()
    assert (state / "ledger.sqlite").read_bytes().startswith(b"no database at all")


def test_a_ledger_is_nobody_elses(call: Run, world: World, state: Path) -> None:
    call("cases", "list")
    assert (state / "ledger.sqlite").stat().st_mode & 0o777 == 0o600


def test_many_commands_at_once_make_no_case_twice(world: World, state: Path) -> None:
    notices = "url,reference\n" + "".join(f"https://a.example/{n},r{n}\n" for n in range(200))
    commands = [
        PREFORK.popen(
            [*COMMAND, "cases", "import", "-"],
            env=environment(state, {}),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(3)
    ]
    for command in commands:
        assert command.stdin is not None
        command.stdin.write(notices)
        command.stdin.close()
    assert {command.wait(100) for command in commands} == {3}
    listed = subprocess.run(
        [*COMMAND, "cases", "list", "--format", "json"],
        env=environment(state, {}), capture_output=True, check=True,
    )  # fmt: skip
    assert len(listed.stdout.splitlines()) == 202


def test_an_import_that_is_killed_goes_on_where_it_was(call: Run, world: World, state: Path) -> None:
    """Twice, at whatever point it was, then to its end."""
    lines = ["url,reference\n", *(f"https://a.example/{n},r{n}\n" for n in range(12_000))]
    for _ in range(2):
        command = PREFORK.popen(
            [*COMMAND, "cases", "import", "-"], env=environment(state, {}), stdin=subprocess.PIPE
        )
        assert command.stdin is not None
        command.stdin.write("".join(lines[:6000]).encode())
        command.stdin.flush()
        command.send_signal(signal.SIGKILL)
        command.stdin.close()
        command.wait(60)
    notices = state.parent / "notices.csv"
    notices.write_text("".join(lines))
    assert call("cases", "import", notices).code == 3
    assert "12000 known already" in call("cases", "import", notices).err
    assert len(call("cases", "list", "--format", "json").lines) == 12_002


def test_cases_outlive_scans_by_other_lists_and_damaged_ones(
    run: Run, local_list: str, uploads: Path, tmp_path: Path, state: Path
) -> None:
    (tmp_path / "other.csv").write_text(f"id,algorithm,value,category\nx,md5,{'0' * 32},A1\n")
    assert run("lists", "import", tmp_path / "other.csv", "--name", "other").code == 0
    assert run("scan", uploads).code == 1
    open_cases = run("cases", "list", "--format", "json").lines
    assert len(open_cases) == 2

    def remaining() -> list[int]:
        return [case["case"] for case in run("cases", "list", "--format", "json").lines]

    report = tmp_path / "r.jsonl"
    other = run("scan", uploads, "--list", "other", "--report", report)
    assert other.code == 3, other.err
    standing = [r for r in map(json.loads, report.read_text().splitlines()) if r["type"] == "standing"]
    assert {match["list"] for record in standing for match in record["matches"]} == {local_list}
    assert len(standing) == 2
    assert remaining() == [case["case"] for case in open_cases]
    assert run("scan", "--known", uploads, "--list", "other").code == 3
    assert run("scan", uploads, "--list", "other", "--exclude", "*.jpg").code == 3
    for column in (state / "lists" / local_list).rglob("*.value*"):
        column.write_bytes(b"")
    damaged = run("scan", uploads)
    assert damaged.code == 3, damaged.err
    assert remaining() == [case["case"] for case in open_cases]
    assert run("lists", "remove", local_list).code == 0
    assert run("scan", uploads).code == 3
    assert remaining() == [case["case"] for case in open_cases]
    assert run("scan", uploads, "--accept-cleared").code == 0
    assert remaining() == []


def test_a_file_that_was_made_unreadable_to_decoders_keeps_its_case(
    run: Run, local_list: str, uploads: Path
) -> None:
    """A likeness whose picture is broken says nothing any more, and is not clean."""
    assert run("scan", uploads, "--list", local_list).code == 1
    for path in uploads.iterdir():
        content = bytearray(path.read_bytes())
        content[20:60] = bytes(40)
        path.write_bytes(content)
    assert run("scan", uploads, "--list", local_list).code == 3
    assert len(run("cases", "list", "--format", "json").lines) == 2


def test_a_wrong_match_is_excepted_until_somebody_says_otherwise(
    run: Run, call: Run, local_list: str, uploads: Path, state: Path
) -> None:
    assert run("scan", uploads, "--list", local_list).code == 1
    queue = call("cases", "queue", "--format", "json").lines
    numbers = [str(case["case"]) for case in queue]
    assert numbers
    given = ("--reason", "an advertisement", "--review-by", "2")
    for who, left in (("ada", len(numbers)), ("Bob", 0)):
        assert call("cases", "review", *numbers, "--decision", "wrong", *given, "--who", who).code == 0
        waiting = call("cases", "queue", "--review-by", "2", "--who", "eve", "--format", "json").lines
        assert len(waiting) == left
        assert call("cases", "queue", "--review-by", "2", "--who", who, "--format", "json").lines == []
    scanned = run("scan", uploads, "--list", local_list)
    assert scanned.code == 0, scanned.out
    assert {c["state"] for c in call("cases", "list", "--status", "all", "--format", "json").lines} == {
        "closed"
    }
    assert call("cases", "review", *numbers, "--decision", "confirmed", "--reason", "it is not").code == 0
    assert run("scan", uploads, "--list", local_list).code == 1
    excepted = StateDir(state)
    for ended in (("reopen",), ("review", "--decision", "unclear")):
        assert call("cases", "review", *numbers, "--decision", "wrong", "--reason", "again").code == 0
        assert {content.case for content in read_contents(excepted)} <= set(numbers)
        assert call("cases", ended[0], *numbers, *ended[1:], "--reason", "look again").code == 0
        assert read_contents(excepted) == ()


def test_a_case_is_handed_over_with_a_note(call: Run, world: World) -> None:
    assert call("cases", "assign", "1", "2", "--to", "ada", "--note", "call them").code == 0
    assert call("cases", "assign", "1", "--note", "called").code == 0
    assert call("cases", "assign", "1").code == 2
    (shown,) = call("cases", "show", "1", "--format", "json").lines
    assert shown["assignee"] == "ada"
    assert [event["kind"] for event in shown["events"]][-2:] == ["assigned", "noted"]


def test_pictures_of_a_mail_are_digested_and_dropped(run: Run, state: Path, tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "a@hotline.example", "<1@hotline.example>"
    message.set_content("https://site.example/a.jpg")
    message.add_attachment(encoded(scene(1)), "image", "jpeg", filename="a.jpg")
    (tmp_path / "mail.eml").write_bytes(bytes(message))
    assert run("cases", "import", tmp_path / "mail.eml").code == 3
    (case,) = run("cases", "show", "1", "--format", "json").lines
    (notice,) = case["notices"]
    assert [set(one) for one in notice["pictures"]] == [{"md5", "sha1", "sha256", "pdq"}]
    assert not any(encoded(scene(1))[:64] in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_mails_for_a_person_are_listed_until_they_are_read(call: Run, state: Path) -> None:
    with Ledger(StateDir(state)) as ledger, ledger.transaction() as database:
        database.execute(
            "INSERT INTO mails VALUES (7, 'box', 1, 1, x'', 'a@b.ex', '<1@b>', 1, 'no_address', '', 1, 0)"
        )
    (mail,) = call("cases", "mails", "--format", "json").lines
    assert (mail["number"], mail["reason"], mail["fetched"]) == (7, "no_address", "1970-01-01T00:00:01+00:00")
    assert call("cases", "mails", "7").code == call("cases", "mails", "--done").code == 2
    assert call("cases", "mails", "7", "8", "--done").code == 0
    assert call("cases", "mails", "--format", "json").lines == []
    assert call("cases", "fetch").code == 2
