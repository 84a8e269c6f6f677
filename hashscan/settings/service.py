"""The settings of `hashscan serve`, as validated dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, get_args

from hashscan.model import MemberLimits
from hashscan.settings.legal_basis import PROTOCOLS, LegalBasis, Protocol
from hashscan.settings.matching import (
    DEFAULT_MATCHING,
    NO_RULES,
    DecodingLimits,
    MatchingSettings,
    PolicySettings,
)
from hashscan.settings.option import setting
from hashscan.state_dir import StateDir

AnswerTo = Literal["match", "held", "review", "ambiguous", "undecoded", "trouble"]
"""Verdicts; `ambiguous`: undecoded, since programs may find other files in the upload than were checked; and
`trouble`: the upload could not be checked (unreadable, overloaded, a defect)."""
AnswerWith = Literal["allow", "refuse", "error"]
ANSWERS_TO: tuple[AnswerTo, ...] = get_args(AnswerTo)
ANSWERS_WITH: tuple[AnswerWith, ...] = get_args(AnswerWith)
DEFAULT_ANSWERS: Mapping[Protocol, Mapping[AnswerTo, AnswerWith]] = {
    protocol: {
        "match": "refuse",
        "held": "allow",
        "review": "allow",
        "ambiguous": "refuse",
        "undecoded": "allow",
        "trouble": "error",
    }
    for protocol in PROTOCOLS
}
"""The answers of each door by default.

`held` and `review` are no accusation, and `undecoded` has no exact match: a service that refuses broken and
unknown pictures is soon switched off. `ambiguous` is never sent by browsers and common libraries; if it were
allowed, a form with a fault would carry any file past the check. `trouble` is an error, which every client of
these protocols can tell from a clean file, and for which most have a setting of their own."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket to listen at."""

    path: Path
    mode: int = 0o660


NO_ADDRESS = UnixAddress(Path())
"""The address of a door that is opened only where the service manager hands over a socket."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address to listen at."""

    host: str
    """An IPv4 or IPv6 address; names are not resolved."""
    port: int
    """0 lets the system choose."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """One place to listen at."""

    protocol: Protocol
    address: UnixAddress | TcpAddress
    answers: Mapping[AnswerTo, AnswerWith]
    """The answer to each verdict; `clean` is allowed."""
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks beyond loopback whose clients may connect; without any, the address must be of loopback."""
    owner_header: str = ""
    """Name of the request header whose value is trusted as the owner; empty trusts none."""
    one_owner: bool = False
    """True if all clients of this door count as one owner."""
    show_entries: bool = False
    """True if clients are shown list, entry and category of what was found."""
    connections_max: int = setting(
        "--max-connections", 1000, "Open connections of each door; others are refused.", int, "NUMBER"
    )
    idle_seconds: float = setting(
        "--idle-time",
        120.0,
        "Time after which a connection that sends nothing is closed.",
        "time",
        "TIME",
    )
    request_seconds: float = setting(
        "--request-time", 300.0, "Time in which all of a request must have arrived.", "time", "TIME"
    )


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of the engine; what exceeds them is refused at once."""

    workers: int
    upload_bytes: int = setting(
        "--max-upload", 100 << 20, "Largest upload; larger ones are not checked.", "size"
    )
    bytes_in_flight: int = setting(
        "--max-in-flight",
        1 << 30,
        "Memory for all uploads that arrive or are checked; uploads beyond it are not checked.",
        "size",
    )
    queue: int = setting(
        "--max-queue", 1000, "Uploads that may wait for a worker; others are not checked.", int, "NUMBER"
    )
    queue_seconds: float = setting(
        "--queue-time",
        60.0,
        "Longest time for which an upload waits for a worker; after that, it is not checked.",
        "time",
        "TIME",
    )


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """All settings of `hashscan serve`."""

    doors: tuple[DoorSettings, ...]
    state: StateDir
    lists: tuple[str, ...] | None
    """The names of the lists; None is every list of the state folder."""
    limits: EngineLimits
    decoding: DecodingLimits
    matching: MatchingSettings = DEFAULT_MATCHING
    policy: PolicySettings = NO_RULES
    containers: MemberLimits | None = None
    """The limits within which containers are opened; None opens none."""
    clamd_root: Path | None = None
    """Folder beneath which clients of a Unix socket may have files scanned by path."""
    bases: tuple[LegalBasis, ...] = ()
    """The legal bases, of which those of doors are applied."""
    http_keys: Path | None = None
    """File of the hashed keys of HTTP clients."""
    filter: tuple[str, str] | None = None
    """Address and root, as SHA-256, of a repository with filters of the lists, for hashscans that ask."""
    tls: tuple[Path, Path] | None = None
    """Certificate and key of the HTTP doors."""
    keep_refused: Path | None = None
    """File of the age recipients to which the content of refused uploads is encrypted; None keeps none."""
    keep_refused_bytes: int = setting(
        "--keep-refused-max",
        10 << 30,
        "Largest size of all kept contents together; content beyond it is not kept.",
        "size",
    )
    metrics: Path | None = None
    """File for the service's metrics, for node_exporter's textfile collector."""
    stop_seconds: float = setting(
        "--stop-time",
        30.0,
        "Time for which requests in progress may go on after SIGTERM.",
        "time",
        "TIME",
    )
