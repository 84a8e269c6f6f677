"""Define the tables of a hub's database, which is SQLite or PostgreSQL.

Times are whole seconds since 1970, UTC. A column of JSON is text, since both databases can hold and compare
that. Text from strangers (names of hosts and files, contacts) is stored as it came; whatever shows it escapes
it.

Ids that others remember (the audit log, servers) are never given again, not even after a deletion: SQLite
ensures that only with `sqlite_autoincrement`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


def _number(name: str, default: int = 0) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=text("''"))


def _time(name: str) -> Column[int]:
    """Return a column with a time that is not known yet; else it is declared NOT NULL."""
    return Column(name, BigInteger, nullable=True)


def _part_of_key(name: str, reference: str) -> Column[int]:
    return Column(name, ForeignKey(reference, ondelete="CASCADE"), primary_key=True, autoincrement=False)


TO_REVIEW = "verdict = 'review' OR decision != ''"
"""Cases on which people decide, in SQL: those of an uncertain finding, and those on which one has decided."""
_JUDGED = ("verdict", "decision", "seconded_by", "categories", "excess")


def _where(condition: str, name: str, *columns: str, unique: bool = False) -> Index:
    """Return an index of the rows for which a condition in SQL holds."""
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _of_present(name: str, *columns: str, further: str = "") -> Index:
    """Return an index of the cases that have not ended."""
    # Without these two, which are NULL here, SQLite would read each row of the table to compare them.
    return _where(f"removed IS NULL AND closed IS NULL{further}", name, *columns, "removed", "closed")


ORGANISATIONS = Table(
    "organisations",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # short, for commands and addresses: [a-z0-9-]
    _text("title"),  # the full name
    _text("country"),  # two letters
    _text("contacts"),  # JSON: e-mail addresses to which notices are sent
    _text("networks"),  # JSON: CIDR
    _text("as_numbers"),  # JSON: numbers
    Column("via", Text, nullable=False, server_default=text("'sync'")),  # how notices reach it: sync or mail
    Column("created", BigInteger, nullable=False),
    _time("closed"),  # its keys are refused from then on
    sqlite_autoincrement=True,
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),  # of the key, which is stored nowhere
    _text("rights"),  # names, sorted, separated by spaces: check, report, cases
    _text("detail"),  # of answers: answer, category or entry
    _number("digests_per_day"),  # quota; 0 for none
    _number("requests_per_minute"),  # 0 for any number
    _number("minute"),  # time at which the minute began in which its last request was counted
    _number("minute_requests"),  # those of this minute, at all nodes
    Column("created", BigInteger, nullable=False),
    _time("expires"),
    _time("revoked"),
    _time("used"),  # day of the last use, for people who look for keys to revoke
    Index("ix_keys_name", "organisation", "name", unique=True),
    sqlite_autoincrement=True,
)

USERS = Table(
    "users",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),  # operator, reviewer, viewer, member
    Column("organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=True),  # of a member
    _text("password"),  # argon2, after `once EXPIRES ` if it is to be changed; empty: a proxy signs in
    _text("totp"),  # secret of the second factor; empty until it is set up
    _number("totp_step"),  # the last step that was used, so that no code counts twice
    _number("failures"),  # failed sign-ins since the last good one
    _time("locked"),  # until when nobody can sign in by this name
    Column("created", BigInteger, nullable=False),
    _time("disabled"),
    sqlite_autoincrement=True,
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("sha256", LargeBinary, primary_key=True),  # of the cookie's value
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("csrf", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("organisation", BigInteger, nullable=True),  # no reference: lines outlive what they are about
    Column("line", Text, nullable=False),  # of the hash chain, see `hash_chain`
    Index("ix_audit_at", "at"),
    Index("ix_audit_organisation", "organisation", "number"),
    Index("ix_audit_actor", "actor", "number"),
)

CHECKS = Table(
    "checks",
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # time at which the hour begins
    _number("requests"),
    _number("exact"),  # digests asked
    _number("perceptual"),
    _number("detected"),  # digests that an entry matches
    Index("ix_checks_hour", "hour"),
)

DETECTIONS = Table(
    "detections",
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("list", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    _number("digests"),
)

CHECK_MONTHS = Table(
    "check_months",  # the sums of both, since an overview can't add up the hours of a year
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("month", BigInteger, primary_key=True, autoincrement=False),  # time at which it begins
    Column("category", Text, primary_key=True),  # empty: all digests
    _number("asked"),
    _number("detected"),
    Index("ix_check_months_category", "category", "month", "asked", "detected"),
)

REQUESTS = Table(
    "requests",
    METADATA,
    _part_of_key("key", "keys.id"),
    Column("idempotency_key", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),  # of the request's form and body: a key belongs to one
    Column("at", BigInteger, nullable=False),
    Index("ix_requests_at", "at"),
)

NEAR_QUERIES = Table(
    "near_queries",  # see `checks.near_queries`
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("list", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    Column("anchors", LargeBinary, nullable=False),  # PDQs that match the entry, one after another
    Column("varied", LargeBinary, nullable=False),  # bits
    Column("impossible", LargeBinary, nullable=False),  # bits
    _number("strays"),
    _text("key"),  # name of the last key that has added to it
    Column("at", BigInteger, nullable=False),
    _time("flagged"),  # since when it counts as a chain
    _number("flagged_bits"),  # those that were known then
    _time("alerted"),  # when the alert about that was handed over to the channels
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("entry", Text, primary_key=True),
    Column("opinion", Text, nullable=False),  # wrong or right
    _text("reason"),
    Column("first", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),  # of the last change
    Index("ix_feedback_at", "at"),
)

SERVERS = Table(
    "servers",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),  # host name, as its reports give it
    Column("first", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # last report or synchronisation
    Column("scan", Text, nullable=True),  # uuid of the last scan whose report is complete
    _number("silent_after"),  # seconds without a report after which an alert is raised; 0 for the default
    _time("silent"),  # since when it is known to be silent
    _time("alerted"),  # when the alert about that was handed over to the channels
    Index("ix_servers_name", "organisation", "name", unique=True),
    _where("silent IS NOT NULL", "ix_servers_silent", "silent"),
    sqlite_autoincrement=True,
)

SCANS = Table(
    "scans",
    METADATA,
    _part_of_key("organisation", "organisations.id"),  # of which no other can take a uuid
    Column("uuid", Text, primary_key=True),
    Column("server", ForeignKey("servers.id", ondelete="CASCADE"), nullable=False),
    Column("started", BigInteger, nullable=False),  # by the server's own time, once its first record came
    _time("ended"),  # the same
    Column("received", BigInteger, nullable=False),  # when it was announced, by the hub's time
    _time("finished"),  # when it was complete, by the hub's time
    _number("records"),  # received so far
    Column("complete", Boolean, nullable=False, server_default=text("false")),
    _text("scope"),  # of targets and options; empty if the report says nothing of files that it leaves out
    _text("version"),  # of hashscan
    _number("exit_code", -1),  # -1 until it is known
    _number("files"),
    _number("bytes"),
    _number("findings"),
    _text("verdicts"),  # JSON: counts, as in the report
    _text("reasons"),  # JSON
    _text("lists"),  # JSON: name, version, entries, state, fingerprint, made of each
    _text("incomplete"),  # JSON: reasons
    Index("ix_scans_server", "server", "started"),
    Index("ix_scans_received", "received"),
)

REVIEW_COUNTS = Table(
    "review_counts",  # new cases for review, for quotas
    METADATA,
    _part_of_key("organisation", "organisations.id"),
    Column("server", BigInteger, primary_key=True, autoincrement=False),  # 0: all of the organisation
    Column("day", BigInteger, nullable=False),  # time at which it begins
    _number("cases"),  # of that day
)

CASES = Table(
    "cases",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=False),
    Column(
        "server", ForeignKey("servers.id", ondelete="CASCADE"), nullable=True
    ),  # None: a notice without one
    Column("place", LargeBinary, nullable=False),  # as `hub_api.place_of` returns it
    _text("path"),  # empty where names do not leave the server
    _text("path_b64"),  # its bytes in base64 if they are not UTF-8
    _text("customer"),
    _text("url"),
    Column("verdict", Text, nullable=False),  # match, held, review or notice
    _text("categories"),  # names, sorted, separated by spaces
    _text("entries"),  # JSON: list, entry, algorithm, distance of each match
    _text("sha256"),  # of the content, where the server sends digests
    _number("size"),
    Column("found", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # by the last scan that reported it
    Column("scan", Text, nullable=True),  # uuid of that scan
    _time("deadline"),
    _time("removed"),
    _text("how"),  # gone, changed, quarantined, ...: as the server or the notice's answer says
    _time("closed"),
    Column("notice", ForeignKey("notices.id", ondelete="SET NULL"), nullable=True),
    _time("noticed"),  # when the organisation could first know of a notice: by sync, or its mail was sent
    _time("seen_there"),  # the last time at which somebody outside saw the content
    _time("seen_gone"),  # the first time after that at which somebody outside saw it gone
    _time("contradicted"),  # the first time at which somebody outside saw it after its removal was said
    _text("decision"),  # of the review: confirmed or rejected; empty until there is one
    _text("reason"),
    _text("decided_by"),
    _time("decided"),
    _text("seconded_by"),  # the second person, where two have to agree
    _number("excess"),  # 1: for review, beyond the quota of its day, and nobody has decided
    _number("moved"),  # how often the row was changed, so that two people don't overwrite each other
    _where(
        "removed IS NULL AND closed IS NULL AND server IS NOT NULL",
        "ix_cases_open",
        "server",
        "place",
        unique=True,
    ),
    Index("ix_cases_organisation", "organisation", "id"),
    Index("ix_cases_found", "found"),
    _where("removed IS NOT NULL", "ix_cases_removed", "organisation", "removed"),
    # Lists and counts of cases that have not ended read nothing else to choose them.
    _of_present("ix_cases_present", "id"),
    _of_present(
        "ix_cases_deadline", "deadline", "id", "organisation", *_JUDGED, further=" AND deadline IS NOT NULL"
    ),
    _of_present("ix_cases_due", "organisation", "deadline", "id", *_JUDGED),
    _of_present(
        "ix_cases_waiting", "id", "organisation", *_JUDGED, "decided_by", further=f" AND ({TO_REVIEW})"
    ),
    # Neither `seen` nor `scan` is in an index, so that PostgreSQL changes them without touching any.
    Index("ix_cases_server", "server", "place"),
    _where("notice IS NOT NULL", "ix_cases_notice", "notice"),
)

CONTRADICTED = and_(CASES.c.seen_there > CASES.c.removed, CASES.c.seen_gone.is_(None))
"""Cases that are said to be removed, and whose content somebody outside has seen since."""

EVENTS = Table(
    "events",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("case", ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # found, back, decided, noticed, acknowledged, removed, closed, ...
    _text("words"),
    _text("who"),
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=False),
    Column("reference", Text, nullable=False, unique=True),  # the operator's, or one that the hub makes
    _text("host"),  # the server that it concerns; empty: any of the organisation's
    _text("url"),
    _text("path"),
    Column("category", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'notice'")),  # or the kind of an order
    _text("member_state"),  # of the authority that orders it
    _text("legal_basis"),
    _time("deadline"),
    Column(
        "position", BigInteger, nullable=False, unique=True
    ),  # raised when it changes, so that it is fetched
    Column("sent", BigInteger, nullable=False),
    Column("sent_by", Text, nullable=False),
    _text("via"),  # sync or mail
    _time("fetched"),  # by a server
    _time("mailed"),  # accepted by the mail server, for the first of its recipients
    _time("undelivered"),  # no more tries are made for one of them
    _text("trouble"),  # of the last try that failed
    _time("acknowledged"),
    _time("never_seen"),  # a server has never seen such a file; empty again when it has
    _time("removed"),
    _time("closed"),  # the organisation has ended the case without removal
    _time("not_found"),  # closed because the file was never seen there; `closed` is set as well
    _time("disputed"),
    _text("how"),
    _time("withdrawn"),
    Index("ix_notices_organisation", "organisation", "position"),
    Index("ix_notices_sent", "sent"),
    sqlite_autoincrement=True,
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column(
        "organisation", ForeignKey("organisations.id", ondelete="CASCADE"), nullable=False, index=True
    ),  # to which it is sent
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("publication", ForeignKey("publications.id", ondelete="CASCADE"), nullable=True),
    Column("kind", Text, nullable=False),  # notice, withdrawal or publication
    Column("recipient", Text, nullable=False),
    Column("message", Text, nullable=False),  # JSON: the mail without its sender
    Column("created", BigInteger, nullable=False),
    _time("sent"),
    _time("failed"),  # no more tries are made
    _number("tries"),
    _number("again"),  # time before which no node tries to send it
    _number("claimed"),  # time until which a node may be sending it
    _text("trouble"),  # of the last try
    _where("sent IS NULL AND failed IS NULL", "ix_outbox_waiting", "again"),
)

PUBLICATIONS = Table(
    "publications",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("first", BigInteger, nullable=False),  # begin and end of the period
    Column("last", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # JSON: the figures as they will be published
    Column("made", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("answer_until", BigInteger, nullable=False),  # those named may answer until then
    _time("released"),
    _text("released_by"),
    _time("withdrawn"),
)

ANSWERS = Table(
    "answers",
    METADATA,
    _part_of_key("publication", "publications.id"),
    _part_of_key("organisation", "organisations.id"),
    Column("words", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

SETTINGS = Table(
    "settings",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)
