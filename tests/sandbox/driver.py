"""A worker in a process of its own: runs what a JSON argument names, and writes the outcomes as JSON.

Started as a script, with the checkout's folder as first argument, by whatever user and interpreter.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
import time
from typing import Any

sys.path.insert(0, sys.argv[1])

from hashscan.errors import HashscanError
from hashscan.sandbox.client import DecoderLost, Plugin, Sandbox, SandboxOptions
from tests.sandbox.attempts import MARKER
from tests.sandbox.plugin import REPLY


def without_landlock() -> None:
    """Have the kernel say that it knows no Landlock, for this process and all it starts."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(0x7FFF0000)))
    for number in (444, 445, 446):
        assert seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(0x00050026), number, 0, None) == 0
    assert seccomp.seccomp_load(context) == 0


def outcome(sandbox: Sandbox, descriptor: int, name: str) -> list[Any]:
    try:
        sandbox.begin(descriptor, name.encode(), owner=0)
        return ["replied", *REPLY.unpack(sandbox.finish())]
    except DecoderLost as lost:
        return ["lost", lost.reason.value, lost.detail]


def work(order: dict[str, Any]) -> dict[str, Any]:
    options = SandboxOptions(order["mode"], seconds=order.get("seconds", 20.0))
    name = f"hashscan-attempt-{os.getpid()}"
    plugin = Plugin("tests.sandbox.plugin:load", (name, *order.get("arguments", ())), REPLY.size)
    descriptor = os.open(__file__, os.O_RDONLY)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    try:
        with Sandbox(plugin, options) as sandbox:
            level = sandbox.start()
            outcomes = {name: outcome(sandbox, descriptor, name) for name in order["names"]}
            pid = outcome(sandbox, descriptor, "pid")[3]
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
            if order.get("linger"):
                if order.get("fork") and os.fork() == 0:
                    # A child that keeps every descriptor of the worker open.
                    time.sleep(30)
                    os._exit(0)
                sandbox.begin(descriptor, b"spin", owner=0)
                sys.stdout.write("busy\n")
                sys.stdout.flush()
                time.sleep(60)
    except HashscanError as error:
        return {"error": type(error).__name__, "message": str(error)}
    finally:
        os.close(descriptor)
        listener.close()
    return {
        "outcomes": outcomes,
        "word": level.word,
        "landlock": level.landlock,
        "seccomp": level.seccomp,
        "uid_dropped": level.uid_dropped,
        "capabilities_dropped": level.capabilities_dropped,
        "limits": level.limits,
        "status": fields,
    }


def main() -> None:
    order = json.loads(sys.argv[2])
    os.environ[MARKER] = "a secret of the worker"
    if order.get("without_landlock"):
        without_landlock()
    Sandbox.seccomp_library = order.get("library", Sandbox.seccomp_library)
    answers: list[dict[str, Any]] = []
    if order.get("in_thread"):
        thread = threading.Thread(target=lambda: answers.append(work(order)))
        thread.start()
        thread.join()
    else:
        answers.append(work(order))
    text = json.dumps(answers[0])
    if "output" in order:
        with open(order["output"], "w", encoding="ascii") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
