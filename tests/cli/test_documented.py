"""The commands that docs/lists.md, docs/privacy.md and docs/terminal.md show, in their order."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hashscan.model import Entry
from tests.cli.conftest import Ran, Run
from tests.cli.options.test_privileges import readable_to_all
from tests.cli.published import publish
from tests.matching_services import SECRET, Listed, service_running
from tests.sources.children import needs_root
from tests.web import served

DOCS = Path(__file__).parents[2] / "docs"
THEME = b"a theme picture"
SHA256 = hashlib.sha256(THEME)


def commands_of(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        line for block in re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL) for line in block.splitlines()
    ]


def run_shown(run: Run, shown: str, replaced: Mapping[str, object], age: Callable[[], None]) -> Ran:
    """Run a command of a page, with words that are other files and addresses here."""
    age()
    program, *words = shlex.split(shown)
    assert program == "hashscan"
    return run(*(replaced.get(word, word) for word in words))


@pytest.mark.slow
def test_the_commands_about_lists(
    run: Run, tmp_path: Path, age: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    national, work = tmp_path / "national", tmp_path / "national" / "work"
    publish(run, national, [Entry("n-0", "sha256", bytes(32), "A1")])
    row = f"n-1,sha256,{SHA256.hexdigest()},A1\n"
    for name in ("more.csv", "ours.csv"):
        Path(name).write_text(f"id,algorithm,value,category\n{row}")
    Path("theme.jpg").write_bytes(THEME)
    Path("hashes.txt").write_text(f"{SHA256.hexdigest()}\n")
    Path("videos.txt").write_text(f"0,100,{'5a' * 32},0.000\n")
    Path("reporting.toml").write_text('[reporter]\norganisation = "Example"\nemail = "abuse@example.org"\n')
    later = {"2027-01-31": "2099-01-31"}
    with served(national / "published") as url:
        assert run("lists", "add", "national", url, "--root", work / "root.json").code == 0
        assert run("lists", "pull", "national").code == 0
        for command in (("add", "more.csv"), ("release", "--no-passphrase")):
            assert run("publish", *command, "--work", work).code == 0
        ran = {shown: run_shown(run, shown, later, age) for shown in commands_of("lists.md")}
    assert {shown: each.err for shown, each in ran.items() if each.code} == {}
    assert Path("feedback.json").exists()
    assert Path("ours.ndjson").exists()


def test_the_commands_about_privacy(run: Run, tmp_path: Path, age: Callable[[], None]) -> None:
    key, tree = tmp_path / "service.key", tmp_path / "tree"
    key.touch(0o600)
    key.write_text(SECRET)
    tree.mkdir()
    (tree / "theme.jpg").write_bytes(THEME)
    with service_running(entries=[Listed("n-7", "sha256", SHA256.digest())]) as server:
        replaced = {"https://service.example.org/": server.url, "service.key": key, "/var/www": tree}
        ran = [run_shown(run, shown, replaced, age) for shown in commands_of("privacy.md")]
    assert [each.code for each in ran] == [0] * len(ran), [each.err for each in ran]
    assert SHA256.hexdigest() in ran[1].err
    assert SECRET not in ran[1].err


def test_the_commands_about_the_terminal(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replaced = {"/var/www": uploads, "/var/www/listed.jpg": uploads / "listed.jpg"}
    ran = [run_shown(run, shown, replaced, lambda: None) for shown in commands_of("terminal.md")]
    assert {each.code for each in ran} == {1}, [each.err for each in ran]
    assert Path("scan.log").stat().st_size


@needs_root
@pytest.mark.slow
def test_the_commands_about_setup(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an image; lists are added by another user, who must be able to read this program."""
    image = tmp_path / "image"
    for name in ("etc/cron.d", "var/www", "var/lib", "home"):
        (image / name).mkdir(parents=True)
    (image / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (image / "etc/group").write_text("root:x:0:\n")
    monkeypatch.chdir(tmp_path)
    publish(run, tmp_path / "national", [Entry("n-0", "sha256", bytes(32), "A1")])
    shutil.copy("national/work/root.json", "national-root.json")
    Path("addresses.txt").write_text("json://localhost\n")
    for folder in (*image.parents, image):
        if folder.is_relative_to(tmp_path.parent.parent.parent):
            folder.chmod(0o755)
    for shown in commands_of("setup.md"):
        _, *words = shlex.split(shown)
        done = subprocess.run(
            [*readable_to_all(), sys.executable, "-m", "hashscan", *words, "--image", image],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, (shown, done.stderr)
        if "--list" in words:
            assert (image / "var/lib/hashscan/lists/national").is_dir()
    assert not (image / "etc/cron.d/hashscan").exists()
    assert (image / "var/lib/hashscan/lists/national").is_dir()
