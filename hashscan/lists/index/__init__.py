"""The compiled index: finds the entries near a digest, in all lists of a scan at once."""

from hashscan.lists.index.base import Hits
from hashscan.lists.index.compiled_index import CompiledIndex

__all__ = ["CompiledIndex", "Hits"]
