"""The settings of a scan, as one validated dataclass."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from hashscan.errors import UsageError
from hashscan.model import DIRECT, Access, CustomerRule, MemberLimits, Reporter, Shard, SiteRule
from hashscan.settings.matching import (
    DEFAULT_BREAKER_LIMITS,
    DEFAULT_MATCHING,
    NO_RULES,
    BreakerLimits,
    DecodingLimits,
    MatchingSettings,
    PolicySettings,
    QuarantineSettings,
)
from hashscan.settings.option import Checked, setting
from hashscan.settings.resources import NO_LIMITS, ClusterSettings, PrioritySettings
from hashscan.settings.values import MAX_SPARSE, require_positive
from hashscan.state_dir import StateDir

FailOn = Literal["match", "review", "never"]

DEFAULT_REREAD = 0.005
"""The default share of unchanged files that a scan reads again."""


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One report that was asked for."""

    format: str
    path: Path | None
    """The report's file; None is standard output."""


@dataclass(frozen=True, slots=True)
class ScanSettings(Checked):
    """All settings of `hashscan scan`."""

    targets: tuple[bytes, ...]
    """The targets; may be empty if `files_from` or `inventory` name the files."""
    lists: tuple[str, ...] | None
    """The names of the lists; None is every list of the state folder."""
    reports: tuple[ReportTarget, ...]
    state: StateDir | None
    """The state folder; None stores nothing."""
    workers: int
    decoding: DecodingLimits
    matching: MatchingSettings = DEFAULT_MATCHING
    policy: PolicySettings = NO_RULES
    containers: MemberLimits | None = None
    """The limits within which containers are opened; None opens none."""
    access: Access = DIRECT
    cluster: ClusterSettings | None = None
    """The cluster; None for this machine."""
    neighbour: PrioritySettings = NO_LIMITS
    exclude: tuple[str, ...] = ()
    ignore_file: Path | None = setting(
        "--ignore-file", None, "File of patterns as for --exclude, one on each line.", Path
    )
    one_file_system: bool = setting(
        "--one-file-system", False, "Don't enter other mounted file systems.", bool
    )
    all_versions: bool = setting("--all-versions", False, "Scan every stored version of objects.", bool)
    max_file_size: int | None = setting(
        "--max-file-size", None, "Skip larger files; they are counted as skipped.", "size"
    )
    max_sparse: int = setting(
        "--max-sparse",
        MAX_SPARSE,
        "Read files with at most this many bytes of holes, and sixteen times that for each owner; other "
        "files are unreadable.",
        "size",
    )
    fail_on: FailOn = "match"
    strict: bool = setting(
        "--strict", False, "Pictures that can't be decoded make the scan incomplete.", bool
    )
    with_digests: bool = setting(
        "--with-digests", False, "Write the digests of findings into the report.", bool
    )
    shard: Shard | None = None
    """The part of the scan to do; None is all of it."""
    files_from: Path | None = None
    """A list of the files to scan, beneath the targets if there are any; `-` is standard input."""
    time_budget: float | None = setting(
        "--time-budget",
        None,
        "End after this time, such as 6h, with exit code 3; the next scan continues there.",
        "time",
    )
    accept_shrink: bool = setting(
        "--accept-shrink",
        False,
        "Accept that files are gone if a target has lost more than a fifth of its files, and at least ten.",
        bool,
    )
    accept_cleared: bool = setting(
        "--accept-cleared",
        False,
        "Accept a clean verdict although a list that matched the file is not in use, or is used with "
        "stricter settings than then: end its finding and its case.",
        bool,
    )
    weak_change_check: bool = setting(
        "--weak-change-check",
        False,
        "Treat files as unchanged although their ctime has changed, for filesystems that change ctimes on "
        "their own. DANGER: the owner of a file can then replace its content undetected, because the mtime "
        "can be set.",
        bool,
    )
    trust_ctime: tuple[str, ...] = ()
    """Filesystem types whose ctimes are trusted without proof, by their names in `ctime`."""
    reread: float = 0.0
    """The share of unchanged files that is read again, 0 to 1."""
    show_requests: bool = setting(
        "--show-requests",
        False,
        "Print each request to a matching service (its key left out), to see what leaves this machine.",
        bool,
    )
    known: bool = setting(
        "--known",
        False,
        "Read no file; match the digests that earlier scans have cached, after `lists pull`.",
        bool,
    )
    inventory: bytes | None = None
    """The path or URL of the manifest of an S3 inventory, which lists the objects of a bucket."""
    breaker: BreakerLimits = DEFAULT_BREAKER_LIMITS
    quarantine: QuarantineSettings | None = None
    """The quarantine; None moves nothing."""
    quarantine_states: tuple[StateDir, ...] = ()
    """Other state folders; files in their quarantines are left out of the scan."""
    baseline: Path | None = setting(
        "--baseline",
        None,
        "Accepted findings, in a file written by `hashscan report accept`. They are still reported, but "
        "don't make the exit code 1 on their own.",
        Path,
        "FILE",
    )
    customers: tuple[CustomerRule, ...] = ()
    """Rules that map files to customers; the first rule that applies counts."""
    sites: tuple[SiteRule, ...] = ()
    """Rules that map files to public URLs."""
    reporter: Reporter | None = None
    """The person or organisation that reports findings to others."""
    push: bool = setting(
        "--push",
        False,
        "Send the report to the hub when the scan has ended, and those that wait for that.",
        bool,
    )

    def __post_init__(self) -> None:
        if self.inventory is not None and self.files_from is not None:
            raise UsageError("--inventory and --files-from exclude each other")
        if self.known:
            self._check_known()
        if self.quarantine is not None:
            self._check_quarantine()
        if not self.targets and self.files_from is None and self.inventory is None and not self.known:
            raise UsageError(
                "no target given",
                advice="Name a folder, file or bucket, or set `targets` in the table [scan] of the settings "
                'file, such as targets = ["/var/www"].',
            )
        require_positive("--workers", self.workers)
        require_positive("--concurrency", self.access.concurrency)
        if self.access.endpoint is not None:
            _check_endpoint(self.access.endpoint)
        Checked.__post_init__(self)
        if self.cluster is not None and self.neighbour.rate_limited:
            raise UsageError(
                "with --cluster, other machines read the files",
                advice="Give --limit-rate, --limit-files and --max-load to each `hashscan worker`.",
            )
        self._check_reports()

    def _check_reports(self) -> None:
        """Reject reports that would overwrite each other."""
        if sum(report.path is None for report in self.reports) > 1:
            raise UsageError("two reports can't both go to standard output")
        paths = [report.path for report in self.reports if report.path is not None]
        if len({os.path.abspath(path) for path in paths}) < len(paths):
            raise UsageError("two reports can't go to the same file")

    def _check_quarantine(self) -> None:
        """Reject options that scan only a part, store no record, or trust content that may have changed."""
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
            ("--baseline", self.baseline, "Accepted findings are not moved: scan without one of them, or "
             "except the entries with `hashscan lists except`."),
            ("--known", self.known or None, "Move what it finds by `hashscan quarantine add REPORT`, which "
             "checks the files first."),
            ("--weak-change-check", self.weak_change_check or None, "A moved file must still have the "
             "content that was found: scan once without --weak-change-check."),
        ):  # fmt: skip
            if value is not None:
                raise UsageError(f"--quarantine and {option} exclude each other", advice=advice)

    def _check_known(self) -> None:
        """Reject options that say which files to read, and how."""
        if self.state is None:
            raise UsageError("--known reads the state folder, and --no-state has none")
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
        # Not shown, because it may contain a password.
        raise UsageError(
            "--endpoint must hold neither a user nor a query",
            advice="Give credentials by the provider's own variables or files.",
        )
