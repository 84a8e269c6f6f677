"""The options of `hashscan lists add` for matching services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.base import FILE, gather_options, value_option
from hashscan.errors import UsageError
from hashscan.lists.services.settings import (
    ASK_AGAIN,
    DEFAULT_ALGORITHMS,
    IN_FLIGHT,
    PATIENCE,
    ServiceSettings,
)
from hashscan.model import MATCHED
from hashscan.registry import MATCHING_SERVICES

ServiceMaker = Callable[[str | None, Path | None], ServiceSettings]
"""Makes the settings of a service from a proxy and a file of authorities."""


def _service(url: str | None, *values: Any) -> ServiceMaker | None:
    """Return a function that makes the settings; None without --service."""
    adapter, key_file, digests, variants, acts, categories, ask_again, in_flight, rate, patience = values
    if url is None:
        if adapter or key_file or digests or variants or acts or categories or rate:
            raise UsageError("there are options of a matching service, but no --service URL")
        return None
    mapped = {}
    for text in categories:
        name, separator, category = text.rpartition("=")
        if not separator or not name:
            raise UsageError(f"{text!r} is no CLASS=CATEGORY")
        mapped[name] = category

    def make(proxy: str | None, ca_file: Path | None) -> ServiceSettings:
        return ServiceSettings(
            url,
            adapter or next(iter(MATCHING_SERVICES)),
            str(key_file) if key_file else None,
            digests or DEFAULT_ALGORITHMS,
            variants,
            acts,
            mapped,
            ask_again,
            in_flight,
            rate,
            patience,
            proxy,
            str(ca_file) if ca_file else None,
            bool(digests),
        )

    return make


service_options = gather_options(
    "service",
    _service,
    click.option(
        "--service",
        "service_url",
        metavar="URL",
        help="Address of a matching service, which scans ask; nothing of its list is stored here.",
    ),
    click.option(
        "--adapter",
        type=click.Choice(list(MATCHING_SERVICES)),
        help="Interface of the service. "
        + "; ".join(f"{row.name}: {row.summary}" for row in MATCHING_SERVICES.rows.values())
        + f". Default: {next(iter(MATCHING_SERVICES))}.",
    ),
    click.option(
        "--key-file",
        type=FILE,
        help="File whose first line is the service's key (arachnid: USER:PASSWORD); for its owner only.",
    ),
    click.option(
        "--digests",
        multiple=True,
        type=click.Choice(MATCHED),
        help="Algorithm whose digests are sent; repeatable. "
        "If the service does not take one, files with such a digest are not clean. "
        f"Default: {', '.join(DEFAULT_ALGORITHMS)}, as far as the service takes them.",
    ),
    click.option(
        "--variants",
        is_flag=True,
        help="Send the digests of all variants of a picture, not only of the picture as it is stored.",
    ),
    click.option(
        "--accept-answers",
        is_flag=True,
        help="An answer makes a match, as an entry of a list does; without it, it is for review.",
    ),
    click.option(
        "--category",
        "categories",
        multiple=True,
        metavar="CLASS=CATEGORY",
        help="Category of answers with a class or bank of the service; repeatable. Others are `other`.",
    ),
    value_option(
        "--ask-again",
        ASK_AGAIN,
        "Time after which the service is asked again about the same content.",
        "time",
    ),
    value_option("--in-flight", IN_FLIGHT, "Requests under way at the same time.", range(1, 65)),
    click.option(
        "--requests-per-second",
        type=click.FloatRange(0, 10_000, min_open=True),
        help="Largest rate of requests.",
    ),
    value_option(
        "--patience",
        PATIENCE,
        "Time without an answer after which a scan no longer waits for the service.",
        "time",
    ),
)
