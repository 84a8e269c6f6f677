"""`hashscan cases draft`: answers are sent once, where that is switched on, also over kills."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.alerts.mailbox import mailbox
from tests.cli.conftest import COMMAND, Ran, Run, environment

SENDER = "orders@authority.example"


def test_an_answer_is_sent_once_for_all_items_and_after_a_kill_as_the_same_mail(
    run: Run, state: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "hashscan.toml"
    reporter = '[reporter]\norganisation = "Example Hosting"\nemail = "abuse@example.org"\n'
    settings.write_text(reporter)
    urls = [f"https://x.example/{number}" for number in range(20)]
    sent = ("--kind", "order", "--sender", SENDER, "--reference", "R-1")
    assert run("cases", "add", *urls, *sent).code == 3
    with mailbox() as box:
        words = (
            "--config", settings, "cases", "draft", "1", "--kind", "acknowledgement", "--to", SENDER,
            "--notify", box.url,
        )  # fmt: skip

        def send(case: str = "1") -> Ran:
            return run(*words[:4], case, *words[5:])

        assert send().code == 2
        settings.write_text(f'{reporter}[cases]\nanswers = "send"\n')
        began: list[subprocess.Popen[bytes]] = []
        box.accepted = lambda: began[0].kill()
        with subprocess.Popen([*COMMAND, *map(str, words)], env=environment(state)) as process:
            began.append(process)
            assert process.wait(60) == -signal.SIGKILL
        box.accepted = lambda: None
        for case in ("1", "20", "1"):
            assert send(case).code == 0
        assert (len(box.raw), len(set(box.raw))) == (2, 1)
        assert box.recipients == [[SENDER]] * 2
        assert box.mails[0].get_content().count("https://x.example/") == 20
    (case,) = run("cases", "show", 20, "--format", "json").lines
    assert [event["kind"] for event in case["events"]].count("acknowledged") == 1
    assert "acknowledged" in case["notices"][0]
    assert "told" not in case
