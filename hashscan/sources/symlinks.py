"""Follows links in a path as far as only the administrator can have made them."""

from __future__ import annotations

import os
import stat

from hashscan.sources.beneath import stat_absolute

_LINKS_MAX = 40
"""As the kernel has it."""


def followed(path: bytes) -> bytes:
    """The path that a folder has without such links.

    Customers' links lead where customers like, so from the first of these on the path stays as it is; and so
    it does from where nothing is.

    Args:
        path: absolute, without `.` and `..`.
    """
    trusted = {0, os.geteuid()}
    real, left = b"", path.strip(b"/").split(b"/")
    links = 0
    while left:
        part, *left = left
        if part in {b"", b"."}:
            continue
        if part == b"..":
            real = os.path.dirname(real).rstrip(b"/")
            continue
        here = b"%b/%b" % (real, part)
        try:
            found = stat_absolute(here)
            if not stat.S_ISLNK(found.st_mode):
                real = here
                continue
            links += 1
            if found.st_uid not in trusted or links > _LINKS_MAX:
                return b"/".join((here, *left))
            target = os.readlink(here)
        except (OSError, ValueError):
            return b"/".join((here, *left))
        if target.startswith(b"/"):
            real = b""
        left = [*target.split(b"/"), *left]
    return real or b"/"
