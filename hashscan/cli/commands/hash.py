"""`hashscan hash`: print the digests of single files."""

from __future__ import annotations

import click

from hashscan.cli.options.base import ANY_PATH, HashscanCommand
from hashscan.cli.options.output import format_option, write_json_line, write_stdout
from hashscan.cli.options.tables import decoding_options
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import ALWAYS_COMPUTED, COMPUTED, MATCHED
from hashscan.settings.matching import DecodingLimits
from hashscan.text import printable


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 70))
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=ANY_PATH)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(MATCHED),
    help="Algorithm to compute; repeatable; photodna with a licensee's library. Default: the algorithms that "
    "every scan computes.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Also say why each file is what it is, on stderr: by signatures, by a proof that it shows nothing, "
    "by the probes of libraries with their scores, and by its name.",
)
@format_option("json", "text", help="JSON Lines, or a line `ALGORITHM:DIGEST PATH` for each digest.")
@decoding_options
def command(
    files: tuple[bytes, ...],
    algorithms: tuple[str, ...],
    format_name: str,
    decoding: DecodingLimits,
    *,
    explain: bool,
) -> int:
    """Print the digests of files.

    Pictures are decoded in the sandbox, as in a scan. If a file can't be read or a picture can't be decoded,
    the line gives the reason.
    """
    from hashscan.matching.worker_setup import WorkerSetup, checked_library, licensed_by, sandbox_options
    from hashscan.reports.records import path_text, result_record
    from hashscan.scan.single_checks import check_file, explain_file
    from hashscan.scan.workers.worker import Worker

    chosen = algorithms or ALWAYS_COMPUTED
    library = None
    if "photodna" in chosen and (library := checked_library(decoding)) is None:
        raise UsageError(
            "hashscan has no PhotoDNA of its own",
            advice="Name the licensed library in the table [photodna] of the settings.",
        )
    setup = WorkerSetup(
        lists=(),
        sandbox=sandbox_options(decoding),
        algorithms=tuple(name for name in (*COMPUTED, *licensed_by(library)) if name in chosen),
        max_pixels=decoding.max_pixels,
        photodna=library,
        variants=(),
        with_digests=True,
    )
    complete = True
    with Worker(setup) as worker:
        for path in files:
            result = check_file(worker, path)
            complete = complete and result.reason is None
            record = result_record(path, result, with_digests=True)
            for line in explain_file(path, setup).lines() if explain else ():
                print_message(f"{path_text(record)}: {line}")
            if format_name == "json":
                write_json_line(record)
                continue
            named = path_text(record)
            if result.reason is not None:
                print_message(f"{named}: {result.reason.value} {result.detail}".rstrip(), ERROR)
            for algorithm, digest in record.get("digests", {}).items():
                write_stdout(printable(f"{algorithm}:{digest} {named}"))
    return EXIT_CLEAN if complete else EXIT_INCOMPLETE
