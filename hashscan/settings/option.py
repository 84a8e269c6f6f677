"""Declare a field of the settings once: its default, and the option that gives it on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hashscan.settings.values import DURATIONS, SIZES, require_positive

Kind = type[bool | int | float | Path] | range | tuple[str, ...] | Literal["size", "time"]
"""The values that are allowed: of a type (numbers must be above 0), in a range, one of some words, or a size
or time above 0."""


@dataclass(frozen=True, slots=True)
class Option:
    """The option that gives a setting."""

    name: str
    default: Any
    help: str
    kind: Kind
    metavar: str | None = None
    shown: str = ""
    """The default as the help shows it, where it is neither the value nor in the largest unit."""
    bare: bool = False
    """True if the help shows the default, in the largest unit, without brackets."""

    @property
    def shown_default(self) -> str | bool:
        """The default as the help shows it; True for the value itself."""
        units = {"size": SIZES, "time": DURATIONS}.get(self.kind) if isinstance(self.kind, str) else None
        if self.shown or units is None:
            return self.shown or True
        suffix = max((one for one in units if self.default % units[one] == 0), key=units.__getitem__)
        return f"{self.default // units[suffix]:g}{suffix}"


def setting(name: str, default: Any, *values: Any, **more: Any) -> Any:
    """Return the field of a dataclass that an option gives; the arguments are those of `Option`."""
    return field(default=default, metadata={"option": Option(name, default, *values, **more)})


def options_of(settings: type) -> dict[str, Option]:
    """Return the options of a dataclass by the names of their fields."""
    return {one.name: one.metadata["option"] for one in fields(settings) if "option" in one.metadata}


class Checked:
    """The base of settings whose numbers must be above 0."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            if option.kind in {int, float, "size", "time"} and (value := getattr(self, name)) is not None:
                require_positive(option.name, value)
