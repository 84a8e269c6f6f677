"""Accept a list, with the number of files that it matches."""

from __future__ import annotations

from hashscan.errors import UsageError
from hashscan.lists.acceptance import OWN_LISTS, accept
from hashscan.lists.store import ListStore
from hashscan.matching.list_limits import GROWTH, MOVED_MAX, Origin, moved_because_of
from hashscan.model import Verdict
from hashscan.quarantine.store import event_operator, quarantined_items
from hashscan.quarantine.trust_weakness import justifies_action
from hashscan.state.findings.coverage import FORMER, matches_of
from hashscan.state.findings.history import History
from hashscan.state_dir import StateDir


def accept_list(state: StateDir, name: str) -> tuple[int, int]:
    """Accept a list as it is now.

    An earlier acceptance ends, and all entries that came since count as accepted.

    Returns:
        The files that it matches, and how many more entries that come later may match in 30 days.

    Raises:
        UsageError: there is no such list, it has no entries, or it needs no acceptance.
        LockedError: another process is writing this list.
        OutputError: the list can't be written, or the state or a quarantine's log can't be read.
    """
    if name in OWN_LISTS:
        raise UsageError(f"the list {name} needs no acceptance", advice="It may move files as it is.")
    store = ListStore(state.lists)
    store.require(name)
    with store.writing(name) as folder:
        if folder.active() is None and not folder.service.exists():
            raise UsageError(
                f"the list {name} has no entries yet", advice=f"Run `hashscan lists pull {name}` first."
            )
        moved = moved_because_of(quarantined_items(state), Origin(name, store.source(name)))
        files = len(moved | files_accused_by(state, name))
        accept(folder, event_operator(), files)
    return files, max(MOVED_MAX, GROWTH * files)


def files_accused_by(state: StateDir, name: str) -> set[bytes]:
    with History(state) as history:
        return {
            found.path
            for found in history.findings(0)
            if found.gone is None
            and found.verdict != Verdict.REVIEW
            and any(
                match["list"] == name and FORMER not in match and justifies_action(match)
                for match in matches_of(found.matches)
            )
        }
