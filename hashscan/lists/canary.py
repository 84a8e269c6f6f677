"""The entries of the harmless test picture that every signed list contains.

The picture is drawn in `scan/canary.py`, which this package must not import; a test compares the two. Each
published base contains these entries, so that `hashscan selftest` can prove for every list that the picture
would be found.
"""

from __future__ import annotations

from hashscan.model import TEST_CATEGORY, Entry

# Ids are as short as those of the shortest lists, since the longest id of a column sets its width. Other
# algorithms are left out, because a scan computes every algorithm that a list has entries of.
_ENTRIES = (
    ("canary-1", "md5", "08e6e9389922ac7d5780e20dc274fa1a"),
    ("canary-2", "sha1", "fa60ffb42c90717ba231933795a6c237cb3d4e24"),
    ("canary-3", "sha256", "6cdb2fb7016755f2828f100c04e71f0dcb2937e272778ddc23421760987f519c"),
    ("canary-4", "pdq", "fd84aa4bfd0caa4baaaaff42201d2037fd0ca837dd8c603735559837a9d48a37"),
)


def canary_entries() -> tuple[Entry, ...]:
    """Return the test picture's digests: one entry for each algorithm that is always computed."""
    return tuple(
        Entry(entry_id, algorithm, bytes.fromhex(value), TEST_CATEGORY)
        for entry_id, algorithm, value in _ENTRIES
    )
