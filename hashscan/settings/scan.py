"""What a sweep was told to do, as one checked dataclass."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from hashscan.errors import UsageError
from hashscan.model import DIRECT, Access, CustomerRule, Reporter, Shard, SiteRule
from hashscan.settings.cluster import ClusterSettings
from hashscan.settings.pictures import ALL_VARIANTS, DecodingLimits, Matching
from hashscan.settings.policy import NO_RULES, USUAL_LIMITS, BreakerLimits, PolicySettings, QuarantineSettings
from hashscan.settings.priority import NO_RESTRAINT, NeighbourSettings
from hashscan.settings.values import MAX_SPARSE, require_positive

FailOn = Literal["match", "review", "never"]

DEFAULT_REREAD = 0.005
"""Share of the unchanged files that a sweep reads all the same, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One report that was asked for."""

    format: str
    path: Path | None
    """None is standard output."""


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
    matching: Matching = ALL_VARIANTS
    policy: PolicySettings = NO_RULES
    access: Access = DIRECT
    cluster: ClusterSettings | None = None
    """None has the work done on this machine."""
    neighbour: NeighbourSettings = NO_RESTRAINT
    exclude: tuple[str, ...] = ()
    ignore_file: Path | None = None
    one_file_system: bool = False
    all_versions: bool = False
    max_file_size: int | None = None
    max_sparse: int = MAX_SPARSE
    """Bytes of holes up to which a file is read."""
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
    accept_cleared: bool = False
    """Believe that a file is clean although a list that accused it is not in use, or is asked less."""
    weak_change_check: bool = False
    """Believe that a file is unchanged although its ctime has changed."""
    trust_ctime: tuple[str, ...] = ()
    """Filesystem types whose ctimes are believed all the same, by their names in `sources.ctime`."""
    reread: float = 0.0
    """Share of the unchanged files that is read all the same, 0 to 1."""
    known: bool = False
    """Look at no file; match what earlier sweeps have read."""
    inventory: bytes | None = None
    """Path or URL of the manifest of an S3 inventory, which says what is in a bucket."""
    breaker: BreakerLimits = USUAL_LIMITS
    quarantine: QuarantineSettings | None = None
    """None moves nothing."""
    quarantine_states: tuple[Path, ...] = ()
    """Other state folders, what whose quarantines keep is left out."""
    baseline: Path | None = None
    """File of findings that are accepted, and so don't make the sweep fail."""
    customers: tuple[CustomerRule, ...] = ()
    """Whose files are; the first rule that applies says it."""
    sites: tuple[SiteRule, ...] = ()
    """Where the world sees them."""
    reporter: Reporter | None = None
    """Who tells others of what is found."""

    def __post_init__(self) -> None:
        if self.inventory is not None and self.files_from is not None:
            raise UsageError("--inventory and --files-from exclude each other")
        if self.known:
            self._check_known()
        if self.quarantine is not None:
            self._check_quarantine()
        if not self.targets and self.files_from is None and self.inventory is None and not self.known:
            raise UsageError("no target given", advice="Name at least one folder or file.")
        require_positive("--workers", self.workers)
        require_positive("--in-flight", self.access.in_flight)
        if self.access.endpoint is not None:
            _check_endpoint(self.access.endpoint)
        if self.time_budget is not None:
            require_positive("--time-budget", self.time_budget)
        if self.max_file_size is not None:
            require_positive("--max-file-size", self.max_file_size)
        require_positive("--max-sparse", self.max_sparse)
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
            ("--baseline", self.baseline, "What is accepted is not moved: except the entries with `hashscan "
             "lists except`, or sweep without the former."),
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
            ("--accept-cleared", self.accept_cleared or None),
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
