"""Files of entries as they come to the real command: pipes, devices, closed descriptors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run, environment

HEADER = "id,algorithm,value,category\n"
LINE = f"a,md5,{'0' * 32},A1\n"


def test_a_named_pipe_is_read_to_its_end(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(HEADER + LINE))
    writer.start()
    ran = run("lists", "import", pipe, "--name", "piped")
    writer.join()
    assert ran.code == 0, ran.err
    assert "1 entry" in ran.err


@pytest.mark.parametrize("form", ["csv", "vics", "ncmec", "pdq"])
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_list(run: Run, form: str, device: str) -> None:
    category = ("--category", "A1") if form == "pdq" else ()
    ran = run("lists", "import", device, "--name", "x", "--format", form, *category)
    assert ran.code == 2
    assert f"hashscan: {device}" in ran.err
    assert "nothing was imported" in ran.err
    assert run("lists", "status").code == 10


def test_what_can_not_be_read_is_reported_and_is_no_trouble_of_our_folder(run: Run, tmp_path: Path) -> None:
    # This process's memory has nothing at its beginning.
    ran = run("lists", "import", "/proc/self/mem", "--name", "x")
    assert ran.code == 2
    assert "/proc/self/mem can't be read: Input/output error" in ran.err
    assert run("lists", "import", tmp_path, "--name", "x").code == 2


def test_standard_input_that_is_closed(state: Path) -> None:
    command = " ".join(COMMAND)
    ran = subprocess.run(
        ["sh", "-c", f"exec {command} lists import - --name x <&-"],
        env=environment(state),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "standard input" in ran.stderr


def test_standard_input_that_ends_early(run: Run) -> None:
    head = '{"@odata.context":"x#Media","value":[{"MediaID":1,"Category":1,"MD5":"' + "0" * 32 + '"},'
    ran = run("lists", "import", "-", "--name", "x", "--format", "vics", input=head)
    assert ran.code == 2
    assert "standard input, record 2: not JSON from here on, cut short" in ran.err
    assert run("lists", "status").code == 10


def test_one_digest_in_two_categories_is_two_entries_and_the_graver_acts(
    run: Run, uploads: Path, tmp_path: Path
) -> None:
    content = (uploads / "listed.jpg").read_bytes()
    file = tmp_path / "x.csv"
    md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    file.write_text(f"{HEADER}a,md5,{md5},other\nb,md5,{md5},B2\nc,md5,{md5},known-good\n")
    ran = run("lists", "import", file, "--name", "x")
    assert "3 entries" in ran.err
    assert run("check", "--format", "json", uploads / "listed.jpg").lines[0]["verdict"] == "match"
    # Only the digest that identifies content clears it, and then what accuses it is held.
    file.write_text(f"{HEADER}a,md5,{md5},A1\nb,sha256,{sha256},A1\nc,sha256,{sha256},known-good\n")
    assert run("lists", "import", file, "--name", "x").code == 0
    assert run("check", "--format", "json", uploads / "listed.jpg").lines[0]["verdict"] == "held"


def test_help_tells_what_each_format_is(run: Run) -> None:
    ran = run("lists", "import", "--help")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    for message in (
        "Formats",
        "Project VIC's and CAID's JSON",
        "1 is baseline",
        "`other` is for review only",
    ):
        assert message in text
