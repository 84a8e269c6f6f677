"""The compiled index: finds the entries near a digest, over all lists of a sweep as if they were one."""

from hashscan.lists.index.base import Hits, Index
from hashscan.lists.index.lists import CompiledIndex

__all__ = ["CompiledIndex", "Hits", "Index"]
