"""Zygote and decoders when the worker, or its environment, is unusual or gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from tests.sandbox.program import REPLY
from tests.sandbox.runner import command, drive, processes
from tests.waiting import until

PROGRAM = DecoderProgram("tests.sandbox.program:load", (), REPLY.size)
BARE = ("find a descriptor", "read the environment")
"""Attempts that the environment could allow to a decoder."""


@contextmanager
def busy_worker(user: str, **more: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A worker whose decoder never answers; and the marker that its processes bear."""
    marker = f"marker-{os.urandom(8).hex()}"
    order = {"mode": "auto", "names": ["pid"], "linger": True, "arguments": [marker], **more}
    line, options = command(order, user)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd="/", **options) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline().startswith("busy")
            yield worker, marker
        finally:
            for pid in processes(marker):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("user", ["self", "nobody"])
def test_worker_s_death_ends_all(user: str) -> None:
    with busy_worker(user) as (worker, marker):
        assert len(processes(marker)) == 3
        worker.kill()
        worker.wait()
        until(lambda: not processes(marker))


def test_worker_s_death_ends_all_though_a_child_holds_its_sockets() -> None:
    with busy_worker("self", fork=True) as (worker, marker):
        before = processes(marker)
        assert len(before) == 4
        worker.kill()
        worker.wait()
        until(lambda: len(processes(marker)) <= 1)
        # The child alone, which has nothing to do with the sandbox.
        (left,) = processes(marker)
        assert before[left] == worker.pid


@pytest.mark.parametrize("user", ["self", "nobody"])
def test_zygote_s_death_ends_the_decoder(user: str) -> None:
    with busy_worker(user) as (worker, marker):
        found = processes(marker)
        (zygote,) = (pid for pid, parent in found.items() if parent == worker.pid)
        (decoder,) = (pid for pid, parent in found.items() if parent == zygote)
        os.kill(zygote, signal.SIGKILL)
        until(lambda: decoder not in processes(marker))


def test_signals_to_the_whole_group_are_the_worker_s(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"123")
    marker = f"marker-{os.urandom(8).hex()}"
    program = DecoderProgram(PROGRAM.target, ("", marker), REPLY.size)
    with Sandbox(program, SandboxOptions("auto")) as sandbox, path.open("rb") as file:
        begun = sandbox.begin(file.fileno(), b"pid", 0)
        decoder = REPLY.unpack(sandbox.finish(begun))[2]
        for pid in processes(marker):
            assert os.getsid(pid) != os.getsid(0)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        begun = sandbox.begin(file.fileno(), b"pid", 0)
        assert REPLY.unpack(sandbox.finish(begun))[2] == decoder
    until(lambda: not processes(marker))


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_stdio(closed: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    line, _ = command({"mode": "auto", "names": ["size", *BARE], "output": str(output)}, "self")
    subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *line], check=True, cwd="/", timeout=60)
    answer = json.loads(output.read_text())
    # What some library prints must not go into a socket of ours.
    assert [link for link in answer["stdio"] if link.startswith(("socket:", "/memfd:"))] == []
    outcomes = answer["outcomes"]
    assert outcomes["size"][:2] == ["replied", 1]
    for name in BARE:
        assert outcomes[name][:2] == ["replied", 0], name


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_interrupted_worker_is_never_given_another_file_s_answer(mode: str) -> None:
    answer = drive({"mode": mode, "names": [], "interrupt": 25})
    assert answer["wrong"] == []


def test_outlives_the_thread_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    made: list[Sandbox] = []
    pids: list[int] = []

    def ask() -> None:
        begun = made[0].begin(descriptor, b"pid", 0)
        pids.append(REPLY.unpack(made[0].finish(begun))[2])

    def make() -> None:
        made.append(Sandbox(PROGRAM, SandboxOptions("auto")))
        ask()

    with path.open("rb") as file:
        descriptor = file.fileno()
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        with made[0]:
            ask()
    assert pids[0] == pids[1]


def test_ignored_sigchld_of_the_worker(tmp_path: Path) -> None:
    line, _ = command({"mode": "auto", "names": ["fault", "size"]}, "self")
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    script = f"import os, signal, sys; {ignore}; os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [line[0], "-c", script, *line], check=True, capture_output=True, text=True, cwd="/", timeout=60
    )
    outcomes = json.loads(done.stdout)["outcomes"]
    assert outcomes["fault"] == ["lost", "decoder died", "signal SIGSEGV"]
    assert outcomes["size"][:2] == ["replied", 1]


def _in_daemonic_process(path: str, answers: Any) -> None:
    with Sandbox(PROGRAM, SandboxOptions("auto")) as sandbox, open(path, "rb") as file:
        begun = sandbox.begin(file.fileno(), b"size", 0)
        answers.put(REPLY.unpack(sandbox.finish(begun))[2])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_a_daemonic_process(method: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    context = multiprocessing.get_context(method)
    answers: Any = context.Queue()
    process: Any = context.Process(target=_in_daemonic_process, args=(str(path), answers), daemon=True)  # type: ignore[attr-defined]
    process.start()
    assert answers.get(timeout=120) == 5
    process.join()
    answers.close()


def test_folder_of_the_process_doesn_t_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12")
    (tmp_path / "hashscan").mkdir()
    (tmp_path / "hashscan" / "__init__.py").write_text("raise ImportError('of the wrong folder')")
    monkeypatch.chdir(tmp_path)
    with Sandbox(PROGRAM, SandboxOptions("auto")) as sandbox, path.open("rb") as file:
        begun = sandbox.begin(file.fileno(), b"size", 0)
        assert REPLY.unpack(sandbox.finish(begun))[2] == 2
