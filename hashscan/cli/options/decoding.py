"""Options that limit the decoding of pictures, and the option of a licensee's hash library."""

from __future__ import annotations

import click

from hashscan.cli.options.base import SizeParam, gather_options, positive
from hashscan.cli.options.tables import HashLibraryParam
from hashscan.settings.matching import DecodingLimits

photodna_option = click.option(
    "--photodna",
    type=HashLibraryParam(),
    metavar="FILE",
    help=(
        "Table [photodna]: a licensee's shared library that computes PhotoDNA, for lists that have it. The "
        "settings file may contain it."
    ),
)

decoding_options = gather_options(
    "decoding",
    DecodingLimits,
    click.option(
        "--sandbox",
        type=click.Choice(["required", "auto", "off"]),
        default="auto",
        show_default=True,
        help=(
            "Sandbox for picture decoding: require all protections, use those that are available, or none."
        ),
    ),
    click.option(
        "--decoder-memory",
        type=SizeParam(),
        callback=positive,
        default="768M",
        show_default=True,
        help=(
            "Memory limit of each decoder. If workers are many, it is less: all together have three quarters "
            "of the machine's memory, but each has 384 MB."
        ),
    ),
    click.option(
        "--large-decoder-memory",
        type=SizeParam(),
        callback=positive,
        default="3G",
        show_default=True,
        help=(
            "Memory limit for decoding one picture that exceeds --max-pixels. Only one is decoded at a time, "
            "with half of the machine's memory at most."
        ),
    ),
    click.option(
        "--decoder-seconds",
        type=float,
        callback=positive,
        default=20.0,
        show_default=True,
        help=(
            "Processor time limit for decoding one picture; the limit of elapsed time is 15 times as long."
        ),
    ),
    click.option(
        "--max-pixels",
        type=int,
        callback=positive,
        default=64_000_000,
        show_default=True,
        help=(
            "Colour pictures with more pixels are decoded one at a time, with --large-decoder-memory; "
            "greyscale pictures may be larger."
        ),
    ),
    photodna_option,
)
