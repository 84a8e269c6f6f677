"""The profile by which the contents of tests were digested."""

from __future__ import annotations

from hashscan.state.store.profile import Profile

PROFILE = Profile(
    exact=("md5/1", "sha1/1", "sha256/1"),
    pictures=("pdq/1",),
    variants=("turned",),
    rendering=1,
    max_pixels=10**6,
    formats=("JPEG/JPEG",),
    extras=(),
    limits=(),
    videos="",
    opens="",
    recognises=(),
    library="",
)
