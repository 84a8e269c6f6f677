"""Programs of others that ask a door, or stand before or behind it, for the tests of all protocols."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_SECONDS, until

EXAMPLES = Path(__file__).parents[3] / "examples"
RSPAMD, RSPAMC = shutil.which("rspamd"), shutil.which("rspamc")
needs_rspamd = pytest.mark.skipif(
    RSPAMD is None or RSPAMC is None or os.geteuid() != 0, reason="rspamd is not installed, or not root"
)


def free_port() -> int:
    """Return a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Return True if somebody listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str | Path], port: int, log: Path, seconds: float = PATIENCE_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until it listens, and end it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or accepts(port), seconds)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(60)


def mail(content: bytes) -> bytes:
    """Return a mail with a picture."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "picture"
    message["Message-ID"], message["Date"] = "<1@example.org>", "Sat, 28 Nov 2026 08:00:00 +0000"
    message.set_content("text")
    message.add_attachment(content, maintype="image", subtype="jpeg", filename="picture.jpg")
    return bytes(message)


def ask_rspamd(folder: Path, module: str, settings: str, *contents: bytes) -> list[Any]:
    """Return the answers of rspamd about mails with pictures, which has one of its modules ask."""
    port = free_port()
    configuration = folder / "rspamd.conf"
    configuration.write_text(
        f"""
        options {{ pidfile = "{folder}/pid"; filters = ""; tempdir = "{folder}";
                   control_socket = "{folder}/control mode=0600";
                   dns {{ nameserver = ["127.0.0.1:53"]; timeout = 0.1s; }} }}
        logging {{ type = "console"; level = "info"; }}
        worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
        modules {{ path = "/usr/share/rspamd/plugins/{module}.lua"; }}
        metric {{ name = "default"; actions {{ reject = 15; }} }}
        {module} {{ {settings} }}
        """
    )
    answers = []
    command = [str(RSPAMD), "-i", "-f", "-c", configuration]
    # At its start it compiles thousands of expressions.
    with running(command, port, folder / "log", 5 * PATIENCE_SECONDS):
        for content in contents:
            asked = subprocess.run(
                [str(RSPAMC), "-h", f"127.0.0.1:{port}", "--json"],
                input=mail(content), capture_output=True, timeout=60, check=True,
            )  # fmt: skip
            answers.append(json.loads(asked.stdout))
    return answers
