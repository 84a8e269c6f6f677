"""Publishes the demonstration list: the sample uploads' entries and the test picture's.

    python examples/publish_demo.py

It replaces `hashlists/demo`, which is shipped with the program. The keys are thrown away afterwards, so the
list can never be released again; to change it, run this once more, which makes new keys and a new root.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hashscan.lists.formats.csv_and_ndjson import CsvFormat
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.publishing.publisher_state import Expiry

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "hashlists" / "demo"
ENTRIES = HERE / "demo-entries.csv"
A_CENTURY = Expiry(root=36_500, targets=36_500, snapshot=36_500, timestamp=36_500)


def main() -> None:
    """Publish."""
    with tempfile.TemporaryDirectory() as scratch:
        work, repository = Path(scratch) / "work", Path(scratch) / "repository"
        publisher = Publisher.init(work, repository, work / "keys", "demonstration", expiry=A_CENTURY)
        with ENTRIES.open("rb") as stream:
            publisher.add(CsvFormat().blocks(stream, ENTRIES.name), ENTRIES.name)
        info = publisher.release()
        shutil.rmtree(DEMO, ignore_errors=True)
        shutil.copytree(repository, DEMO)
        shutil.copy(work / "root.json", DEMO / "root.json")
        (DEMO / "root.json").chmod(0o644)
    print(f"{DEMO}: {info.entries} entries until {info.expires}")


if __name__ == "__main__":
    main()
