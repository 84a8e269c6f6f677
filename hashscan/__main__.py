"""The entry point: every way out of the program goes through here, so that a traceback never exits 1."""

from __future__ import annotations

import errno
import os
import sys

_DEFECT = 70
"""Written out, since importing it may be what fails."""


def main() -> int:
    """Run the command line and return its exit code."""
    # Interpreters that are started for workers would else import what lies in the current folder, which may
    # be a customer's.
    os.environ["PYTHONSAFEPATH"] = "1"
    # numpy's linear algebra would else start a thread for every processor, which spins until it has something
    # to do; and it has nothing here, since pictures are hashed in the sandbox.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        from hashscan.cli.main import run

        code = run(sys.argv[1:])
        if sys.stdout is not None:
            # Or the interpreter would do so, and fail with a code of its own.
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; what the interpreter flushes at its end must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 12
    except BaseException as error:  # the last line of defence
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stderr.write(f"hashscan: can't write: {error.strerror}\n  Free some space, and try again.\n")
            return 12
        import traceback

        traceback.print_exc()
        sys.stderr.write(
            "hashscan: a defect in hashscan or in a library it uses; nothing can be said of the files.\n"
        )
        return _DEFECT


if __name__ == "__main__":
    sys.exit(main())
