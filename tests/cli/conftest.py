"""Runs the real command line in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hashscan.cli import main
from tests.cli.later import CLOCK, code_for_seconds, seconds_later
from tests.pictures import encoded, scene
from tests.prefork import HUB_PREFORK, PREFORK

COMMAND = [sys.executable, "-m", "hashscan"]


@dataclass(frozen=True)
class Ran:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


def environment(state: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HASHSCAN_") or key in {"HASHSCAN_BACKGROUND", "HASHSCAN_REREAD"}
    }
    clock = state.parent / CLOCK
    ahead = {"PYTHONPATH": str(clock)} if clock.exists() else {}
    return {**kept, "HASHSCAN_STATE": str(state), **ahead, **(extra or {})}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def age(state: Path) -> Callable[[], None]:
    """Makes what is there old enough for scans to believe it, for all commands of the test that follow."""
    return lambda: seconds_later(state.parent / CLOCK, 3)


FORKED = {"cwd", "input", "stdin", "stdout"}
"""Options of `subprocess.run` with which a command can be forked."""


def runner(state: Path) -> Run:
    """Return a function that runs commands with a state folder; scans have one worker, as each starts a
    decoder."""

    def run(*arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Ran:
        variables = environment(state, {"HASHSCAN_WORKERS": "1", **(env or {})})
        code = code_for_seconds(state.parent / CLOCK)
        forked = {name: value for name, value in variables.items() if name != "PYTHONPATH" or not code}
        prefork = HUB_PREFORK if arguments[:1] == ("hub",) else PREFORK
        if (
            options.keys() <= FORKED
            and subprocess.DEVNULL not in options.values()
            and prefork.can_run(forked)
        ):
            done = prefork.run([*map(str, arguments)], env=variables, code=code, **options)
        else:
            done = subprocess.run(
                [*COMMAND, *map(str, arguments)],
                env=variables,
                text=True,
                timeout=120,
                check=False,
                stderr=subprocess.PIPE,
                **{"stdout": subprocess.PIPE, **options},
            )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout or "", done.stderr)

    return run


@pytest.fixture
def call(state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs commands in this process, which costs much less than one for each."""
    monkeypatch.setenv("HASHSCAN_STATE", str(state))

    def called(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main.run(list(map(str, arguments)))
        return Ran(code, *capfd.readouterr())

    return called


@pytest.fixture
def run(state: Path) -> Run:
    return runner(state)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what tests get a copy of, as commands take half a second: `uploads`, the `entries.csv`
    that lists the first of them, and a `state` with this list imported."""
    made = tmp_path_factory.mktemp("prepared")
    folder = made / "uploads"
    folder.mkdir()
    (folder / "listed.jpg").write_bytes(encoded(scene(5), quality=90))
    (folder / "alike.jpg").write_bytes(encoded(scene(5).resize((240, 180)), quality=40))
    (folder / "other.jpg").write_bytes(encoded(scene(6)))
    run = runner(made / "state")
    (hashed,) = run("hash", folder / "listed.jpg").lines
    assert hashed["digests"]["sha256"] == hashlib.sha256((folder / "listed.jpg").read_bytes()).hexdigest()
    (made / "entries.csv").write_text(
        "id,algorithm,value,category\n"
        f"e-sha256,sha256,{hashed['digests']['sha256']},A1\n"
        f"e-pdq,pdq,{hashed['digests']['pdq']},A1\n"
    )
    assert run("lists", "import", made / "entries.csv", "--name", "ours").code == 0
    return made


@pytest.fixture
def uploads(prepared: Path, tmp_path: Path) -> Path:
    """Three files: a listed one, a picture that is only alike, and one that is on no list."""
    # Written just now, as far as their times tell.
    shutil.copytree(prepared / "uploads", tmp_path / "uploads", copy_function=shutil.copyfile)
    return tmp_path / "uploads"


@pytest.fixture
def entries(prepared: Path, tmp_path: Path, uploads: Path) -> Path:
    """A CSV that lists the first of them."""
    return Path(shutil.copyfile(prepared / "entries.csv", tmp_path / "entries.csv"))


@pytest.fixture
def local_list(prepared: Path, state: Path, run: Run, entries: Path) -> str:
    """The name of this list, imported."""
    if state.exists():
        assert run("lists", "import", entries, "--name", "ours").code == 0
    else:
        shutil.copytree(prepared / "state", state, symlinks=True)
    return "ours"
