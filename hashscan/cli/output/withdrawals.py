"""Warnings about quarantine items whose list entries were withdrawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import escape_control, print_message

if TYPE_CHECKING:
    from hashscan.quarantine.store import Quarantine


def print_withdrawn_items(state: Path, quarantine: Quarantine | None = None) -> None:
    """Compare the quarantine with the lists if either has changed, and print items without an entry.

    Args:
        state: state folder.
        quarantine: its quarantine, if this process has it open.
    """
    from hashscan.quarantine.withdrawn_items import withdrawn_items

    for words in withdrawn_items(state, quarantine).words:
        print_message(f"hashscan: {escape_control(words)}")
