"""Parameter types of options whose values are tables of the settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from hashscan.cli.options.base import SETTINGS_FILE
from hashscan.errors import UsageError
from hashscan.settings.file import read_file

T = TypeVar("T")


class TablesParam(click.ParamType[T]):
    """A parameter whose value the settings file has in tables of their own, named after the option.

    On the command line, the value is the name of a file that holds these tables alone.
    """

    rows: ClassVar[bool] = True
    """True if there may be several tables, each begun by [[name]]; False for one, begun by [name]."""
    example: ClassVar[str] = ""
    """Lines of an example table, for the settings file template that shows all options."""

    def read(self, tables: object, source: str) -> T:
        """Return the value of the tables.

        Args:
            tables: as parsed from TOML.
            source: name of the file that holds them.

        Raises:
            UsageError: a table is not valid.
        """
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return the value; read the tables if they are not read yet."""
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
                raise UsageError(
                    f"{path}: {key!r} does not belong there", advice=f"It contains only {begin}."
                )
        if self.name not in tables:
            raise UsageError(f"{path} contains no {self.name}", advice=f"Begin with a line {begin}.")
        return self.read(tables[self.name], str(path))
