"""Calculate the machines, hours and requests for a scan of a very large bucket, from measured rates.

Prints a paragraph for docs/speed.md. Nothing is measured here. Rates come from `benchmarks/buckets/rates.py`:

    python -m benchmarks.buckets.rates CORPUS --json rates.json
    python -m benchmarks.buckets.billion --rates rates.json --share 0.9 --size 120K --cores 16 --network 10 \
        --hours 24

or from the summary of a scan of a part of the bucket (files by seconds by workers):

    python -m benchmarks.buckets.billion --rate 110 --size 120K --cores 16 --network 10 --hours 24

Prices are the provider's, and only counted where they are given. What a decoder does with a picture that is
larger than those of `rates.py` is not known from there; its further bytes count as bytes to digest.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

GETS_PER_PREFIX = 5500
"""Requests a second that S3 documents for each prefix that it has made a partition of."""

KEYS_PER_LIST = 1000
"""Keys in the answer to one list request."""

_UNITS = {"K": 1000, "M": 1000**2, "G": 1000**3}


@dataclass(frozen=True)
class Plan:
    """The given values."""

    objects: int
    rate: float
    """Objects a second that one core reads, digests and matches."""
    size: float
    """Average bytes of an object."""
    cores: int
    """Cores of one machine."""
    network: float
    """Gbit a second of one machine."""
    hours: float
    """In which it shall be done."""
    prefixes: int | None = None
    """Partitions of the bucket that serve requests side by side; None is as many as it takes."""
    listed: float | None = None
    """Keys a second that one core lists, where that was measured; one process lists a bucket."""


@dataclass(frozen=True)
class Bill:
    """The machines, time and requests that a scan needs."""

    machines: int
    hours: float
    per_machine: float
    """Objects a second."""
    bound_by: str
    """The limit of a machine: `cores` or `network`."""
    prefixes: int
    """Partitions that are needed for these machines."""
    throttled: bool
    """True if the bucket's partitions, and not the machines, limit the speed."""
    gets: int
    lists: int
    """List requests of one machine that lists everything, as each shard does."""
    terabytes: float
    listing_hours: float | None
    """Hours of a process that lists everything; None where it is not known."""

    @property
    def lists_of_all(self) -> int:
        """List requests where every machine is a shard."""
        return self.lists * self.machines


def rate_of(rates: Mapping[str, float], share: float, size: float | None) -> tuple[float, float]:
    """Return the rate of one core for a mixture of pictures and other objects.

    Args:
        rates: the `rates` that `rates.py` wrote.
        share: of pictures among the objects, 0 to 1.
        size: average bytes of an object, or None for that of the objects which were measured.

    Returns:
        Objects a second, and their average size in bytes.
    """
    measured = share * rates["picture_bytes"] + (1 - share) * rates["plain_bytes"]
    size = measured if size is None else size
    seconds = share / rates["pictures"] + (1 - share) / rates["plain"]
    return 1 / (seconds + max(0.0, size - measured) / rates["bytes"]), size


def bill(plan: Plan) -> Bill:
    """Work it out."""
    by_cores = plan.rate * plan.cores
    by_network = plan.network * 1e9 / 8 / plan.size
    per_machine = min(by_cores, by_network)
    machines = math.ceil(Fraction(plan.objects) / Fraction(per_machine) / Fraction(plan.hours * 3600))
    rate = machines * per_machine
    limit = math.inf if plan.prefixes is None else plan.prefixes * GETS_PER_PREFIX
    throttled = rate > limit
    if throttled:
        # More than these would only wait.
        machines = math.ceil(limit / per_machine)
        rate = limit
    return Bill(
        machines,
        plan.objects / rate / 3600,
        per_machine,
        "cores" if by_cores <= by_network else "network",
        math.ceil(machines * per_machine / GETS_PER_PREFIX) if plan.prefixes is None else plan.prefixes,
        throttled,
        plan.objects,
        math.ceil(plan.objects / KEYS_PER_LIST),
        plan.objects * plan.size / 1e12,
        None if plan.listed is None else plan.objects / plan.listed / 3600,
    )


def paragraph(plan: Plan, cost: Bill, prices: dict[str, float]) -> str:
    """Return the text of the paragraph."""
    count = f"{plan.objects:,}" if plan.objects != 10**9 else "A billion"
    number = "1 machine" if cost.machines == 1 else f"{cost.machines} machines"
    first = (
        f"{count} objects of {_size(plan.size)} on average take {number} of {plan.cores} cores "
        f"{cost.hours:,.1f} hours: {plan.rate:,.0f} objects a second and core were measured."
    )
    together = cost.machines * cost.per_machine
    if cost.bound_by == "network":
        machine = (
            f"Of a machine, the network binds first: {plan.network:g} Gbit a second carry "
            f"{cost.per_machine:,.0f} objects a second, and the cores could do {plan.rate * plan.cores:,.0f}."
        )
    else:
        used = cost.per_machine * plan.size * 8 / 1e9
        machine = (
            f"Of a machine, the cores bind first; of {plan.network:g} Gbit a second they take {used:.1f}."
        )
    serves = f"S3 answers some {GETS_PER_PREFIX:,} GETs a second and prefix"
    if cost.throttled:
        number = "one prefix" if cost.prefixes == 1 else f"{cost.prefixes} prefixes"
        store = f"The bucket binds before them: {serves}, and with {number} more machines would only wait."
    else:
        store = (
            f"{serves}, so that the {together:,.0f} a second that all ask for must be spread over "
            f"{cost.prefixes} or more."
        )
    requests = (
        f"{cost.gets:,} GETs bring {cost.terabytes:,.1f} TB. To list them takes {cost.lists:,} requests; "
        f"where each machine is a shard and lists everything, {cost.lists_of_all:,}; by an inventory, next "
        "to none."
    )
    said = [first, machine, store, requests]
    if cost.listing_hours is not None:
        lists = (
            f"A process that lists everything takes {cost.listing_hours:,.1f} hours of a core for that alone"
        )
        if cost.listing_hours > cost.hours:
            lists += ", longer than the reading: take an inventory, or give each machine prefixes of its own"
        said.append(f"{lists}.")
    if prices:
        total = (
            prices.get("get", 0) * cost.gets / 1e6
            + prices.get("list", 0) * cost.lists_of_all / 1e6
            + prices.get("machine", 0) * cost.machines * cost.hours
        )
        named = {"get": "a million GETs", "list": "a million list requests", "machine": "a machine and hour"}
        at = ", ".join(f"{price:g} for {named[what]}" for what, price in prices.items())
        said.append(f"At {at}, that is {total:,.0f}.")
    return " ".join(said)


def _size(number: float) -> str:
    for factor, unit in ((1000**3, "GB"), (1000**2, "MB"), (1000, "kB")):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.0f} bytes"


def _bytes(text: str) -> int:
    unit = _UNITS.get(text[-1:].upper(), 1)
    return _count(text[:-1] if unit > 1 else text) * unit


def _count(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _amount(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--objects", type=_count, default=10**9, help="how many there are; a billion by default")
    rate = parser.add_mutually_exclusive_group(required=True)
    rate.add_argument("--rate", type=_amount, help="objects a second and core, as measured")
    rate.add_argument("--rates", type=Path, metavar="FILE", help="what rates.py wrote with --json")
    add("--share", type=_share, default=1.0, help="with --rates: pictures among the objects, from 0 to 1")
    add("--size", type=_bytes, help="average bytes of an object, such as 120K; with --rates, as measured")
    add("--cores", type=_count, required=True, help="cores of a machine")
    add("--network", type=_amount, required=True, help="Gbit a second of a machine")
    add("--hours", type=_amount, required=True, help="in which it shall be done")
    add("--prefixes", type=_count, help="partitions of the bucket; as many as it takes by default")
    add("--price-get", type=_amount, help="of a million GETs")
    add("--price-list", type=_amount, help="of a million list requests")
    add("--price-machine", type=_amount, help="of a machine and hour")
    given = vars(parser.parse_args())
    prices = {
        what: given[key] for what in ("get", "list", "machine") if given[key := f"price_{what}"] is not None
    }
    file, share = given.pop("rates"), given.pop("share")
    if file is not None:
        rates = json.loads(file.read_text())["rates"]
        given["rate"], given["size"] = rate_of(rates, share, given["size"])
        given["listed"] = rates["listed"]
    elif given["size"] is None:
        parser.error("--rate needs --size")
    plan = Plan(**{key: value for key, value in given.items() if not key.startswith("price_")})
    print(paragraph(plan, bill(plan), prices))


if __name__ == "__main__":
    main()
