"""Resolve those symlinks in a path that only the administrator can have created."""

from __future__ import annotations

import os
import stat

from hashscan.sources.beneath import stat_absolute

_LINKS_MAX = 40
"""Maximum number of symlinks in one path, as in the kernel."""


def resolve_admin_links(path: bytes) -> bytes:
    """Return the path of a folder with the symlinks of root and of the scanning user resolved.

    Symlinks of customers can lead anywhere, so from the first of these on, the path stays unchanged; so does
    the part that does not exist.

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
