"""Says which items in quarantine nothing accuses any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import printable, say

if TYPE_CHECKING:
    from hashscan.quarantine.store import Quarantine


def say_withdrawn(state: Path, quarantine: Quarantine | None = None) -> None:
    """Compare the quarantine of a state folder with its lists, where either has changed, and say what stands.

    Args:
        state: the state folder.
        quarantine: its quarantine, where this process holds it.
    """
    from hashscan.quarantine.withdrawn_items import alarm

    for words in alarm(state, quarantine).words:
        say(f"hashscan: {printable(words)}")
