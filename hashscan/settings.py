"""What a sweep was told to do, as one checked dataclass, and the file that settings may come from."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from hashscan.errors import UsageError
from hashscan.hashing.variants import VARIANTS
from hashscan.model import ALGORITHMS, DIRECT, Access, PolicyRule, Shard, Weak

CONFIG_VARIABLE = "HASHSCAN_CONFIG"
SYSTEM_CONFIG = Path("/etc/hashscan/hashscan.toml")

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)%", re.ASCII)
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
SUGGESTED_REVIEW_THRESHOLD = 52
"""Bits of PDQ. Four of five photos lie so near after 5 % was cropped from them or 15 % covered by a caption,
and no unrelated ones do; see `benchmarks/recall.py`."""

FailOn = Literal["match", "review", "never"]
SandboxMode = Literal["required", "auto", "off"]


def _positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"{option} must be more than 0, not {value}")


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One report that was asked for."""

    format: str
    path: Path | None
    """None is standard output."""


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """How much one picture may cost."""

    sandbox: SandboxMode = "auto"
    memory_bytes: int = 1 << 30
    seconds: float = 20.0
    max_pixels: int = 64_000_000

    def __post_init__(self) -> None:
        _positive("--decoder-memory", self.memory_bytes)
        _positive("--decoder-seconds", self.seconds)
        _positive("--max-pixels", self.max_pixels)


@dataclass(frozen=True, slots=True)
class Matching:
    """How far a picture may be from an entry."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """The ways besides the plain one in which pictures are compared."""
    review_threshold: int | None = None
    """Distance in bits up to which a near miss of PDQ is for review."""

    def __post_init__(self) -> None:
        pdq = ALGORITHMS["pdq"]
        if self.review_threshold is not None and not pdq.threshold < self.review_threshold < pdq.bits // 2:
            raise UsageError(
                f"--review-threshold must be more than {pdq.threshold}, where matches end, and less than "
                f"{pdq.bits // 2}, where chance begins, not {self.review_threshold}",
                advice=f"{SUGGESTED_REVIEW_THRESHOLD} finds most captions and slight crops.",
            )

    @classmethod
    def without(cls, skipped: Iterable[str], review_threshold: int | None) -> Matching:
        """All variants but some."""
        left_out = frozenset(skipped)
        return cls(tuple(name for name in VARIANTS if name not in left_out), review_threshold)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The scheduler of a Dask cluster, and what this machine shows as proof that it belongs to it."""

    scheduler: str
    """`tls://HOST:PORT`, or `tcp://HOST:PORT` on this machine alone."""
    ca: Path | None = None
    """PEM file of the authority that signs for the cluster, and for nobody else."""
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.scheduler)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if not host or not port or url.scheme not in {"tls", "tcp"} or url.path or url.username or url.query:
            raise UsageError(
                f"{self.scheduler!r} is no scheduler's address",
                advice="Write tls://HOST:PORT, such as tls://scheduler:8786.",
            )
        files = {"--cluster-ca": self.ca, "--cluster-cert": self.cert, "--cluster-key": self.key}
        if url.scheme == "tls":
            if missing := [option for option, path in files.items() if path is None]:
                raise UsageError(
                    f"{self.scheduler} needs {', '.join(missing)}",
                    advice="Both sides of a connection must show a certificate of the cluster's authority.",
                )
        elif any(files.values()):
            raise UsageError(
                f"{self.scheduler} makes no use of certificates", advice="Write tls:// in place of tcp://."
            )
        elif not _on_this_machine(host):
            raise UsageError(
                f"{self.scheduler} is not on this machine, and whoever reaches a scheduler over tcp:// can "
                "run any program on its workers",
                advice="Use tls://, with --cluster-ca, --cluster-cert and --cluster-key.",
            )

    @property
    def encrypted(self) -> bool:
        """Whether both sides show certificates."""
        return self.ca is not None


def _on_this_machine(host: str) -> bool:
    """Whether a name or address leads to nowhere else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass  # A name.
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """How a sweep gives way to what else runs on the machine."""

    background: bool = False
    """Take processors and disks only when nobody else wants them."""
    limit_rate: int | None = None
    """Bytes a second, all workers together."""
    limit_files: float | None = None
    """Files a second, all workers together."""
    max_load: float | None = None
    """Wait while the load average of others over a minute is higher."""

    def __post_init__(self) -> None:
        for option, value in (
            ("--limit-rate", self.limit_rate),
            ("--limit-files", self.limit_files),
            ("--max-load", self.max_load),
        ):
            if value is not None:
                _positive(option, value)

    @property
    def paced(self) -> bool:
        """Whether workers have to ask before they read."""
        return any(limit is not None for limit in (self.limit_rate, self.limit_files, self.max_load))


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What is to be done about matches."""

    rules: tuple[PolicyRule, ...] = ()
    """Without any, all that is done is to report them."""
    act_on: tuple[Weak, ...] = ()
    """On whose word files may be moved, besides that of fresh, signed lists."""


NO_RULES = PolicySettings()


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """How much one entry may hit in a sweep before nothing is moved on its word any more."""

    owners: int = 20
    """A picture that so many customers have is more likely a theme's than a crime of all of them."""
    files: int = 10_000
    """One customer may well have thousands of thumbnails of one picture."""

    def __post_init__(self) -> None:
        _positive("--breaker-owners", self.owners)
        _positive("--breaker-files", self.files)


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """How findings are kept once they are moved."""

    retain_min: float
    """Seconds for which evidence must be kept."""
    destroy_by: float
    """Seconds after which it must be gone."""
    places: tuple[Path, ...] = ()
    """Folders to keep it beneath, one for each file system."""
    bucket: str | None = None
    """URL to keep objects beneath; None for a folder of this machine."""
    note: Path | None = None
    """Text to leave in place of what is moved."""

    def __post_init__(self) -> None:
        if self.destroy_by < self.retain_min:
            raise UsageError(
                "--destroy-by is shorter than --retain-min", advice="Give the longer term to the former."
            )

    @classmethod
    def of(
        cls,
        retain_min: float | None,
        destroy_by: float | None,
        places: tuple[str, ...] = (),
        note: Path | None = None,
    ) -> QuarantineSettings:
        """From what may not have been said.

        Raises:
            UsageError: a term is missing, they contradict each other, or objects have several places.
        """
        if retain_min is None or destroy_by is None:
            raise UsageError(
                "how long evidence is kept differs by country, so --retain-min and --destroy-by have no "
                "default",
                advice="Ask your counsel how long this must be kept for the authorities, and by when it must "
                "be destroyed; then say both, such as --retain-min 90d --destroy-by 365d.",
            )
        urls = [place for place in places if "://" in place]
        if len(urls) > 1:
            raise UsageError("objects are kept in one place", advice="Name one URL with --place.")
        folders = tuple(Path(place) for place in places if place not in urls)
        return cls(retain_min, destroy_by, folders, urls[0] if urls else None, note)


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Everything `hashscan scan` was told."""

    targets: tuple[bytes, ...]
    """May be none where `files_from` or `inventory` say what to sweep."""
    lists: tuple[str, ...] | None
    """None is every list of the state folder."""
    reports: tuple[ReportTarget, ...]
    state: Path | None
    """None leaves nothing behind."""
    workers: int
    decoding: DecodingLimits
    matching: Matching = Matching()
    policy: PolicySettings = NO_RULES
    access: Access = DIRECT
    cluster: ClusterSettings | None = None
    """None has the work done on this machine."""
    neighbour: NeighbourSettings = NeighbourSettings()
    exclude: tuple[str, ...] = ()
    ignore_file: Path | None = None
    one_file_system: bool = False
    all_versions: bool = False
    max_file_size: int | None = None
    fail_on: FailOn = "match"
    strict: bool = False
    with_digests: bool = False
    shard: Shard | None = None
    """The part of the sweep that is to be done; None is all of it."""
    files_from: Path | None = None
    """A list of the files to sweep, beneath the targets if there are any; `-` is standard input."""
    time_budget: float | None = None
    """Seconds after which to begin nothing more; the next sweep goes on."""
    accept_shrink: bool = False
    """Believe that a target which has far fewer files than last time is all there."""
    weak_change_check: bool = False
    """Believe that a file is unchanged although its ctime has changed."""
    reread: float = 0.0
    """Share of the unchanged files that is read all the same, 0 to 1."""
    known: bool = False
    """Look at no file; match what earlier sweeps have read."""
    inventory: bytes | None = None
    """Path or URL of the manifest of an S3 inventory, which says what is in a bucket."""
    breaker: BreakerLimits = BreakerLimits()
    quarantine: QuarantineSettings | None = None
    """None moves nothing."""

    def __post_init__(self) -> None:
        if self.inventory is not None and self.files_from is not None:
            raise UsageError("--inventory and --files-from exclude each other")
        if self.known:
            self._check_known()
        if self.quarantine is not None:
            self._check_quarantine()
        if not self.targets and self.files_from is None and self.inventory is None and not self.known:
            raise UsageError("no target given", advice="Name at least one folder or file.")
        _positive("--workers", self.workers)
        _positive("--in-flight", self.access.in_flight)
        if self.access.endpoint is not None:
            _check_endpoint(self.access.endpoint)
        if self.time_budget is not None:
            _positive("--time-budget", self.time_budget)
        if self.max_file_size is not None:
            _positive("--max-file-size", self.max_file_size)
        if self.cluster is not None and self.neighbour.paced:
            raise UsageError(
                "with --cluster, other machines do the reading",
                advice="Give --limit-rate, --limit-files and --max-load to each `hashscan worker`.",
            )
        if sum(report.path is None for report in self.reports) > 1:
            raise UsageError("two reports can't both go to standard output")
        paths = [report.path for report in self.reports if report.path is not None]
        if len({os.path.abspath(path) for path in paths}) < len(paths):
            raise UsageError("two reports can't go to the same file")

    def _check_quarantine(self) -> None:
        """Refuse what sees only a part, leaves no record, or believes in content that may have changed."""
        if self.state is None:
            raise UsageError(
                "--quarantine keeps its log in the state folder, and --no-state has none",
                advice="Name a folder with --state.",
            )
        for option, value, advice in (
            ("--shard", self.shard, "Join the shards' reports with `hashscan report merge`, and move what "
             "is found by `hashscan quarantine add`."),
            ("--cluster", self.cluster, "Move what it finds by `hashscan quarantine add REPORT` where the "
             "files are."),
            ("--known", self.known or None, "Move what it finds by `hashscan quarantine add REPORT`, which "
             "looks at the files first."),
            ("--weak-change-check", self.weak_change_check or None, "What is moved must still be what was "
             "found: sweep once without the latter."),
        ):  # fmt: skip
            if value is not None:
                raise UsageError(f"--quarantine and {option} exclude each other", advice=advice)

    def _check_known(self) -> None:
        """Refuse what says which files to read, and how."""
        if self.state is None:
            raise UsageError("--known asks what the state folder remembers, and --no-state has none")
        for option, value in (
            ("--files-from", self.files_from),
            ("--inventory", self.inventory),
            ("--shard", self.shard),
            ("--cluster", self.cluster),
            ("--time-budget", self.time_budget),
            ("--reread", self.reread or None),
            ("--exclude", self.exclude or None),
            ("--ignore-file", self.ignore_file),
        ):
            if value is not None:
                raise UsageError(
                    f"--known and {option} exclude each other",
                    advice="Name targets to keep to a part of what is known.",
                )


def _check_endpoint(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--endpoint is no URL", advice="Write http:// or https:// and a host.")
    if "@" in parts.netloc or parts.query:
        # Not shown, since what stands there may be a password.
        raise UsageError(
            "--endpoint must hold neither a user nor a query",
            advice="Give credentials by the provider's own variables or files.",
        )


def default_state() -> Path:
    """The state folder where none is named: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/hashscan")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "hashscan"


def default_workers() -> int:
    """As many workers as this process may use processors."""
    return len(os.sched_getaffinity(0))


def parse_size(text: str) -> int:
    """A size in bytes from digits with an optional suffix K, M, G or T (powers of 1024).

    Raises:
        UsageError: it is none.
    """
    suffixes = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    digits, factor = text.strip(), 1
    if digits and digits[-1].upper() in suffixes:
        factor = suffixes[digits[-1].upper()]
        digits = digits[:-1]
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{text!r} is no size", advice="Write a number of bytes, such as 500M or 2G.")
    return int(digits) * factor


def parse_duration(text: str) -> float:
    """Seconds from a number with an optional suffix s, m, h or d.

    Raises:
        UsageError: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is no duration", advice="Write a number and s, m, h or d, such as 90m or 6h."
        )
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def parse_share(text: str) -> float:
    """A share from a percentage such as `1%` or `0.5%`.

    Raises:
        UsageError: it is none.
    """
    found = _PERCENTAGE.fullmatch(text.strip())
    if found is None or not 0 <= float(found[1]) <= 100:
        raise UsageError(f"{text!r} is no share", advice="Write a percentage, such as 1%.")
    return float(found[1]) / 100


def parse_shard(text: str) -> Shard:
    """A part of a sweep from `3/16`.

    Raises:
        UsageError: it is none.
    """
    found = _SHARD.fullmatch(text.strip())
    if found is not None and 1 <= int(found[1]) <= int(found[2]):
        return Shard(int(found[1]), int(found[2]))
    raise UsageError(
        f"{text!r} is no shard", advice="Write which and of how many, such as 3/16; the first is 1."
    )


def parse_until(text: str) -> datetime:
    """The end of something from a day, which counts to its end in UTC, or from a time as RFC 3339 has it.

    Returns:
        The first moment that is no longer within; aware.

    Raises:
        UsageError: it is neither.
    """
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # Of the right form, but no such day or time.
    raise UsageError(
        f"{text!r} is no day and no time",
        advice="Write a day such as 2027-01-31, or a time with its zone such as 2027-01-31T18:00:00Z.",
    )


def read_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    """Read the settings file.

    Args:
        path: the file that was named, or None for the variable's or the system's.
        environ: the environment.

    Returns:
        The file that was read, if there was one, and its tables.

    Raises:
        UsageError: a file that was named does not exist, or it is no TOML.
    """
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    chosen = named or SYSTEM_CONFIG
    try:
        with chosen.open("rb") as stream:
            return chosen, tomllib.load(stream)
    except FileNotFoundError:
        if named is None:
            return None, {}
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
