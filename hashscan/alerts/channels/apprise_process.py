"""Send one message through Apprise, in a process of its own that can be killed when a service hangs.

    python -m hashscan.alerts.channels.apprise_process

reads a JSON document from standard input (`url`, and to send a message also `title`, `body` and `type`;
without them, the URL is only checked) and exits with one of the codes below.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

SENT, NOT_SENT, NO_URL, NO_APPRISE = 0, 1, 2, 3


def main() -> int:
    """Send the message; Apprise's log goes to standard error."""
    task: dict[str, Any] = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        return NO_APPRISE
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    # No picture is fetched from the network when the message is read, and nothing is stored on disk.
    asset = apprise.AppriseAsset(
        app_id="hashscan", app_desc="hashscan", app_url="", image_url_mask="", image_url_logo="",
        async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY,
    )  # fmt: skip
    sender = apprise.Apprise(asset=asset)
    if not sender.add(task["url"]):
        return NO_URL
    if "body" not in task:
        return SENT
    sent = sender.notify(
        body=task["body"],
        title=task["title"],
        notify_type=apprise.NotifyType(task["type"]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    return SENT if sent else NOT_SENT


if __name__ == "__main__":
    sys.exit(main())
