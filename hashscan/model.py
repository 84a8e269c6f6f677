"""The values that travel between rooms: frozen, without behaviour beyond their own fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple


class Verdict(StrEnum):
    """What a sweep says of one file; a file has exactly one, the first that applies."""

    MATCH = "match"
    HELD = "held"
    REVIEW = "review"
    UNREADABLE = "unreadable"
    UNDECODED = "undecoded"
    SKIPPED = "skipped"
    CLEAN = "clean"


class Action(StrEnum):
    """What is to be done about a finding; the words stand in reports."""

    REPORT = "report"
    """A match, to be told of and left where it is."""
    REVIEW = "review"
    """A person must have a look before anything else."""
    HELD = "held"
    """Withheld, and never acted on."""
    QUARANTINE = "quarantine"
    """A match that may be moved into quarantine."""


class Reason(StrEnum):
    """Why a file was not checked in full; the words stand in reports and are counted there."""

    # unreadable: the bytes could not be read and digested
    PERMISSION = "permission denied"
    IO_ERROR = "input/output error"
    VANISHED = "vanished"
    REPLACED = "replaced by something else"
    CHANGED = "changed while read"
    LEASED = "held by a lease that is not given back"
    WORKER_DIED = "worker died"
    CREDENTIALS = "no usable credentials"
    SLOW = "came too slowly"
    SPARSE = "sparse beyond the limit"
    FUSE = "on another user's FUSE"
    STUCK = "reading it does not end"
    # unreadable: named in a list of names, but nothing that can be read under this name
    OUTSIDE = "outside the targets"
    NO_FILE = "not a regular file"
    NO_NAME = "not a path or URL that can be opened"
    # undecoded: exact digests were checked, but not all that may be seen in it
    TRUNCATED = "truncated picture"
    BROKEN = "broken picture"
    TOO_LARGE = "over the pixel limit"
    MEMORY = "decoder over its memory limit"
    TIMEOUT = "decoder over its time limit"
    DECODER_DIED = "decoder died"
    STARVED = "decoder starved or killed"
    OVER_BUDGET = "owner has lost too many decoders"
    UNSUPPORTED = "picture format not supported"
    UNCONFIRMED = "decoders disagree"
    TOO_MANY = "more pictures in it than the limit"
    COMPRESSED = "stored compressed, shown decompressed"
    NO_ROOM = "no room in TMPDIR to decode it"
    # skipped: left out on purpose
    EXCLUDED = "excluded"
    OVER_SIZE = "over the size limit"
    OWN = "being written by this sweep"
    ARCHIVED = "in a storage class that can't be read"


class FolderReason(StrEnum):
    """Why a folder could not be entered."""

    PERMISSION = "permission denied"
    IO_ERROR = "input/output error"
    VANISHED = "vanished"
    REPLACED = "replaced by something else"
    LOOP = "mounted beneath itself"
    FUSE = "on another user's FUSE"


class CtimeTrust(IntEnum):
    """How far an unchanged ctime shows that a file's content has not changed since it was read."""

    FILESYSTEM = 0
    """Not at all: the filesystem's type is not proven to change it with the content."""
    WRITER = 1
    """Not at all: somebody had the file open for writing, or mapped writable, when it was read."""
    ON_TRUST = 2
    """As far as the operator says of the filesystem's type."""
    UNPROVEN = 3
    """Probably: it could not be asked whether somebody had."""
    PROVEN = 4
    """It does."""


class TrustState(StrEnum):
    """How far a hash list can be relied on."""

    FRESH = "fresh"
    STALE = "stale"
    UNVERIFIABLE = "unverifiable"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    """Its files may be as they should be: this user may not read them, or memory or descriptors ran out."""
    LOCAL = "local"
    MISSING = "missing"


class Weak(StrEnum):
    """On whose word nothing is moved unless the settings say so."""

    LOCAL = "local"
    """A list that was imported here and that nobody signed."""
    STALE = "stale"
    """A signed list past its expiry."""
    TEST = "test"
    """An entry that is there for tests, whatever its list."""


USABLE_STATES = frozenset({TrustState.FRESH, TrustState.STALE, TrustState.LOCAL})

Metric = Literal["exact", "hamming", "none"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What lists and hashing must agree on about one hash algorithm."""

    name: str
    """The field's own name in lower case, as it stands in lists and reports."""

    bits: int
    """Length of a digest in bits; always a multiple of eight."""

    metric: Metric
    """How two digests are compared; entries of metric none are only kept and counted."""

    of_picture: bool
    """True when the digest is of the decoded picture, False when it is of the bytes."""

    threshold: int = 0
    """Largest distance at which an entry matches."""

    review_only: bool = False
    """True for algorithms too weak to accuse a file by themselves."""

    min_quality: int = 0
    """Digests of lower quality (0 to 100) are not matched, only counted."""

    version: int = 1
    """Raised whenever hashscan computes another digest of the same content; kept ones are then of no use."""

    @property
    def size(self) -> int:
        """Length of a digest in bytes."""
        return self.bits // 8

    @property
    def matched(self) -> bool:
        """True when sweeps compute it and ask lists for it."""
        return self.metric != "none"


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("md5", 128, "exact", of_picture=False),
        Algorithm("sha1", 160, "exact", of_picture=False),
        Algorithm("sha256", 256, "exact", of_picture=False),
        Algorithm("sha512", 512, "exact", of_picture=False),
        # Not made to withstand an attacker who builds collisions, so it only asks for a look.
        Algorithm("xxh3_128", 128, "exact", of_picture=False, review_only=True),
        # 31 of 256 bits is the distance the authors of PDQ recommend; a picture of quality
        # under 50 has too little detail to be told apart from others.
        Algorithm("pdq", 256, "hamming", of_picture=True, threshold=31, min_quality=50),
        Algorithm("phash", 64, "hamming", of_picture=True, threshold=4, review_only=True),
        Algorithm("dhash", 64, "hamming", of_picture=True, threshold=4, review_only=True),
        Algorithm("ahash", 64, "hamming", of_picture=True, threshold=2, review_only=True),
        Algorithm("whash", 64, "hamming", of_picture=True, threshold=2, review_only=True),
        # Its authors license it to few; lists are full of it.
        Algorithm("photodna", 1152, "none", of_picture=True),
    )
}
"""Every algorithm that a list may have entries of, by name."""

COMPUTED: tuple[str, ...] = tuple(name for name, algorithm in ALGORITHMS.items() if algorithm.matched)
"""The algorithms that hashscan can compute."""

ALWAYS_COMPUTED: tuple[str, ...] = ("md5", "sha1", "sha256", "pdq")
"""Digests are kept while lists change, so these are computed whether or not a list asks."""


CATEGORIES: tuple[str, ...] = ("baseline", "A1", "A2", "B1", "B2", "other", "known-good", "test")
"""The one vocabulary of categories that list formats are mapped into."""

ACTING_CATEGORIES = frozenset({"baseline", "A1", "A2", "B1", "B2", "test"})
"""An entry of these makes a match; `other` is for review and `known-good` accuses nobody."""

TEST_CATEGORY = "test"
KNOWN_GOOD_CATEGORY = "known-good"

ENTRY_ID_MAX = 64
"""Longest entry id in bytes; ids are printable ASCII."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a hash list."""

    id: str
    algorithm: str
    value: bytes
    category: str


@dataclass(frozen=True, slots=True)
class ListInfo:
    """What a report says of a hash list."""

    name: str
    state: TrustState
    version: int = 0
    entries: int = 0
    by_algorithm: tuple[tuple[str, int], ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[tuple[str, str, int], ...] = ()
    """Active entries by algorithm and category; what there are none of is left out."""
    key_ids: tuple[str, ...] = ()
    fingerprint: str = ""
    """Tells all that is in it from any other content, and nothing of single entries; empty where unknown."""
    expires: str | None = None
    """Earliest expiry of the list's signed metadata, RFC 3339."""
    problem: str | None = None
    """For lists that can't be used or should be looked at: what is wrong and what to do."""

    @property
    def accuses(self) -> bool:
        """Whether anything can be found by it.

        Not by a list of known-good entries: what else it has are the test picture's, as every signed list.
        """
        return KNOWN_GOOD_CATEGORY not in self.categories or bool(
            set(self.categories) - {KNOWN_GOOD_CATEGORY, TEST_CATEGORY}
        )


@dataclass(frozen=True, slots=True)
class ExceptedEntry:
    """One entry of a hash list whose matches this server withholds for a time."""

    list_name: str
    entry_id: str
    algorithm: str
    category: str
    """As it was when the entry was excepted; an owner may change it without ending the exception."""
    fingerprint: str
    """Of the entry's value; another value under the same id is another entry, and not excepted."""
    reason: str
    """In the words of whoever excepted it: one printable line."""
    until: str
    """First moment at which it applies no more; UTC in whole seconds, RFC 3339."""
    by: str
    """The user who excepted it."""
    since: str
    """When; in the form of `until`."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One row of the policy table: which matches it is for, and what is to be done about them.

    A condition that is empty or None asks nothing; of several values, one must fit.
    """

    number: int
    """Its place in the table, from 1 on."""
    action: Action
    reason: str = ""
    """In the words of whoever wrote it: one printable line."""
    categories: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    distance: int | None = None
    """Bits at most."""
    lists: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Patterns over whole paths and URLs, in the language of `sources.patterns`."""
    owners: tuple[int, ...] = ()
    """Numbers of users; an object has none."""


@dataclass(frozen=True, slots=True)
class AcceptedMatch:
    """What one entry says of one content, accepted for a time by whoever looked into it."""

    list_name: str
    entry_id: str
    sha256: str
    """Of the content, in hex."""
    reason: str
    """In the words of whoever accepted it: one printable line."""
    until: str
    """First moment at which it is accepted no more; UTC in whole seconds, RFC 3339."""
    by: str
    """The user who accepted it."""
    since: str
    """When; in the form of `until`."""


@dataclass(frozen=True, slots=True)
class CustomerRule:
    """Which files and objects are whose; the first that applies says it.

    Of `paths` and `owners`, where both are given, both must apply.
    """

    origin: str
    """Where it stands, in words for people."""
    name: str = "{customer}"
    """The customer's: in it, `{customer}` stands for the part of a path so called, and `{user}` for the name
    of the file's user. Empty for what is no customer's."""
    paths: tuple[str, ...] = ()
    """Whole paths and URLs, of files or of the folders they lie in, with the part that names the customer:
    `/home/{customer}/`."""
    owners: tuple[tuple[int, int], ...] = ()
    """First and last numbers of users; an object has none."""


@dataclass(frozen=True, slots=True)
class SiteRule:
    """Where files are seen by the world; what a name in braces stands for is the same on both sides."""

    origin: str
    """Where it stands, in words for people."""
    url: str
    """Of a folder: `https://{customer}.example/`."""
    path: str
    """Path of the folder, or URL of a bucket and prefix, that is seen there."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who tells others of what was found."""

    organisation: str
    email: str
    """Where answers are to go."""
    domain: str = ""
    name: str = ""
    """Of the person to talk to."""
    phone: str = ""
    country: str = ""
    """Two letters of ISO 3166."""


class FileStat(NamedTuple):
    """What fstat says of a file, as far as it identifies the content.

    A named tuple, since a sweep makes several for every file, and a frozen dataclass takes thrice as long.
    """

    device: int
    inode: int
    size: int
    """Bytes."""
    mtime_ns: int
    ctime_ns: int
    links: int
    uid: int

    @property
    def of_object(self) -> bool:
        """Whether it is no file but an object, of which only size and mtime say anything.

        Its uid is then a number that stands for the container.
        """
        return not (self.device or self.inode)


class Item(NamedTuple):
    """One file of a batch: its name in the folder and what it looked like when listed.

    A named tuple for the same reason as `FileStat`.
    """

    name: bytes
    stat: FileStat
    etag: str = ""
    """For objects: what the store says identifies the content; never taken for a digest."""
    version: str = ""
    """For objects of a versioned bucket: which version."""
    hidden: str = ""
    """For signed web addresses: the query it takes to read the object. It is a credential and never shown."""

    def __repr__(self) -> str:
        return f"Item({self.name!r}, {self.stat!r}, {self.etag!r}, {self.version!r})"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach what is not on this machine.

    It travels to other processes and machines, so it holds no credentials; each process finds those by the
    provider's own chain.
    """

    endpoint: str | None = None
    """URL of the service, where it is not the provider's own."""
    anonymous: bool = False
    """Ask without credentials."""
    in_flight: int = 32
    """Downloads at a time, in each worker."""
    memory_bytes: int = 64 << 20
    """What is downloaded and not yet digested, in each worker at most; what is larger goes to a file."""
    disk_bytes: int = 1 << 30
    """Of such files, what is fetched ahead in each worker at most; one that is larger comes alone."""


DIRECT = Access()
"""The providers' own addresses, and what else holds where nothing was said."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the equal parts that a sweep is divided into."""

    index: int
    """From 1 on."""
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of work: some files of one folder."""

    source: str
    """Registry name of the source that can open it."""
    target: bytes
    """The target as the administrator gave it, made absolute and with its links resolved."""
    folder: bytes
    """The folder beneath the target, without leading or trailing slash; empty for the target."""
    device: int
    inode: int
    """Identity of the folder when it was listed."""
    items: Sequence[Item]
    """Not to be changed."""
    defer: bool = False
    """Whether files that prove large or sparse are to be left unread and named in `BatchResult.deferred`."""
    max_sparse: int | None = None
    """Bytes of holes that a file of it may have, where that is less than the worker's setup allows."""


@dataclass(frozen=True, slots=True)
class Digest:
    """One digest of one file."""

    algorithm: str
    value: bytes
    quality: int | None = None
    """0 to 100, for algorithms that have the notion."""


@dataclass(frozen=True, slots=True)
class VariantDigest:
    """One digest of another picture than a file's first as it is stored."""

    variant: str
    """Which, in words: `crop 3`, `frame 17`."""
    digest: Digest


@dataclass(frozen=True, slots=True)
class Match:
    """One entry near one digest."""

    list_name: str
    entry_id: str
    algorithm: str
    category: str
    distance: int
    threshold: int
    """Largest distance at which an entry matches; one that is farther away is a near miss."""
    variant: str = "as stored"
    """Which rendering of the picture the digest was made from."""
    doubt: str = ""
    """Why likeness alone says little of this picture; empty where it doesn't."""
    excepted: ExceptedEntry | None = None
    """Set when this server withholds what the entry says."""
    withheld: str = ""
    """Why policy withholds it of this file; empty where it doesn't."""

    @property
    def near_miss(self) -> bool:
        """Whether it is near enough for a look only."""
        return self.distance > self.threshold


MATCHES_KEPT = 32
"""A list may hold thousands of copies of one hash; a finding names the closest."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the decoder said of a picture."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FileResult:
    """The verdict for one file, with everything a report may say of it."""

    name: bytes
    stat: FileStat
    verdict: Verdict
    reason: Reason | None = None
    """Set for unreadable, undecoded and skipped; also for a finding that was not checked in full."""
    detail: str = ""
    """Words for a person, such as the system's error message; never from the file's content."""
    because: str = ""
    """For findings: why policy came to this verdict, and to this action."""
    matches: tuple[Match, ...] = ()
    digests: tuple[Digest, ...] = ()
    """Only where they were asked for, and for findings."""
    picture: Picture | None = None
    low_quality: bool = False
    """True when the picture's PDQ was too poor to be matched."""
    only_test: bool = False
    """True for a finding that nothing but test entries speak for."""
    action: Action | None = None
    """For findings: what is to be done."""
    content: int | None = None
    """Number of its content in the sweep's state, where it is kept."""
    ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    """Where its content is kept: how far its ctime is to be trusted."""
    augmented: tuple[VariantDigest, ...] = ()
    """Of what is in the picture or could be made of it; only where asked for, to make a list."""
    format: str = ""
    """Where a picture was not decoded in full: the name of its format."""


class Kept(NamedTuple):
    """What reading a file gave: all that its verdict follows from, whatever the lists say."""

    exact: tuple[bytes, ...]
    """Digests of the bytes, in the order of the algorithms asked for."""
    kind: int
    """Place among the known picture formats of the one it has; -1 where it has none."""
    packed: tuple[bytes, bytes, bytes] | None
    """What its decoder said, checked and made small (see `scan.state.packing`); None where it had none."""
    confirmed: bool
    """Whether that was a fresh decoder, made to confirm what another had said."""
    ctime: CtimeTrust = CtimeTrust.PROVEN
    """How far the file's ctime is to be trusted; objects have none."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A worker's answer: one result for each item of the batch, in its order."""

    results: tuple[FileResult, ...]
    bytes_read: int = 0
    sandbox: SandboxLevel | None = None
    """The level the worker's decoders achieved, once one was needed."""
    kept: tuple[Kept | None, ...] = ()
    """For each item what to keep of it, if anything; empty where nothing is kept."""
    deferred: tuple[tuple[int, int], ...] = ()
    """Files that were left unread because they are large or sparse: position in the batch, size in bytes.
    Their results say `Reason.SPARSE` and are no verdicts."""
    hole_bytes: int = 0
    """Bytes of holes among those that were read."""


@dataclass(frozen=True, slots=True)
class SandboxLevel:
    """What holds a decoder; a field is False or 0 where the kernel or the rights were lacking."""

    mode: str
    """required, auto or off: what was asked for."""
    landlock: int = 0
    """ABI version of Landlock in force; 0 when none is."""
    seccomp: bool = False
    uid_dropped: bool = False
    capabilities_dropped: bool = False
    limits: bool = False

    @property
    def full(self) -> bool:
        """True when everything that shuts a decoder in is in force."""
        return self.landlock > 0 and self.seccomp and self.capabilities_dropped and self.limits

    @property
    def word(self) -> str:
        """The level in one word: full, partial or off."""
        if self.mode == "off":
            return "off"
        return "full" if self.full else "partial"
