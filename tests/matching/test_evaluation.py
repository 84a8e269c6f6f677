"""What is kept of a file that was read."""

from __future__ import annotations

import pytest

from hashscan.matching.evaluation import result_of, to_keep
from hashscan.matching.file_task import Checked
from hashscan.model import FileStat, Item, Reason

ITEM = Item(b"f", FileStat(device=0, inode=0, size=3, mtime_ns=1, ctime_ns=0, links=1, uid=1))


@pytest.mark.parametrize("reason", [None, Reason.COMPRESSED])
def test_what_hangs_on_more_than_the_content_is_not_kept(reason: Reason | None) -> None:
    """It would be clean in the next sweep."""
    file = Checked(ITEM, exact={"md5": bytes(16)}, as_listed=True, reason=reason)
    assert (result_of(file, ["md5"]).verdict == "clean") == (reason is None)
    assert (to_keep(file, ["pdq"]) is None) == (reason is not None)
