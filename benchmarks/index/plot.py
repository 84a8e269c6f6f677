"""Draw the cost of a query by its threshold; runs in the peers' environment, which has matplotlib.

python benchmarks/index/plot.py RESULTS.json OUT.svg
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    """Read the results, write the picture."""
    rows = [row for row in json.loads(Path(sys.argv[1]).read_text())["results"] if row["part"] == "growth"]
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (entries, make), group in groupby(rows, key=lambda row: (row["entries"], row["make"])):
        points = list(group)
        bits = [row["threshold"] for row in points]
        (drawn,) = axes.plot(bits, [row["median"] for row in points], label=f"{make}, {entries:,} entries")
        axes.fill_between(
            bits,
            [row["least"] for row in points],
            [row["most"] for row in points],
            color=drawn.get_color(),
            alpha=0.15,
        )
        scans = [row for row in points if "scan" in row["plan"]]
        if scans:
            at = scans[0]["threshold"], scans[0]["median"]
            axes.plot(*at, "o", color=drawn.get_color())
            axes.annotate("scan from here", at, textcoords="offset points", xytext=(4, -12), fontsize=8)
    axes.set(xlabel="threshold, bits of 256", ylabel="milliseconds a query", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
