"""Publishes the demonstration list: the sample uploads' entries and the test picture's.

    python examples/publish_demo.py

It replaces `hashlists/demo`, which is shipped with the program. The keys are thrown away afterwards, so the
list can never be released again; to change it, run this once more, which makes new keys and a new root.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np

from hashscan.hashing.pdq import PDQ
from hashscan.lists.formats.csv import CsvFormat
from hashscan.lists.publisher import Publisher
from hashscan.lists.publisher_state import Expiry
from hashscan.model import Entry
from hashscan.scan.canary import SIDE, canary

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "hashlists" / "demo"
ENTRIES = HERE / "demo-entries.csv"
A_CENTURY = Expiry(root=36_500, targets=36_500, snapshot=36_500, timestamp=36_500)


def canary_entries() -> list[Entry]:
    """The digests of the picture that `hashscan selftest` sweeps."""
    content = canary()
    luma = np.frombuffer(content[-SIDE * SIDE :], np.uint8).reshape(SIDE, SIDE)
    return [
        Entry("selftest-sha256", "sha256", hashlib.sha256(content).digest(), "test"),
        Entry("selftest-pdq", "pdq", PDQ().digest(luma)[0], "test"),
    ]


def main() -> None:
    """Publish."""
    with tempfile.TemporaryDirectory() as scratch:
        work, repository = Path(scratch) / "work", Path(scratch) / "repository"
        publisher = Publisher.init(work, repository, work / "keys", "demonstration", expiry=A_CENTURY)
        with ENTRIES.open("rb") as stream:
            publisher.add(CsvFormat().blocks(stream, ENTRIES.name), ENTRIES.name)
        publisher.add(canary_entries(), "the test picture")
        info = publisher.release()
        shutil.rmtree(DEMO, ignore_errors=True)
        shutil.copytree(repository, DEMO)
        shutil.copy(work / "root.json", DEMO / "root.json")
        (DEMO / "root.json").chmod(0o644)
    print(f"{DEMO}: {info.entries} entries until {info.expires}")


if __name__ == "__main__":
    main()
