"""The alert channels of this machine: the operator's own programs (hooks), and the system log."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence

from hashscan.alerts.channels.base import Channel, DeliveryError, Document, one_line, run_bounded
from hashscan.errors import UsageError
from hashscan.system_log import ADDRESS, Severity, write_system_log

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STDERR_SHOWN = 300


class HookChannel(Channel):
    """A channel with one program and its arguments."""

    kind = "exec"

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(os.path.basename(command[0]), "\0".join(command))
        self._command = tuple(command)

    def check(self) -> None:
        program = self._command[0]
        if shutil.which(program, path=PATH) is None or ("/" in program and not os.path.isabs(program)):
            if os.path.isabs(program) and os.path.exists(program):
                raise UsageError(
                    f"--exec: {one_line(program)} is no program that this user may run",
                    advice=f"Make it executable: chmod a+x {one_line(program)}",
                )
            raise UsageError(
                f"--exec: there is no program {one_line(program)}",
                advice=f"Give its whole path, such as /usr/local/bin/{one_line(os.path.basename(program))}, "
                "or the name of one in the system's own folders.",
            )

    def deliver(self, document: Document, seconds: float) -> None:
        given = (json.dumps(document, ensure_ascii=True) + "\n").encode()
        program = shutil.which(self._command[0], path=PATH)
        if program is None:
            raise DeliveryError("there is no such program")
        # It gets neither our secrets nor the rest of the environment.
        environment = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": os.environ.get("HOME", "/"),
        }
        try:
            ended = run_bounded((program, *self._command[1:]), given, seconds, environment)
        except OSError as error:
            raise DeliveryError(f"it can't be started: {error.strerror}") from error
        if ended.code == 0:
            return
        output = f": {one_line(' '.join(ended.stderr[-_STDERR_SHOWN:].split()))}" if ended.stderr else ""
        if ended.code is None:
            raise DeliveryError(f"killed after {seconds:.0f} s{output}")
        how = f"exit {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
        raise DeliveryError(how + output)


class SyslogChannel(Channel):
    """A channel to syslog or the journal."""

    kind = "syslog"

    def __init__(self, address: str = ADDRESS) -> None:
        super().__init__("syslog", "")
        self._address = address

    def deliver(self, document: Document, seconds: float) -> None:
        """Send a line of `key=value` pairs with the alert's severity."""
        if not write_system_log(
            syslog_line(document), severity=Severity[document["severity"].upper()], address=self._address
        ):
            raise DeliveryError("no system log takes it")


def syslog_line(document: Document) -> str:
    """Return an alert as one line: first kind, id, cases and counts for filters, then the subject."""
    cases = ",".join(map(str, document["cases"][:20]))
    fields = {
        "alert": document["kind"],
        "id": str(document.get("id", "-")),
        "cases": cases or "-",
        **{name: str(number) for name, number in document["counts"].items()},
    }
    pairs = " ".join(f"{name}={value}" for name, value in fields.items())
    subject = document["subject"].replace("\\", "\\\\").replace('"', '\\"')
    return f'{pairs} msg="{subject}"'
