"""Define the values that travel between packages: frozen, without behaviour beyond their own fields."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple

from msgspec import Struct

from hashscan.plugins import Algorithm, with_algorithms


class Verdict(StrEnum):
    """The result of a scan for one file; a file has exactly one verdict, the first that applies."""

    MATCH = "match"
    HELD = "held"
    REVIEW = "review"
    UNREADABLE = "unreadable"
    UNDECODED = "undecoded"
    SKIPPED = "skipped"
    CLEAN = "clean"


class Action(StrEnum):
    """The action for a finding; the values are written to reports."""

    REPORT = "report"
    """A match that is reported and left where it is."""
    REVIEW = "review"
    """A match that a person must review before anything else."""
    HELD = "held"
    """A match that is withheld, and never acted on."""
    QUARANTINE = "quarantine"
    """A match that may be moved into quarantine."""


class Reason(StrEnum):
    """The reason why a file was not checked in full; the values are written to reports and counted there."""

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
    CHECKSUM = "differs from its stored checksum"
    # unreadable: in a list of names, but nothing that can be read under this name
    OUTSIDE = "outside the targets"
    NO_FILE = "not a regular file"
    NO_NAME = "not a path or URL that can be opened"
    # undecoded: exact digests were checked, but not everything that a viewer may show
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
    HASH_FAILED = "hash library failed"
    PART_FAILED = "unexpected error in a part"
    CONTAINER = "container not opened"
    ENCRYPTED = "encrypted"
    METHOD = "compression method not supported"
    CONTAINER_BROKEN = "broken container"
    CONTAINER_MEMBER = "member over the limit of bytes"
    CONTAINER_BYTES = "container over the limit of bytes"
    CONTAINER_RATIO = "container over the limit of compression"
    CONTAINER_MEMBERS = "container over the limit of members"
    CONTAINER_DEPTH = "container over the limit of depth"
    COMPRESSED = "stored compressed, shown decompressed"
    PARTIAL = "a part of a larger file"
    NAMED = "named as something that viewers open, not recognised"
    AMBIGUOUS = "a form that programs read differently"
    NO_ROOM = "no room in TMPDIR to decode it"
    PENDING = "no answer from a matching service"
    # skipped: left out on purpose
    EXCLUDED = "excluded"
    OVER_SIZE = "over the size limit"
    OWN = "being written by this scan"
    ARCHIVED = "in a storage class that can't be read"


CONTAINER_REASONS = frozenset(
    {
        Reason.CONTAINER,
        Reason.ENCRYPTED,
        Reason.METHOD,
        Reason.CONTAINER_BROKEN,
        Reason.CONTAINER_MEMBER,
        Reason.CONTAINER_BYTES,
        Reason.CONTAINER_RATIO,
        Reason.CONTAINER_MEMBERS,
        Reason.CONTAINER_DEPTH,
    }
)
"""Reasons why a container was not opened, or not in full. Nearly every web space has such containers."""


class FolderReason(StrEnum):
    """The reason why a folder could not be entered."""

    PERMISSION = "permission denied"
    IO_ERROR = "input/output error"
    VANISHED = "vanished"
    REPLACED = "replaced by something else"
    LOOP = "mounted beneath itself"
    FUSE = "on another user's FUSE"


class CtimeTrust(IntEnum):
    """The evidence that an unchanged ctime gives for a file's content being unchanged since it was read."""

    FILESYSTEM = 0
    """None: the filesystem's type is not proven to change the ctime with the content."""
    WRITER = 1
    """None: some process had the file open for writing, or mapped writable, when it was read."""
    ON_TRUST = 2
    """As strong as the operator's option for the filesystem's type says."""
    UNPROVEN = 3
    """Probable: it could not be checked if some process had the file open for writing."""
    PROVEN = 4
    """Full: the content is unchanged."""


class TrustState(StrEnum):
    """The state of trust in a hash list."""

    FRESH = "fresh"
    STALE = "stale"
    UNVERIFIABLE = "unverifiable"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    """Not necessarily damaged: this user may not read its files, or memory or descriptors ran out."""
    LOCAL = "local"
    EXCHANGE = "exchange"
    """Pulled from an exchange in time: authenticated by TLS and credentials, but not signed."""
    STALE_EXCHANGE = "stale-exchange"
    """A list of an exchange whose last complete pull is too long ago."""
    SERVICE = "service"
    """A matching service, which is asked: nothing of its list is on this machine."""
    MISSING = "missing"

    @property
    def is_good(self) -> bool:
        """True if nothing has to be done about the list."""
        return self in {TrustState.FRESH, TrustState.LOCAL, TrustState.EXCHANGE, TrustState.SERVICE}

    @property
    def is_unsigned(self) -> bool:
        """True for a list on this machine that is not signed; its versions are counted on each machine."""
        return self in {TrustState.LOCAL, TrustState.EXCHANGE, TrustState.STALE_EXCHANGE}


class HeldBy(StrEnum):
    """The reasons for which the circuit breaker holds a match."""

    ENTRY = "entry"
    """Its entries match too many files."""
    UNACCEPTED = "unaccepted"
    """Nobody has accepted its lists, and as many files were moved because of them as may be."""
    GROWTH = "growth"
    """The new entries of its lists match far more files than the lists did before."""


class Doubt(StrEnum):
    """The reasons why a match is for review only, although it is near enough."""

    FEW_GREYS = "few-greys"
    """Most of the picture is of one brightness."""
    ROWS_AND_COLUMNS = "rows-and-columns"
    """The picture is made of rows and columns."""
    RESTORED = "restored"
    """The digest is of a picture that was rotated or enlarged here, to undo what may have been done to it."""
    SECTION = "section"
    """The digest is of a section of the picture."""
    PHOTODNA = "photodna"
    """PhotoDNA alone, and no setting lets it act."""
    PHOTODNA_VARIANT = "photodna-variant"
    """PhotoDNA of a picture that was turned, mirrored or trimmed."""
    SERVICE = "service"
    """A matching service has named the entry, and no setting lets it act."""
    SERVICE_UNCONFIRMED = "service-unconfirmed"
    """A matching service was asked with a digest that no second decoder has confirmed."""
    KNOWN_GOOD = "known-good"
    """A list has the content of the same member of a container as known-good."""


DOUBT_TEXTS = {
    Doubt.FEW_GREYS: "likeness says little of such a picture: most of it is of one brightness",
    Doubt.ROWS_AND_COLUMNS: "likeness says little of such a picture: it is made of rows and columns",
    Doubt.RESTORED: "the picture is like it only if it was cropped or rotated a little",
    Doubt.SECTION: "only a section of the picture is like it",
    Doubt.PHOTODNA: "PhotoDNA alone is for review of this list, as no [[photodna_distance]] lets it act",
    Doubt.PHOTODNA_VARIANT: "PhotoDNA of a picture that was turned, mirrored or trimmed is for review only",
    Doubt.SERVICE: "a service's answer",
    Doubt.SERVICE_UNCONFIRMED: "a service's answer, on a digest that no second decoder has confirmed",
    Doubt.KNOWN_GOOD: "a list has the content of the member as known-good",
}


class Weak(StrEnum):
    """Kinds of weak trust in lists and entries; they move nothing unless the settings allow it."""

    LOCAL = "local"
    """A list that was imported here, and is not signed."""
    STALE = "stale"
    """A signed list past its expiry."""
    EXCHANGE = "exchange"
    """A list of an exchange, which is not signed."""
    STALE_EXCHANGE = "stale-exchange"
    """A list of an exchange that was not pulled in time."""
    SERVICE = "service"
    """The answer of a matching service."""
    TEST = "test"
    """A test entry, of whatever list."""
    STAY_DOWN = "stay-down"
    """A picture that is like one that stays down, and belongs to another owner than the removed one."""


USABLE_STATES = frozenset(
    {
        TrustState.FRESH,
        TrustState.STALE,
        TrustState.LOCAL,
        TrustState.EXCHANGE,
        TrustState.STALE_EXCHANGE,
        TrustState.SERVICE,
    }
)

QUADRANTS = "pdq_quadrants"
"""Name of the hash of a picture's four quadrants, which finds copies that something lies over."""

_OWN_ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("md5", 128, "exact", of_picture=False),
        Algorithm("sha1", 160, "exact", of_picture=False),
        Algorithm("sha256", 256, "exact", of_picture=False),
        Algorithm("sha512", 512, "exact", of_picture=False),
        # Not designed to resist an attacker who builds collisions, so it only gives `review`.
        Algorithm("xxh3_128", 128, "exact", of_picture=False, review_only=True),
        # 31 of 256 bits is the distance the authors of PDQ recommend; a picture of quality under 50 has too
        # little detail to be distinguished from others.
        Algorithm("pdq", 256, "hamming", of_picture=True, threshold=31, min_quality=50),
        Algorithm("phash", 64, "hamming", of_picture=True, threshold=4, review_only=True),
        Algorithm("dhash", 64, "hamming", of_picture=True, threshold=4, review_only=True),
        Algorithm("ahash", 64, "hamming", of_picture=True, threshold=2, review_only=True),
        Algorithm("whash", 64, "hamming", of_picture=True, threshold=2, review_only=True),
        # PDQ of the four quadrants of a picture. Frames of one site, and memes of one template, share some.
        Algorithm(QUADRANTS, 1024, "quadrants", of_picture=True, threshold=31, review_only=True),
        # Its authors license it to few, and publish no threshold. This is a quarter of the 40,000 that the
        # forensic program IPED has by default, where a person looks at each hit.
        Algorithm(
            "photodna", 1152, "euclidean", of_picture=True, threshold=10_000, min_quality=1, licensed=True
        ),
        # Its longer form, which is for Microsoft's service to compare. Nothing public says how.
        Algorithm("photodna_edge", 7392, "none", of_picture=True),
        # PDQ of a video's frames, compared by the rule of `lists.index.video_matching`.
        Algorithm("vpdq", 256, "video", of_picture=True, threshold=31, min_quality=50),
    )
}
ALGORITHMS: dict[str, Algorithm] = with_algorithms(_OWN_ALGORITHMS)
"""Every algorithm for which a list may have entries, by name; those of plug-ins come last."""

PHOTODNA_DISTANCE_MAX = 100_000
"""Largest squared distance of PhotoDNA that can be set or asked for. Examples of the program photodna-matcher
have 232,274 and 281,942 for the nearest of 100,000 photographs; twice the distance has four times the
square."""

MATCHED: tuple[str, ...] = tuple(name for name, algorithm in ALGORITHMS.items() if algorithm.matched)
"""Algorithms of which single digests are compared with lists."""

COMPUTED: tuple[str, ...] = tuple(name for name in MATCHED if not ALGORITHMS[name].licensed)
"""Those that are computed without a licensed library."""

ALWAYS_COMPUTED: tuple[str, ...] = ("md5", "sha1", "sha256", "pdq")
"""Algorithms that are computed even if no list asks for them, since digests are cached while lists change."""


CATEGORIES: tuple[str, ...] = (
    "baseline",
    "A1",
    "A2",
    "B1",
    "B2",
    "other",
    "known-good",
    "test",
    "terrorism",
    "ncii",
    "listed",
)
"""The categories to which those of all list formats are mapped."""

LISTED_CATEGORY = "listed"
"""Category of a service's answer that says no more than that an entry of an acting category is equal."""

ACTING_CATEGORIES = frozenset({"baseline", "A1", "A2", "B1", "B2", "test", LISTED_CATEGORY})
"""Categories whose entries make a match; `known-good` accuses no file, and all others are for review."""

TEST_CATEGORY = "test"
KNOWN_GOOD_CATEGORY = "known-good"

THREAT_PREFIX = "hashscan.Blocked-"
"""Begin of the name that uploaders are shown of a refused upload; the reference of its case follows."""

STAY_DOWN_LIST = "stay-down"
"""Name of the local list of removed and confirmed contents; no other list may have it."""

ENTRY_ID_MAX = 64
"""Longest entry id in bytes; ids are printable ASCII."""


LIBRARY_ARGUMENTS = ("pixels", "width", "height", "stride", "digest", "length", "instance")
"""The arguments that the library's functions can have, besides numbers: the address of the pixels (three
bytes each: red, green, blue), integers that describe them, the address of the digest, the address of an
integer with the digest's length, which the library sets, and the pointer that the initialisation returned."""


class HashLibrary(Struct, frozen=True):
    """A licensee's library and its functions: the table [photodna] of the settings."""

    library: str
    """Absolute path of its file."""
    hash: str
    """Name of the function that hashes a picture, and returns an integer."""
    arguments: tuple[str | int, ...] = ("pixels", "width", "height", "stride", "digest")
    """Its arguments in order: each a name of `LIBRARY_ARGUMENTS`, or an integer that is passed as it is."""
    border: str = ""
    """Name of a function with the same arguments that leaves out the borders of the picture; empty if
    hashscan is to cut them off."""
    flip: str = ""
    """Name of a function with the same arguments that hashes the picture mirrored left to right; empty if
    hashscan is to mirror it."""
    init: str = ""
    """Name of a function to call first; empty if there is none."""
    init_arguments: tuple[str | int, ...] = ()
    """Its arguments in order, texts and integers."""
    success: int = 0
    """The value that functions return where all is well."""
    no_digest: tuple[int, ...] = ()
    """Values that say that this picture has no digest, such as one without any detail."""
    least_side: int = 50
    """Least width and height in pixels of a picture that the library can hash."""
    dependencies: tuple[str, ...] = ()
    """Absolute paths of other libraries that it needs, each after those that it needs itself."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files to load, in order."""
        return (*self.dependencies, self.library)


class Entry(Struct, frozen=True):
    """One entry of a hash list."""

    id: str
    algorithm: str
    value: bytes
    category: str


class ListInfo(Struct, frozen=True):
    """The description of a hash list in a report."""

    name: str
    state: TrustState
    version: int = 0
    entries: int = 0
    by_algorithm: tuple[tuple[str, int], ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[tuple[str, str, int], ...] = ()
    """Active entries by algorithm and category; counts of 0 are left out."""
    degenerate: tuple[tuple[str, int], ...] = ()
    """Those by algorithm that are near too many unrelated pictures to be matched by similarity."""
    key_ids: tuple[str, ...] = ()
    fingerprint: str = ""
    """Fingerprint of the list's content, which reveals nothing of single entries; empty where unknown."""
    expires: str | None = None
    """Earliest expiry of the list's signed metadata, RFC 3339."""
    made: str = ""
    """When this version was made, or last pulled in full from an exchange, RFC 3339; empty if unknown."""
    problem: str | None = None
    """The problem and its remedy, for lists that can't be used or should be checked."""
    source: str = ""
    """Digest of what a person accepts with the list; see `lists.acceptance`."""

    @property
    def can_find(self) -> bool:
        """True if the list can produce findings.

        A list of known-good entries can't: its only other entries are those of the test picture, as in every
        signed list.
        """
        return KNOWN_GOOD_CATEGORY not in self.categories or bool(
            set(self.categories) - {KNOWN_GOOD_CATEGORY, TEST_CATEGORY}
        )


class ExceptedEntry(Struct, frozen=True, omit_defaults=True):
    """One entry of a hash list whose matches this server withholds for a time."""

    list_name: str
    entry_id: str
    algorithm: str
    category: str
    """Category when the entry was excepted; the list's owner may change it without ending the exception."""
    fingerprint: str
    """Fingerprint of the entry's value; another value under the same id is another, unexcepted entry."""
    reason: str
    """One printable line, written by the person who excepted it."""
    until: str
    """Time from which on it no longer applies; UTC in whole seconds, RFC 3339."""
    by: str
    since: str
    """Time of the exception, in the form of `until`."""
    sha256: str = ""
    """Set in matches only: SHA-256, in hex, of the content that is excepted, and not the entry."""


class ExceptedContent(Struct, frozen=True):
    """One content for which the matches of all entries are withheld for a time."""

    sha256: str
    """SHA-256 of the content, in hex."""
    reason: str
    """One printable line, written by the person who excepted it."""
    until: str
    """Time from which on it no longer applies; UTC in whole seconds, RFC 3339."""
    by: str
    since: str
    """Time of the exception, in the form of `until`."""
    case: str = ""
    """Number of the case on which people have decided; empty if it was excepted otherwise."""


class PolicyRule(Struct, frozen=True):
    """One row of the policy table: conditions for a match, and the action for it.

    A condition that is empty or None is always met; of several values, one must fit.
    """

    number: int
    """Position in the table, from 1 on."""
    action: Action
    reason: str = ""
    """One printable line, written by the author of the rule."""
    categories: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    distance: int | None = None
    """Maximum distance in bits."""
    lists: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Patterns over whole paths and URLs, in the syntax of `sources.patterns`."""
    owners: tuple[int, ...] = ()
    """Numbers of users; an object has none."""


class DistanceRule(Struct, frozen=True):
    """The distances of PhotoDNA, squared, up to which entries of some lists are named."""

    lists: tuple[str, ...] = ()
    """Names of the lists; empty for all."""
    review: int = ALGORITHMS["photodna"].threshold
    """Largest distance at which an entry is named."""
    match: int | None = None
    """Largest distance at which an entry accuses by itself; None if it is always for review."""


class AcceptedMatch(Struct, frozen=True):
    """A match of one entry with one content that a person has reviewed and accepted for a time."""

    list_name: str
    entry_id: str
    sha256: str
    """SHA-256 of the content, in hex."""
    reason: str
    """One printable line, written by the person who accepted it."""
    until: str
    """Time from which on it is no longer accepted; UTC in whole seconds, RFC 3339."""
    by: str
    since: str
    """Time of the acceptance, in the form of `until`."""


class CustomerRule(Struct, frozen=True):
    """A rule that assigns files and objects to a customer; the first that applies decides.

    If both `paths` and `owners` are given, both must apply.
    """

    origin: str
    """Location of the rule, as text for people."""
    name: str = "{customer}"
    """Name of the customer: `{customer}` in it stands for the part of a path with that name, and `{user}` for
    the name of the file's user. Empty for files that belong to no customer."""
    paths: tuple[str, ...] = ()
    """Whole paths and URLs, of files or of the folders they are in, with the part that names the customer:
    `/home/{customer}/`."""
    owners: tuple[tuple[int, int], ...] = ()
    """First and last numbers of users; an object has none."""


class SiteRule(Struct, frozen=True):
    """A mapping from a folder to its public web address; a name in braces has one value on both sides."""

    origin: str
    """Location of the rule, as text for people."""
    url: str
    """URL of a folder: `https://{customer}.example/`."""
    path: str
    """Path of the folder, or URL of the bucket and prefix, that the URL shows."""


class SenderRule(Struct, frozen=True):
    """Kind, role and deadline of one sender's notices, where they don't state theirs."""

    address: str
    """The sender as a notice names him: a mail address, `@` and a domain, or the name of an organisation."""
    kind: str = ""
    """A value of `cases.notices.notice.NoticeKind`; empty for a notice."""
    role: str = ""
    """A value of `cases.notices.notice.SenderRole`; empty for the kind's default."""
    member_state: str = ""
    """Two letters of ISO 3166."""
    legal_basis: str = ""
    deadline: float | None = None
    """Seconds after the receipt."""


class Reporter(Struct, frozen=True):
    """The organisation that sends notices and reports to others."""

    organisation: str
    email: str
    """Address for replies."""
    domain: str = ""
    name: str = ""
    """Name of the contact person."""
    phone: str = ""
    country: str = ""
    """Two letters of ISO 3166."""


class FileStat(NamedTuple):
    """The fields of fstat that identify a file's content.

    A named tuple, since a scan makes several for every file, and a frozen dataclass takes three times as
    long.
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
        """True for an object, which has only a size and an mtime.

        Its uid is then a number that stands for the container.
        """
        return not (self.device or self.inode)


class Item(NamedTuple):
    """One file of a batch: its name in the folder, and its stat when it was listed.

    A named tuple for the same reason as `FileStat`.
    """

    name: bytes
    stat: FileStat
    etag: str = ""
    """For objects: the store's validator of the content; never used as a digest."""
    version: str = ""
    """Version, for objects of a versioned bucket."""
    checksum: str = ""
    """For objects: the checksum that the listing states, as its algorithm, a colon and hexadecimal digits."""
    hidden: str = ""
    """For signed web addresses: the query that is needed to read the object, a credential; never shown."""

    def __repr__(self) -> str:
        return f"Item({self.name!r}, {self.stat!r}, {self.etag!r}, {self.version!r})"


class Access(Struct, frozen=True):
    """The way to reach targets that are not on this machine.

    It travels to other processes and machines, so it holds no credentials; each process finds those by the
    provider's own chain.
    """

    endpoint: str | None = None
    """URL of the service, where it is not the provider's own."""
    anonymous: bool = False
    """True to send requests without credentials."""
    concurrency: int = 32
    """Concurrent downloads in each worker."""
    memory_bytes: int = 64 << 20
    """Maximum bytes in each worker that are downloaded and not yet digested; larger objects go to a file."""
    disk_bytes: int = 1 << 30
    """Maximum bytes of such files that each worker downloads ahead; a larger one is downloaded alone."""


DIRECT = Access()
"""The providers' own addresses, and the defaults of all other fields."""


class Shard(Struct, frozen=True):
    """One of the equal parts that a scan is divided into."""

    index: int
    """From 1 on."""
    count: int


class ContainerKind(StrEnum):
    """A kind of containers that operators have opened or not."""

    ARCHIVE = "archive"
    DOCUMENT = "document"
    MAIL = "mail"
    VIDEO = "video"


class MemberLimits(Struct, frozen=True):
    """The kinds of containers that are opened, and the limits for one with all containers in it."""

    kinds: tuple[ContainerKind, ...] = (ContainerKind.ARCHIVE, ContainerKind.DOCUMENT, ContainerKind.VIDEO)
    members: int = 100_000
    bytes: int = 10 << 30
    """Unpacked bytes of all members together."""
    member_bytes: int = 64 << 20
    """Largest member that is decoded or opened in memory; a larger one is only digested."""
    ratio: int = 1000
    """Unpacked bytes for each byte of the container, once 10 MiB were unpacked."""
    depth: int = 5
    """Containers within each other, the outermost included."""
    seconds: float = 60.0
    """Processor time."""
    more_seconds: float = 120.0
    """Processor time besides, for each GiB of a video."""


class Batch(Struct, frozen=True):
    """The unit of work: some files of one folder."""

    source: str
    """Registry name of the source that can open it."""
    target: bytes
    """The target as the administrator gave it, made absolute and with its symlinks resolved."""
    folder: bytes
    """The folder beneath the target, without leading or trailing slash; empty for the target."""
    device: int
    inode: int
    """Identity of the folder when it was listed."""
    items: Sequence[Item]
    """The files; not to be changed."""
    defer: bool = False
    """True if files that prove large or sparse are to be left unread and named in `BatchResult.deferred`."""
    max_sparse: int | None = None
    """Bytes of holes that a file of it may have, where that is less than the worker's setup allows."""
    slow: tuple[int, ...] = ()
    """Owners of which no file is to be decoded now, if it may be deferred: their files take long."""


class Digest(Struct, frozen=True):
    """One digest of one file."""

    algorithm: str
    value: bytes
    quality: int | None = None
    """0 to 100, for algorithms that define a quality."""


class VariantDigest(Struct, frozen=True):
    """One digest of a picture other than a file's first picture as it is stored."""

    variant: str
    """Name of the variant: `crop 3`, `frame 17`."""
    digest: Digest


class Match(Struct, frozen=True):
    """One entry near one digest."""

    list_name: str
    entry_id: str
    algorithm: str
    category: str
    distance: int
    threshold: int
    """Largest distance at which an entry matches; one that is farther away is a near miss."""
    variant: str = "as stored"
    """Rendering of the picture from which the digest was computed."""
    doubt: Doubt | None = None
    """The reason why the match is for review only, although it is near enough."""
    excepted: ExceptedEntry | None = None
    withheld: str = ""
    """The reason why policy withholds the match for this file; empty if it doesn't."""
    member: str = ""
    """Place of the content within a container, such as `dir/pic.jpg`; empty for the file itself."""
    of_video: bool = False
    """True if the file is a video and the member a frame or cover of it, so that both are one work."""
    scanned_share: int = 0
    """The share (vpdq) in percent of the scanned video's frames that are near one of the listed video. The
    distance of such a match is the share of the listed video's frames that are near none of the scanned."""

    @property
    def near_miss(self) -> bool:
        """True if it is near enough for review only."""
        return self.distance > self.threshold


MATCHES_MAX = 32
"""Number of matches that a finding names, closest first; a list may hold thousands of copies of a hash."""


class Picture(Struct, frozen=True):
    """The picture's properties, as the decoder reported them."""

    format: str
    width: int
    height: int


class FileResult(Struct, frozen=True):
    """The verdict for one file, with everything that a report may contain about it."""

    name: bytes
    stat: FileStat
    verdict: Verdict
    reason: Reason | None = None
    """Set for unreadable, undecoded and skipped; also for a finding that was not checked in full."""
    detail: str = ""
    """Text for a person, such as the system's error message; never from the file's content."""
    because: str = ""
    """For findings: the reason for this verdict and this action."""
    held_by: str = ""
    """A value of `HeldBy` for a match that an earlier scan has held; empty for any other result."""
    matches: tuple[Match, ...] = ()
    digests: tuple[Digest, ...] = ()
    """Only where they were asked for, and for findings."""
    picture: Picture | None = None
    low_quality: bool = False
    """True if the quality of the picture's PDQ was too low to be matched."""
    only_test: bool = False
    """True for a finding that only test entries match."""
    action: Action | None = None
    content: int | None = None
    """Number of its content in the scan's state, where it is stored."""
    ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    """Trust in its ctime, where its content is stored."""
    other_than_listed: bool = False
    """True if the file was changed between its listing and its reading, so that the content, where it is
    stored, is not that of the listed file."""
    augmented: tuple[VariantDigest, ...] = ()
    """Digests of pictures in the file or derived from it; only where asked for, to make a list."""
    format: str = ""
    """Name of the picture's format, where the picture was not decoded in full."""


class StoredContentData(NamedTuple):
    """The result of reading a file: all data from which its verdict is derived, apart from the lists."""

    exact: tuple[bytes, ...]
    """Digests of the bytes, in the order of the algorithms asked for."""
    kind: int
    """Index of the file's format among the known picture formats; -1 where it has none."""
    packed: tuple[bytes, bytes, bytes] | None
    """The decoder's reply, validated and compressed (see `state.store.packing`); None where it had none."""
    confirmed: bool
    """True if that was a fresh decoder, started to confirm the reply of another."""
    ctime: CtimeTrust = CtimeTrust.PROVEN
    """Trust in the file's ctime; objects have none."""
    other_than_listed: bool = False
    """True if the file was changed between its listing and its reading."""
    members: bytes | None = None
    """The members (see `state.store.members`), if it is a container that was opened."""


NONE_BY = "none: "
RECOGNITION = ("probed", "opened", "undecoded", "named", "by_signatures")
"""Counts of files that no signature tells: those that were probed; in which something was found; which are
undecoded for what was found; which are undecoded by their names; and for which no library could be asked.
Those that a row of `none_kinds` proves to be none are counted under `NONE_BY` and its name."""


class BatchResult(Struct, frozen=True):
    """The reply of a worker: one result for each item of the batch, in its order."""

    results: tuple[FileResult, ...]
    bytes_read: int = 0
    sandbox: SandboxLevel | None = None
    """The sandbox level that the worker's decoders achieved, once one was needed."""
    kept: tuple[StoredContentData | None, ...] = ()
    """The data to be stored for each item, if any; empty where nothing is stored."""
    deferred: tuple[tuple[int, int], ...] = ()
    """Files that were left unread or undecoded because that takes long: position in the batch, size in bytes
    or their cost in bytes that are read. Their results are no verdicts."""
    hole_bytes: int = 0
    """Bytes of holes among those that were read."""
    compared: int = 0
    """Number of objects whose bytes were compared with a checksum of their store."""
    not_compared: int = 0
    """Number of objects that were read and have no checksum that can be compared."""
    recognition: dict[str, int] = {}
    """Numbers of files by how they were recognised that no signature tells; see `RECOGNITION`."""
    excess: dict[int, int] = {}
    """By owner, microseconds of processor time beyond what decoding takes ordinarily; see `slow_files`."""


class SandboxLevel(Struct, frozen=True):
    """The restrictions of a decoder; a field is False or 0 where the kernel or rights were lacking."""

    mode: str
    """The requested mode: required, auto or off."""
    landlock: int = 0
    """ABI version of Landlock in force; 0 if none is."""
    seccomp: bool = False
    uid_dropped: bool = False
    capabilities_dropped: bool = False
    limits: bool = False

    @property
    def full(self) -> bool:
        """True if all restrictions of the decoder are in force."""
        return self.landlock > 0 and self.seccomp and self.capabilities_dropped and self.limits

    @property
    def summary(self) -> str:
        """The level in one word: full, partial or off."""
        if self.mode == "off":
            return "off"
        return "full" if self.full else "partial"
