"""Kill clients, nodes and PostgreSQL at random under load, and compare what is counted with what is known.

    python -m benchmarks.hub.kills [--seconds 300] [--seed 1] [--database postgresql|sqlite] [--outage 60]

With PostgreSQL, two nodes are behind HAProxy; with SQLite, there is one node. Clients check digests; servers
scan with `--push`, send reports by `report push`, and exchange notices by `cases sync`. Each of these
processes, each node, and all processes of PostgreSQL are killed by SIGKILL at random moments, and started
again. PostgreSQL is also stopped for --outage seconds, once. Then everything may end, and each number that
clients and servers know is printed beside that of the hub's database; the exit code is 1 if two differ.
PostgreSQL's server and HAProxy must be installed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.lib.build import announce_build
from tests.hub.killing.harness import run


def main() -> int:
    """Run, print and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--outage", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), options.database, options.seconds, options.seed, options.outage)
    print(f"{options.database}, seed {options.seed}, {outcome.seconds:.0f} s")
    print("killed:", ", ".join(f"{kind} {number}" for kind, number in sorted(outcome.kills.items())))
    print(f"report push, killed when the hub had a part of the report: {outcome.partly}")
    print("ended:", ", ".join(f"{kind} {number}" for kind, number in sorted(outcome.ended.items())))
    print(f"requests sent again: {outcome.repeated}")
    for name, known in outcome.known.items():
        print(f"{name}: known {known:,}, counted {outcome.counted[name]:,}")
    for text in outcome.trouble:
        print(f"TROUBLE: {text}")
    differences = outcome.differences()
    for name in differences:
        print(f"DIFFERENCE: {name}")
    if not differences and not outcome.trouble:
        print("all numbers are equal")
    return 1 if differences or outcome.trouble else 0


if __name__ == "__main__":
    announce_build()
    raise SystemExit(main())
