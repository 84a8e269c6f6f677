"""`hashscan selftest`: send a harmless test picture through the whole chain, and report each step."""

from __future__ import annotations

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.tables import decoding_options
from hashscan.errors import EXIT_CLEAN
from hashscan.settings.matching import DecodingLimits
from hashscan.state_dir import StateDir
from hashscan.text import printable


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), hashes=True)
@decoding_options
@state_option
def command(state: StateDir, decoding: DecodingLimits) -> int:
    """Scan a harmless test picture and show which parts work.

    It is scanned with the demonstration list: unchanged, as the same picture in other bytes, and beside a
    file that is on no list. A test picture in each format must be decoded, and found by similarity in the
    common formats. Then each list of this machine is searched for the test picture, by its exact and its
    perceptual digests: every signed list contains it; a local list does not, which is shown.
    """
    from hashscan.scan.selftest import run_selftest

    exit_code = EXIT_CLEAN
    for step in run_selftest(decoding, state):
        exit_code = max(exit_code, EXIT_CLEAN if step.passed else step.failure)
        click.echo(f"{'ok  ' if step.passed else 'FAIL'} {printable(step.message)}")
    return exit_code
