"""A worker in a process of its own: runs what a JSON argument names, and writes the outcomes as JSON.

Started as a script, with the checkout's folder as first argument, by whatever user and interpreter.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import signal
import socket
import sys
import time
from typing import Any

sys.path.insert(0, sys.argv[1])

from hashscan.errors import HashscanError
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from hashscan.sandbox.decoders import DecoderLost
from tests.sandbox.attempts import MARKER
from tests.sandbox.program import REPLY


def without_landlock() -> None:
    """Have the kernel say that it knows no Landlock, for this process and all it starts."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(0x7FFF0000)))
    for number in (444, 445, 446):
        assert seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(0x00050026), number, 0, None) == 0
    assert seccomp.seccomp_load(context) == 0


def outcome(sandbox: Sandbox, descriptor: int, name: str, *, fresh: bool = False) -> list[Any]:
    try:
        begun = sandbox.begin(descriptor, name.encode(), owner=0, fresh=fresh)
        return ["replied", *REPLY.unpack(sandbox.finish(begun))]
    except DecoderLost as lost:
        return ["lost", lost.reason.value, lost.detail]


class Interruption(BaseException):
    """Ctrl-C, at a moment of our choosing."""


def interrupt(times: int, sandbox: Sandbox, descriptor: int) -> dict[str, Any]:
    """Interrupt a worker wherever it happens to be, and go on with the same sandbox, so many times."""
    armed = False

    def interrupted(number: int, frame: object) -> None:
        if armed:
            raise Interruption

    signal.signal(signal.SIGALRM, interrupted)
    right = {
        "size": ["replied", 1, 0, os.fstat(descriptor).st_size],
        "first byte": ["replied", 1, 0, os.pread(descriptor, 1, 0)[0]],
    }
    interruptions, wrong = 0, []
    choose = random.Random(5)
    while interruptions < times:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, choose.uniform(0.0001, 0.01))
            while True:
                name = choose.choice(list(right))
                found = outcome(sandbox, descriptor, name, fresh=choose.random() < 0.3)
                if found != right[name]:
                    wrong.append(found)
        except Interruption:
            interruptions += 1
        finally:
            armed = False
    return {"wrong": wrong}


def out_of_the_way(descriptor: int) -> int:
    """Leave low numbers to the sandbox, to see whether it keeps off those of stdio."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def stdio() -> list[str]:
    """Return the targets of descriptors 0 to 2, of those that are open."""
    links = (f"/proc/self/fd/{number}" for number in range(3))
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def work(order: dict[str, Any]) -> dict[str, Any]:
    options = SandboxOptions(order["mode"], seconds=order.get("seconds", 20.0))
    name = f"hashscan-attempt-{os.getpid()}"
    target = order.get("program", "tests.sandbox.program:load")
    program = DecoderProgram(target, (name, *order.get("arguments", ())), REPLY.size)
    descriptor = out_of_the_way(os.open(__file__, os.O_RDONLY))
    listener = socket.socket(fileno=out_of_the_way(socket.socket(socket.AF_UNIX).detach()))
    listener.bind(f"\0{name}")
    listener.listen()
    more: dict[str, Any] = {}
    try:
        with Sandbox(program, options) as sandbox:
            level = sandbox.start()
            outcomes = {name: outcome(sandbox, descriptor, name) for name in order["names"]}
            if "interrupt" in order:
                more = interrupt(order["interrupt"], sandbox, descriptor)
            pid = outcome(sandbox, descriptor, "pid")[3]
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                owner = os.fstat(status.fileno()).st_uid
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
            held = stdio()
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
        **more,
        "word": level.summary,
        "landlock": level.landlock,
        "seccomp": level.seccomp,
        "uid_dropped": level.uid_dropped,
        "capabilities_dropped": level.capabilities_dropped,
        "limits": level.limits,
        "stdio": held,
        "status": fields,
        "status_owner": owner,
    }


def main() -> None:
    order = json.loads(sys.argv[2])
    os.environ[MARKER] = "a secret of the worker"
    if order.get("without_landlock"):
        without_landlock()
    Sandbox.seccomp_library = order.get("library", Sandbox.seccomp_library)
    text = json.dumps(work(order))
    if "output" in order:
        with open(order["output"], "w", encoding="ascii") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
