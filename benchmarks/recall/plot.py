"""Draw the recall of each tool by alteration; runs in the peers' environment, which has matplotlib.

python benchmarks/recall/plot.py RESULTS.json OUT.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    """Read the results, write the picture: a row for each alteration, two columns for each tool."""
    tools = json.loads(Path(sys.argv[1]).read_text())["tools"]
    columns = [
        (f"{way}\n{found['threshold' if key == 'recall' else 'largest']} bits", found[key])
        for way, found in tools.items()
        for key in ("recall", "recall at the largest")
    ]
    names = list(columns[0][1])
    figure, axes = pyplot.subplots(figsize=(1.6 + len(columns), 0.24 * len(names)), layout="constrained")
    shares = [[100 * shares[name] for _, shares in columns] for name in names]
    axes.imshow(shares, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto")
    for row, line in enumerate(shares):
        for column, share in enumerate(line):
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(columns)), [label for label, _ in columns], fontsize=7)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title("altered photos found, %", fontsize=9)
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
