"""Warnings about quarantine items whose list entries were withdrawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import printable, say

if TYPE_CHECKING:
    from hashscan.quarantine.store import Quarantine


def say_withdrawn(state: Path, quarantine: Quarantine | None = None) -> None:
    """Compare the quarantine with the lists if either has changed, and print items without an entry.

    Args:
        state: state folder.
        quarantine: its quarantine, if this process has it open.
    """
    from hashscan.quarantine.withdrawn_items import alarm

    for words in alarm(state, quarantine).words:
        say(f"hashscan: {printable(words)}")
