"""Registers the algorithms of `digest_lengths` when it is imported."""

from __future__ import annotations

from tests.state.digest_lengths import register

register()
