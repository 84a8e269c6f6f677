"""Start the program; every exit passes here, so that nothing but a match exits with code 1."""

from __future__ import annotations

import gc
import os
import sys

_OUTPUT, _DEFECT = 12, 70
"""Written as numbers, since the import of `errors` may be what fails."""
_COLLECT_AFTER = 50_000
"""New objects after which the interpreter looks for unreachable cycles. By its default, 700, it does so a
hundred times while modules are imported, and finds nearly nothing."""


def main() -> int:
    gc.set_threshold(_COLLECT_AFTER)
    # Without this, interpreters that are started for workers would import modules from the current folder,
    # which may be a customer's.
    os.environ["PYTHONSAFEPATH"] = "1"
    # Without this, numpy's linear algebra would start a thread for every processor, which spins until it has
    # work. It never has any here, since pictures are hashed in the sandbox.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        from hashscan import process

        process.restart_without_interpreter_variables()
        process.prepare_streams()
        process.fix_umask()
        process.check_surroundings()
        from hashscan.cli.main import run

        code = run(sys.argv[1:])
        # Otherwise the interpreter would flush at its end, and fail with an exit code of its own.
        sys.stdout.flush()
        return code
    except BaseException as error:  # last resort
        try:
            return _ended_by(error)
        except BaseException as trouble:
            _say_last(f"hashscan: {error!r}, and then {trouble!r}\n")
            return _DEFECT


def _say_last(text: str) -> None:
    """Write to standard error where not even hashscan's own modules can be imported."""
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def _ended_by(error: BaseException) -> int:
    """Print why the command ends, and return its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError):
        # Standard output may accept no more data, and the interpreter flushes it once more at its end.
        from hashscan.process import let_go_of_output

        let_go_of_output()
    if isinstance(error, BrokenPipeError):
        # The reader of our output has closed it.
        return _OUTPUT
    from hashscan.process import explain_shortage

    shortage = explain_shortage(error)
    if shortage is not None:
        sys.stderr.write(f"hashscan: {shortage[0]}\n  {shortage[1]}\n")
        return _OUTPUT
    import traceback

    traceback.print_exc()
    sys.stderr.write(
        "hashscan: a defect in hashscan or in a library it uses; nothing can be said of the files.\n"
    )
    return _DEFECT


if __name__ == "__main__":
    # With `python -m`, the first folder is the current one, which may be a customer's.
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        del sys.path[0]
    sys.exit(main())
