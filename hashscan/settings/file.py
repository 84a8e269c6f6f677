"""Find and read the settings file (TOML)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashscan.errors import UsageError

CONFIG_VARIABLE = "HASHSCAN_CONFIG"
SYSTEM_CONFIG = Path("/etc/hashscan/hashscan.toml")


def chosen_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the settings file to use, and whether it was named explicitly.

    Args:
        path: the file that was named, or None for the variable's or the system's.
        environ: the environment.
    """
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    return named or SYSTEM_CONFIG, named is not None


def read_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, str, dict[str, Any]]:
    """Read the settings file.

    Args:
        path: the file that was named, or None for the variable's or the system's.
        environ: the environment.

    Returns:
        The file that was read, if there was one, its text and its tables.

    Raises:
        UsageError: a file that was named does not exist, or the file can't be read or is not valid TOML.
    """
    chosen, named = chosen_file(path, environ)
    try:
        document = chosen.read_bytes().decode("utf-8")
        return chosen, document, tomllib.loads(document)
    except FileNotFoundError:
        if not named:
            return None, "", {}
        raise UsageError(f"there is no settings file {chosen}", advice="Name an existing file.") from None
    except OSError as error:
        raise UsageError(
            f"can't read the settings file {chosen}: {error.strerror}",
            advice="Make it readable for this user.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the settings file {chosen} is no valid TOML: {error}", advice="Mend it."
        ) from error
