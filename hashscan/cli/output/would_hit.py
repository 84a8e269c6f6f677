"""Output of `hashscan lists diff --would-hit`: the known files that a staged version would hit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import print_message

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference

_FILES_SHOWN = 1000


def print_hits(name: str, compared: Difference, state: Path) -> None:
    """Look up a staged version's new entries among the known files, and print the files that they hit."""
    from hashscan.state.queries.known_record import hit_record
    from hashscan.state.queries.would_hit import files_hit, hits_of
    from hashscan.state.store.reading import StateReader

    with StateReader(state) as reader, reader.reading():
        hits = hits_of(reader, (change for change in compared.changes() if change.came))
        count = 0
        for file in files_hit(reader, hits):
            count += 1
            if count <= _FILES_SHOWN:
                record = {"list": name, **hit_record(hits.nearest[file.content], file)}
                sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    for algorithm, entries in sorted(hits.left_out.items()):
        print_message(f"hashscan: list {name}: {entries} new entries of {algorithm} were not compared")
    shown = f", the first {_FILES_SHOWN} of them shown" if count > _FILES_SHOWN else ""
    entries_hit = "entry hits" if hits.entries == 1 else "entries hit"
    files = "1 known file" if count == 1 else f"{count} known files"
    print_message(f"hashscan: list {name}: {hits.entries} new {entries_hit} {files}{shown}")
