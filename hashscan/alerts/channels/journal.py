"""The notification channel of the system log: a line for each alert."""

from __future__ import annotations

from hashscan.alerts.channels.channel import Channel, DeliveryError, Document
from hashscan.quarantine.system_log import ADDRESS, Severity, write_system_log


class SyslogChannel(Channel):
    """A channel to syslog or the journal."""

    kind = "syslog"

    def __init__(self, address: str = ADDRESS) -> None:
        super().__init__("syslog", "")
        self._address = address

    def deliver(self, document: Document, seconds: float) -> None:
        """Send a line of `key=value` pairs with the alert's severity."""
        if not write_system_log(
            line_of(document), severity=Severity[document["severity"].upper()], address=self._address
        ):
            raise DeliveryError("no system log takes it")


def line_of(document: Document) -> str:
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
