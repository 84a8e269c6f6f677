"""The schema of report records: the types by which every reader validates them.

`records` makes records by this schema. Readers get them as JSON objects, so that keys of later versions are
kept; all keys below have the types below, and required keys are present. A record of an unknown type is
accepted if it has a path.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, field

from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.model import Doubt, HeldBy, TrustState
from hashscan.schema import NUMBER_MAX, Count, Natural, Text, validated
from hashscan.shortcomings import Shortcoming
from hashscan.timefmt import parse_zoned

SCHEMA = 1
"""Version of the schema; raised whenever a reader of the older could misunderstand the newer."""

SHARDS_MAX = 999_999
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 96
"""Limit for sizes, times and ids of a file: none is larger, and a much larger one does not fit a float."""

Version = Literal[1]
SandboxMode = Literal["off", "auto", "required"]
"""The modes, the weakest first."""
SandboxLevel = Literal["off", "partial", "full"]
"""The levels, the weakest first."""
SANDBOX_MODES: tuple[SandboxMode, ...] = get_args(SandboxMode)
SANDBOX_LEVELS: tuple[SandboxLevel, ...] = get_args(SandboxLevel)
Finding = Literal["match", "held", "review"]


class PathFields(Struct, kw_only=True):
    """A path or URL; with its bytes in base64 if they are not UTF-8. The system limits its length."""

    path: str
    path_b64: str = ""

    def __post_init__(self) -> None:
        try:
            self.path.encode()
            if self.path_b64:
                base64.b64decode(self.path_b64, validate=True)
        except ValueError:
            raise ValueError("path is not UTF-8, or path_b64 is not base64") from None


class MatchFields(Struct, kw_only=True, gc=False):
    """A match or near match; its algorithm may be one that this version does not know."""

    list: Text
    entry: Text
    algorithm: Text
    category: Text
    distance: Count
    threshold: Count
    variant: Text = ""
    member: Text = ""
    of_video: bool = False
    scanned_share: Count = 0
    doubt: Doubt | UnsetType = UNSET
    withheld: str = ""
    excepted: ReasonFields | UnsetType = UNSET


class PictureFields(Struct, gc=False):
    """The format and size of a picture."""

    format: Text
    width: Count
    height: Count


class ReasonFields(Struct, gc=False):
    """The reason for which an entry is excepted, or a finding accepted, and until when."""

    reason: str
    until: str


class QuarantineFields(Struct, gc=False):
    """The outcome of moving a finding into quarantine."""

    outcome: str = ""
    item: str = ""
    detail: str = ""
    other_names: Count = 0
    place: PathFields | UnsetType = UNSET
    writers: list[str] = []
    no_note: str = ""


class PathRecord(PathFields, kw_only=True):
    """A record about a file, object or folder; subclasses require what their type always has."""

    schema: Version
    verdict: str = ""
    was: str = ""
    because: str = ""
    action: str = ""
    breaker: HeldBy | UnsetType = UNSET
    reason: str = ""
    detail: str = ""
    customer: str = ""
    version: str = ""
    endpoint: str = ""
    etag: str = ""
    first: str = ""
    last: str = ""
    size: Natural = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    uid: Natural = 0
    links: Natural = 0
    device: int = 0
    inode: int = 0
    matches: list[MatchFields] = []
    picture: PictureFields | UnsetType = UNSET
    accepted: ReasonFields | UnsetType = UNSET
    quarantine: QuarantineFields | UnsetType = UNSET
    digests: dict[str, str] = {}
    quality: dict[Text, Count] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = (self.mtime_ns, self.ctime_ns, self.size, self.inode, self.device, self.uid, self.links)
        if max(numbers) > _LARGEST or min(numbers) < -_LARGEST:
            names = ("mtime_ns", "ctime_ns", "size", "inode", "device", "uid", "links")
            large = next(name for name, n in zip(names, numbers, strict=True) if abs(n) > _LARGEST)
            raise ValueError(f"{large}: the number is larger than any of a file")
        if "sha256" in self.digests and not _SHA256.fullmatch(self.digests["sha256"]):
            raise ValueError("sha256 is not 64 hexadecimal digits in lower case")


class FindingRecord(PathRecord, kw_only=True, tag_field="type", tag="finding"):
    """A file with a match or near match."""

    verdict: Finding
    because: str


class FolderRecord(PathRecord, kw_only=True, tag_field="type", tag="folder"):
    """A folder that could not be entered."""

    reason: str


class StandingRecord(PathRecord, kw_only=True, tag_field="type", tag="standing"):
    """An earlier finding that is still open, and that this scan did not reach."""

    was: Finding


class SilentChangeRecord(PathRecord, kw_only=True, tag_field="type", tag="silent-change"):
    """A file that seemed unchanged, was read again, and has another content than before."""

    before: dict[str, str] = {}


class DigestRecord(Struct, kw_only=True):
    """A digest that was asked for; in no report."""

    type: Literal["finding", "unreadable", "clean"]
    schema: Version
    digest: str
    verdict: Literal["match", "held", "review", "unreadable", "clean"]
    because: str = ""
    action: str = ""
    matches: list[MatchFields] = []


class ListFields(Struct, kw_only=True):
    """A hash list in the state in which the scan found it."""

    name: Text
    state: TrustState
    version: Count
    entries: Count
    fingerprint: Text = ""
    problem: str = ""
    expires: Text = ""
    made: Text = ""
    categories: list[Text] = []
    key_ids: list[Text] = []
    source: Text = ""
    by_algorithm: dict[Text, Count] = {}

    def __post_init__(self) -> None:
        if not LIST_NAME.fullmatch(self.name):
            raise ValueError("no list can have this name")


class ExceptedFields(Struct, gc=False):
    """An excepted entry, whose matches are withheld."""

    list: Text
    entry: Text
    algorithm: Text
    category: Text
    reason: Text
    until: Text
    by: Text
    since: Text
    shards: tuple[Count, ...] = ()


class ExceptedContentFields(Struct, gc=False):
    """A content for which all matches are withheld; its digest is not reported."""

    reason: Text
    until: Text
    by: Text
    since: Text
    shards: tuple[Count, ...] = ()


class ShardFields(Struct, gc=False):
    """The part of a scan that a report is of."""

    index: Annotated[int, Meta(ge=1, le=SHARDS_MAX)]
    count: Annotated[int, Meta(ge=1, le=SHARDS_MAX)]

    def __post_init__(self) -> None:
        if self.index > self.count:
            raise ValueError(f"there is no shard {self.index} of {self.count}")


class DistanceFields(Struct, gc=False):
    """The squared distances of PhotoDNA for one list."""

    list: Text
    review: Count
    match: Count | UnsetType = UNSET


class BreakerFields(Struct, gc=False):
    """The limits of the circuit breaker."""

    owners: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    files: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]


class SandboxFields(Struct, kw_only=True, gc=False):
    """The sandbox around the decoders that was asked for."""

    mode: SandboxMode


class SandboxLevelFields(SandboxFields, kw_only=True, gc=False):
    """The sandbox that the decoders had; it is known when the scan has ended."""

    level: SandboxLevel
    landlock: Count = 0
    seccomp: bool = False
    uid_dropped: bool = False
    capabilities_dropped: bool = False
    limits: bool = False


class MergedPart(Struct, kw_only=True, gc=False):
    """The scan of one shard in a merged report."""

    uuid: Text
    host: Text = ""
    shard: Count = 0
    version: Text = ""
    started: Text = ""


class MergedFields(Struct, kw_only=True):
    """The scans whose reports were merged."""

    parts: list[MergedPart] = field(name="from", default_factory=list)
    shards: Count = 0


class InventoryFields(PathFields, kw_only=True):
    """The manifest of the inventory that lists the targets."""

    created: str


class BaselineFields(Struct, gc=False):
    """The matches that are accepted, those whose acceptance has ended, and a fingerprint of all."""

    accepted: Count
    expired: Count
    fingerprint: Text


class NodeFields(Struct, gc=False):
    """The workers of one machine of a cluster."""

    host: str
    version: str
    workers: Count


class RefusedNode(Struct, gc=False):
    """A machine of a cluster that was not used."""

    host: str
    why: str


class ClusterFields(Struct):
    """The scheduler and the nodes of a cluster."""

    scheduler: str
    nodes: list[NodeFields] = []
    refused: list[RefusedNode] = []
    workers_lost: Count = 0


class ScanRecord(Struct, kw_only=True, tag_field="type", tag="scan"):
    """The first record: arguments, lists and settings of the scan."""

    schema: Version
    uuid: Text
    version: Text
    host: Text
    started: Text
    targets: list[PathFields]
    lists: list[ListFields]
    excepted: list[ExceptedFields]
    excepted_contents: list[ExceptedContentFields] = []
    breaker: BreakerFields
    sandbox: SandboxFields
    fail_on: Literal["match", "review", "never"]
    strict: bool
    known: bool = False
    shard: ShardFields | UnsetType = UNSET
    merged: MergedFields | UnsetType = UNSET
    files_from: PathFields | UnsetType = UNSET
    inventory: InventoryFields | UnsetType = UNSET
    baseline: BaselineFields | UnsetType = UNSET
    cluster: ClusterFields | UnsetType = UNSET
    algorithms: list[Text] = []
    thresholds: dict[str, Count] = {}
    review_threshold: Count = 0
    photodna: list[DistanceFields] = []
    variants: list[Text] = []
    selection: dict[str, Any] = {}
    policy: dict[str, Any] = {}

    def __post_init__(self) -> None:
        # Scans write these values; none comes from a file name.
        if not (self.uuid.isprintable() and self.host.isprintable() and self.version.isprintable()):
            raise ValueError("uuid, host or version is not printable")
        if parse_zoned(self.started) is None:
            raise ValueError("started is not a time with a zone")


class PassedFields(Struct, gc=False):
    """The counts of what is not a file."""

    folders: Count
    links: Count
    specials: Count
    excluded_folders: Count


class LimitedFields(Struct, gc=False):
    """A list because of which matches are held until a person has accepted it."""

    list: Text
    code: HeldBy
    held: Count


class MovedFields(Struct, gc=False):
    """The counts of findings that were to be moved into quarantine, and the checkpoint of its log."""

    moved: Count = 0
    raced: Count = 0
    held: Count = 0
    changed: Count = 0
    gone: Count = 0
    refused: Count = 0
    head: Text = ""
    items: Count = 0
    trouble: str = ""
    limited: list[LimitedFields] = []


class TrippedEntry(Struct, gc=False):
    """An entry that matches too many files."""

    list: Text
    entry: Text


class TrippedFields(Struct):
    """The entries that match too many files: their number, and the first of them."""

    entries: Count
    first: list[TrippedEntry] = []
    held: Count = 0


class ChecksumFields(Struct):
    """Numbers of objects that were compared with the checksums that their stores keep, and of others."""

    compared: Count
    not_compared: Count


class RecognitionFields(Struct):
    """Numbers of files that no signature tells, by how they were recognised.

    `none` has those that were proven to show nothing, by the kind of proof.
    """

    none: dict[Text, Count]
    probed: Count
    opened: Count
    undecoded: Count
    named: Count
    by_signatures: Count


class SummaryRecord(Struct, kw_only=True, tag_field="type", tag="summary"):
    """The last record: counts by verdict and reason, and the reasons why the scan is incomplete."""

    schema: Version
    verdicts: dict[Text, Count]
    reasons: dict[Text, dict[Text, Count]]
    folders_not_entered: dict[Text, Count]
    passed: PassedFields
    empty_targets: Count
    test_findings: Count
    low_quality_pictures: Count
    bytes: Count
    unchanged: Count
    incomplete: list[Shortcoming]
    only_test_entries: bool
    exit_code: Count
    files: Count = 0
    accepted: dict[Text, Count] = {}
    ctime: dict[Text, Count] = {}
    checksums: ChecksumFields | UnsetType = UNSET
    recognition: RecognitionFields | UnsetType = UNSET
    seconds: Annotated[float, Meta(ge=-(2.0**62), le=2.0**62)] = 0.0
    ended: Text | UnsetType = UNSET
    listed: Count | UnsetType = UNSET
    listed_sum: Text = ""
    sandbox: SandboxLevelFields | UnsetType = UNSET
    quarantine: MovedFields | UnsetType = UNSET
    breaker: TrippedFields | UnsetType = UNSET
    withdrawn: list[Any] = []
    cluster: ClusterFields | UnsetType = UNSET
    public_decoders: list[Text] = []
    without_c: bool = False
    merged: Text = ""

    def __post_init__(self) -> None:
        if self.ended is not UNSET and parse_zoned(self.ended) is None:
            raise ValueError("ended is not a time with a zone")
        if self.listed is not UNSET and not self.listed_sum:
            raise ValueError("listed_sum is missing")


NO_FINDING = ("unreadable", "undecoded", "skipped", "clean")
"""The types of records of files without a match; each has the verdict of its name."""

_SHAPES: dict[str, type[Struct]] = {
    "scan": ScanRecord,
    "summary": SummaryRecord,
    "finding": FindingRecord,
    "folder": FolderRecord,
    "standing": StandingRecord,
    **{
        name: defstruct(
            name, [("verdict", Literal[name])], bases=(PathRecord,), kw_only=True, tag_field="type", tag=name
        )
        for name in NO_FINDING
    },
    "silent-change": SilentChangeRecord,
}
RECORDS = tuple(_SHAPES.values())
"""The types of all records of a report."""
FILE_RECORDS = (FindingRecord, *(_SHAPES[name] for name in NO_FINDING))
"""The types of the records of files."""
CHECK_RECORDS = (*FILE_RECORDS, DigestRecord)
"""The types of the records of files and digests that are checked without a scan."""


def require_record(record: dict[str, Any]) -> None:
    """Check one record; its `type` must be a text."""
    validated(record, _SHAPES.get(record["type"], PathRecord))
