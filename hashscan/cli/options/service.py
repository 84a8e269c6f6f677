"""Options of `hashscan serve`: its doors, what they answer to whom, and its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.base import (
    ParsedParam,
    gather_options,
    setting_options,
    workers_option,
)
from hashscan.errors import UsageError
from hashscan.settings.legal_basis import PROTOCOLS, Protocol
from hashscan.settings.service import (
    ANSWERS_TO,
    ANSWERS_WITH,
    DEFAULT_ANSWERS,
    NO_ADDRESS,
    AnswerTo,
    AnswerWith,
    DoorSettings,
    EngineLimits,
    TcpAddress,
    UnixAddress,
)

_NAMES = ", ".join(PROTOCOLS)


def parse_address(text: str) -> UnixAddress | TcpAddress:
    """Return the address of `unix:PATH` or `tcp:HOST:PORT`."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        if not rest.startswith("/"):
            raise UsageError(
                f"{text!r}: the path is not absolute", advice="Write unix:/run/hashscan/clamd.sock."
            )
        return UnixAddress(Path(rest))
    host, separator, port = rest.rpartition(":")
    if kind == "tcp" and separator and port.isascii() and port.isdigit() and int(port) < 1 << 16:
        name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            return TcpAddress(str(ip_address(name)), int(port))
        except ValueError:
            pass
    raise UsageError(
        f"{text!r} is not an address",
        advice="Write unix:PATH or tcp:HOST:PORT; HOST is an IP address, in [] if it is IPv6.",
    )


def _door_and_rest(text: str, separator: str, form: str) -> tuple[Protocol, str]:
    name, found, rest = text.partition(separator)
    for protocol in PROTOCOLS:
        if name == protocol and found and rest:
            return protocol, rest
    raise UsageError(f"{text!r} does not have the form {form}", advice=f"DOOR is one of {_NAMES}.")


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return the network of CIDR."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}", advice="Write a network, such as 10.1.0.0/16.") from error


def parse_allow(text: str) -> tuple[Protocol, IPv4Network | IPv6Network]:
    """Return the door and the network of `DOOR=CIDR`."""
    protocol, network = _door_and_rest(text, "=", "DOOR=CIDR")
    return protocol, parse_network(network)


def parse_answer(text: str) -> tuple[Protocol, AnswerTo, AnswerWith]:
    """Return door, verdict and answer of `DOOR.VERDICT=ANSWER`."""
    form = "DOOR.VERDICT=ANSWER"
    protocol, rest = _door_and_rest(text, ".", form)
    for verdict, answer in product(ANSWERS_TO, ANSWERS_WITH):
        if rest == f"{verdict}={answer}":
            return protocol, verdict, answer
    raise UsageError(
        f"{text!r} does not have the form {form}",
        advice=f"VERDICT is one of {', '.join(ANSWERS_TO)}; ANSWER is one of {', '.join(ANSWERS_WITH)}.",
    )


def parse_owner(text: str) -> tuple[Protocol, str]:
    """Return the door and the name of the header of `DOOR=HEADER`; clamd's has none."""
    protocol, header = _door_and_rest(text, "=", "DOOR=HEADER")
    if protocol == "clamd":
        raise UsageError(
            "clamd's protocol has no headers",
            advice="Use --one-owner clamd, if all of its clients trust each other's files.",
        )
    if not header.isascii() or not header.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{header!r} is not a name of a header", advice="Write one such as X-Upload-Owner.")
    return protocol, header


def parse_mode(text: str) -> int:
    """Return the mode of three octal digits, with or without a leading 0."""
    digits = text[1:] if len(text) == 4 and text[0] == "0" else text
    if len(digits) != 3 or not set(digits) <= set("01234567"):
        raise UsageError(f"{text!r} is not a mode", advice="Write three octal digits, such as 660.")
    return int(digits, 8)


ADDRESS = ParsedParam("address", parse_address, UnixAddress | TcpAddress)
NETWORK = ParsedParam("network", parse_network, IPv4Network | IPv6Network)


def _doors_of(
    clamd: Iterable[UnixAddress | TcpAddress],
    icap: Iterable[UnixAddress | TcpAddress],
    http: Iterable[UnixAddress | TcpAddress],
    socket_mode: int,
    allowed: Iterable[tuple[Protocol, IPv4Network | IPv6Network]],
    answers: Iterable[tuple[Protocol, AnswerTo, AnswerWith]],
    headers: Iterable[tuple[Protocol, str]],
    one_owner: Iterable[str],
    show_entries: Iterable[str],
    *limits: Any,
) -> tuple[DoorSettings, ...]:
    """Return the settings of all doors; those without an address wait for sockets of the service manager."""
    named: Mapping[Protocol, Iterable[UnixAddress | TcpAddress]] = {
        "clamd": clamd,
        "icap": icap,
        "http": http,
    }
    networks, owner_headers = tuple(allowed), dict(headers)
    ones, shown = set(one_owner), set(show_entries)
    if both := sorted(ones & owner_headers.keys()):
        raise UsageError(
            f"--one-owner and --trust-owner contradict each other for {both[0]}", advice="Choose one of them."
        )
    chosen = {protocol: dict(DEFAULT_ANSWERS[protocol]) for protocol in PROTOCOLS}
    for protocol, verdict, answer in answers:
        chosen[protocol][verdict] = answer
    return tuple(
        DoorSettings(
            protocol,
            UnixAddress(address.path, socket_mode) if isinstance(address, UnixAddress) else address,
            chosen[protocol],
            tuple(network for door, network in networks if door == protocol),
            owner_headers.get(protocol, ""),
            protocol in ones,
            protocol in shown,
            *limits,
        )
        for protocol, addresses in named.items()
        for address in (*addresses, NO_ADDRESS)
    )


def _address_option(name: str, text: str, example: str) -> Any:
    return click.option(
        name,
        multiple=True,
        type=ADDRESS,
        metavar="ADDRESS",
        help=f"Listen here for clients of {text}: unix:PATH or tcp:HOST:PORT, such as {example}; repeatable.",
    )


_which = click.Choice(PROTOCOLS)

door_options = gather_options(
    "doors",
    _doors_of,
    _address_option("--clamd", "ClamAV's clamd", "unix:/run/hashscan/clamd.sock"),
    _address_option("--icap", "ICAP", "tcp:127.0.0.1:1344"),
    _address_option("--http", "HTTP", "tcp:127.0.0.1:8086"),
    click.option(
        "--socket-mode",
        type=ParsedParam("mode", parse_mode, int),
        default="660",
        show_default=True,
        metavar="MODE",
        help="Mode of the Unix sockets, which decides who may connect.",
    ),
    click.option(
        "--allow",
        "allowed",
        multiple=True,
        type=ParsedParam("allow", parse_allow),
        metavar="DOOR=CIDR",
        help=f"Let clients of this network connect to a door ({_NAMES}), such as icap=10.1.0.0/16; "
        "repeatable. Without it, a door listens at loopback and Unix sockets only. clamd's protocol and ICAP "
        "have neither keys nor encryption.",
    ),
    click.option(
        "--answer",
        "answers",
        multiple=True,
        type=ParsedParam("answer", parse_answer),
        metavar="DOOR.VERDICT=ANSWER",
        help="Answer of a door to a verdict, such as icap.undecoded=refuse; repeatable. Verdicts: match, "
        "held, review, undecoded; ambiguous, if programs may find other files in a form than were checked; "
        "and trouble, if the upload could not be checked. Answers: allow, refuse, or error, after which the "
        "client decides. Default of all doors: match and ambiguous are refused, trouble is an error, and the "
        "others are allowed.",
    ),
    click.option(
        "--trust-owner",
        "headers",
        multiple=True,
        type=ParsedParam("owner", parse_owner),
        metavar="DOOR=HEADER",
        help="Take the uploader's name from this request header, such as icap=X-Authenticated-User; "
        "repeatable. Every client of the door must be trusted to set it. Without it, each connection (each "
        "request of ICAP and HTTP) is an owner of its own, with a fresh decoder.",
    ),
    click.option(
        "--one-owner",
        multiple=True,
        type=_which,
        help="Treat all uploads to this door as those of one owner, which is faster; repeatable. DANGER: an "
        "upload that takes over a decoder can change the verdict of another customer's.",
    ),
    click.option(
        "--show-entries",
        multiple=True,
        type=_which,
        help="Show list, entry and category of a match to the clients of this door, and not only a "
        "reference; repeatable. Without --http-keys, clients of http may then also read lists and metrics.",
    ),
    setting_options(DoorSettings),
)

limit_options = gather_options("limits", EngineLimits, workers_option, setting_options(EngineLimits))


def _filter(url: str | None, root: str | None) -> tuple[str, str] | None:
    """Return the address of filters and the fingerprint of their root, checked; None without any."""
    if url is None and root is None:
        return None
    if not (url and root and url.startswith(("https://", "http://")) and re.fullmatch("[0-9a-f]{64}", root)):
        raise UsageError(
            "--filter names a web address, and --filter-root the 64 digits of its root",
            advice="Give both as `hashscan publish filter` prints them, or none.",
        )
    return url, root


filter_options = gather_options(
    "filter",
    _filter,
    click.option(
        "--filter",
        "filter_url",
        metavar="URL",
        help="Address of the repository in which `publish filter` publishes filters of the lists, for "
        "clients that use this server as a matching service.",
    ),
    click.option(
        "--filter-root",
        metavar="SHA256",
        help="Fingerprint of that repository, which `publish filter` prints.",
    ),
)
