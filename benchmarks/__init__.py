"""Benchmarks by subject; run one from the top folder as a module: `python -m benchmarks.scan.versions`.

Each module names its input and the figures that it prints; the documents cite those that they quote. `lib` is
shared. The tests run each with few items. Without the parts in C, none runs.
"""

import sys

from hashscan import c_parts

# Python sets the name of the program once the package of the module to run is imported.
if not c_parts.BUILT and sys.argv[0] == "-m":
    sys.exit(f"hashscan: {c_parts.MISSING}")
