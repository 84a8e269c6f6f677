"""Keep reports in the state folder until a hub has received them.

A report that is to be sent waits there as another name of its file. It gets that name before its final one,
so that a scan that is killed in between leaves it to the next scan, or to `hashscan report push`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from hashscan.atomic_files import output_errors, replacing, sync_folder
from hashscan.errors import UsageError
from hashscan.hub_api import Uuid
from hashscan.reports.records import Record
from hashscan.reports.report import read_report
from hashscan.state_dir import StateDir


def uuid_of(scan: Record, path: Path) -> str:
    """Return the uuid of a report, by which a hub knows it."""
    try:
        return msgspec.convert(scan["uuid"], Uuid)
    except msgspec.ValidationError:
        raise UsageError(
            f"{path}: its scan has no uuid by which a hub could know it", advice="Send the report of a scan."
        ) from None


def keep_to_push(state: StateDir, report: Path) -> None:
    """Keep a report until a hub has received it, even if its own name is removed.

    Raises:
        UsageError, OutputError: it can't be read or kept.
    """
    uuid = uuid_of(next(read_report(report)), report)
    with output_errors(f"can't read the report {report}"), report.open("rb") as stream:
        keep_open_report(state, uuid, report, stream)


def keep_open_report(state: StateDir, uuid: str, report: Path, stream: BinaryIO) -> None:
    """Keep a report that is open, from `stream` if it can't have another name; no descriptor of it is closed,
    which would release its writer's lock."""
    kept = state.to_push / f"{uuid}.jsonl"
    with output_errors(f"can't keep the report for the hub in {state.to_push}"):
        state.to_push.mkdir(mode=0o700, exist_ok=True)
        try:
            os.link(report, kept)
        except FileExistsError:
            return
        except OSError:
            # On another filesystem.
            stream.seek(0)
            with replacing(kept) as copied:
                shutil.copyfileobj(stream, copied)
        else:
            sync_folder(state.to_push)


def reports_to_push(state: StateDir) -> list[Path]:
    """Return the reports that wait for a hub, the oldest first."""
    found: list[tuple[float, Path]] = []
    for path in state.to_push.glob("*.jsonl"):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]
