"""Options whose values are tables of a settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from hashscan.cli.options.base import SETTINGS_FILE
from hashscan.errors import UsageError
from hashscan.settings.file import read_file

T = TypeVar("T")


class TablesParam(click.ParamType[T]):
    """The value of an option that the settings file has as tables of its own, named after the option.

    On the command line it is the name of a file that holds these tables alone.
    """

    rows: ClassVar[bool] = True
    """Whether there may be several, each begun by [[name]]; else there is one, begun by [name]."""
    example: ClassVar[str] = ""
    """Lines that may stand in such a table, for a file that shows all that can be set."""

    def read(self, tables: object, source: str) -> T:
        """What the tables say.

        Args:
            tables: as TOML has them.
            source: the file they stand in.

        Raises:
            UsageError: they say nothing useful.
        """
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Read them, where they aren't yet."""
        if isinstance(value, list | dict):
            assert ctx is not None
            return self.read(value, ctx.meta[SETTINGS_FILE])
        if isinstance(value, str):
            return self._of_file(Path(value))
        found: T = value
        return found

    def _of_file(self, path: Path) -> T:
        begin = f"[[{self.name}]]" if self.rows else f"[{self.name}]"
        _, _, tables = read_file(path, {})
        for key in tables:
            if key != self.name:
                raise UsageError(f"{path}: {key!r} has no place there", advice=f"It holds {begin} alone.")
        if self.name not in tables:
            raise UsageError(f"{path} holds no {self.name}", advice=f"Begin with a line {begin}.")
        return self.read(tables[self.name], str(path))
