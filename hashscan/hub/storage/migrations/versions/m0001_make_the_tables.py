"""Make the tables of a hub, and have the database refuse to change or delete lines of the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and triggers."""
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("organisation", sa.BigInteger(), nullable=True),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_actor", "audit", ["actor", "number"], unique=False)
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_organisation", "audit", ["organisation", "number"], unique=False)
    op.create_table(
        "organisations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("country", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("contacts", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("networks", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("as_numbers", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("via", sa.Text(), server_default=sa.text("'sync'"), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("name", name=op.f("uq_organisations_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "publications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("answer_until", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "answers",
        sa.Column(
            "publication",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_answers_organisation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["publication"], ["publications.id"], name=op.f("fk_answers_publication"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("publication", "organisation", name=op.f("pk_answers")),
    )
    op.create_table(
        "check_months",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("month", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("asked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("detected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_check_months_organisation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "month", "category", name=op.f("pk_check_months")),
    )
    op.create_index(
        "ix_check_months_category", "check_months", ["category", "month", "asked", "detected"], unique=False
    )
    op.create_table(
        "checks",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("exact", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("perceptual", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("detected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_checks_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organisation", "key", "hour", name=op.f("pk_checks")),
    )
    op.create_index("ix_checks_hour", "checks", ["hour"], unique=False)
    op.create_table(
        "detections",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("digests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_detections_organisation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "hour", "list", "category", name=op.f("pk_detections")),
    )
    op.create_table(
        "near_queries",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("anchors", sa.LargeBinary(), nullable=False),
        sa.Column("varied", sa.LargeBinary(), nullable=False),
        sa.Column("impossible", sa.LargeBinary(), nullable=False),
        sa.Column("strays", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("key", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("flagged", sa.BigInteger(), nullable=True),
        sa.Column("flagged_bits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("alerted", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_near_queries_organisation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "list", "entry", name=op.f("pk_near_queries")),
    )
    op.create_table(
        "feedback",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("opinion", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_feedback_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organisation", "entry", name=op.f("pk_feedback")),
    )
    op.create_index("ix_feedback_at", "feedback", ["at"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("rights", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("detail", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("digests_per_day", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("minute", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("minute_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_keys_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_keys_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_keys_name", "keys", ["organisation", "name"], unique=True)
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("path", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'notice'"), nullable=False),
        sa.Column("member_state", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("legal_basis", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("fetched", sa.BigInteger(), nullable=True),
        sa.Column("mailed", sa.BigInteger(), nullable=True),
        sa.Column("undelivered", sa.BigInteger(), nullable=True),
        sa.Column("trouble", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=True),
        sa.Column("never_seen", sa.BigInteger(), nullable=True),
        sa.Column("removed", sa.BigInteger(), nullable=True),
        sa.Column("closed", sa.BigInteger(), nullable=True),
        sa.Column("not_found", sa.BigInteger(), nullable=True),
        sa.Column("disputed", sa.BigInteger(), nullable=True),
        sa.Column("how", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_notices_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("position", name=op.f("uq_notices_position")),
        sa.UniqueConstraint("reference", name=op.f("uq_notices_reference")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_organisation", "notices", ["organisation", "position"], unique=False)
    op.create_index("ix_notices_sent", "notices", ["sent"], unique=False)
    op.create_table(
        "review_counts",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("server", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("cases", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_review_counts_organisation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "server", name=op.f("pk_review_counts")),
    )
    op.create_table(
        "servers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("scan", sa.Text(), nullable=True),
        sa.Column("silent_after", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("silent", sa.BigInteger(), nullable=True),
        sa.Column("alerted", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_servers_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_servers")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_servers_name", "servers", ["organisation", "name"], unique=True)
    op.create_index(
        "ix_servers_silent",
        "servers",
        ["silent"],
        unique=False,
        sqlite_where=sa.text("silent IS NOT NULL"),
        postgresql_where=sa.text("silent IS NOT NULL"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("password", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("totp", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("totp_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("disabled", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_users_organisation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("server", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("path", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("path_b64", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("customer", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("categories", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("entries", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("sha256", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("scan", sa.Text(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("removed", sa.BigInteger(), nullable=True),
        sa.Column("how", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("closed", sa.BigInteger(), nullable=True),
        sa.Column("notice", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("noticed", sa.BigInteger(), nullable=True),
        sa.Column("seen_there", sa.BigInteger(), nullable=True),
        sa.Column("seen_gone", sa.BigInteger(), nullable=True),
        sa.Column("contradicted", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("decided_by", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("decided", sa.BigInteger(), nullable=True),
        sa.Column("seconded_by", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("excess", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("moved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_cases_notice"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_cases_organisation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["server"], ["servers.id"], name=op.f("fk_cases_server"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index(
        "ix_cases_deadline",
        "cases",
        [
            "deadline",
            "id",
            "organisation",
            "verdict",
            "decision",
            "seconded_by",
            "categories",
            "excess",
            "removed",
            "closed",
        ],
        unique=False,
        sqlite_where=sa.text("removed IS NULL AND closed IS NULL AND deadline IS NOT NULL"),
        postgresql_where=sa.text("removed IS NULL AND closed IS NULL AND deadline IS NOT NULL"),
    )
    op.create_index(
        "ix_cases_due",
        "cases",
        [
            "organisation",
            "deadline",
            "id",
            "verdict",
            "decision",
            "seconded_by",
            "categories",
            "excess",
            "removed",
            "closed",
        ],
        unique=False,
        sqlite_where=sa.text("removed IS NULL AND closed IS NULL"),
        postgresql_where=sa.text("removed IS NULL AND closed IS NULL"),
    )
    op.create_index("ix_cases_found", "cases", ["found"], unique=False)
    op.create_index(
        "ix_cases_notice",
        "cases",
        ["notice"],
        unique=False,
        sqlite_where=sa.text("notice IS NOT NULL"),
        postgresql_where=sa.text("notice IS NOT NULL"),
    )
    op.create_index(
        "ix_cases_open",
        "cases",
        ["server", "place"],
        unique=True,
        sqlite_where=sa.text("removed IS NULL AND closed IS NULL AND server IS NOT NULL"),
        postgresql_where=sa.text("removed IS NULL AND closed IS NULL AND server IS NOT NULL"),
    )
    op.create_index("ix_cases_organisation", "cases", ["organisation", "id"], unique=False)
    op.create_index(
        "ix_cases_present",
        "cases",
        ["id", "removed", "closed"],
        unique=False,
        sqlite_where=sa.text("removed IS NULL AND closed IS NULL"),
        postgresql_where=sa.text("removed IS NULL AND closed IS NULL"),
    )
    op.create_index(
        "ix_cases_removed",
        "cases",
        ["organisation", "removed"],
        unique=False,
        sqlite_where=sa.text("removed IS NOT NULL"),
        postgresql_where=sa.text("removed IS NOT NULL"),
    )
    op.create_index("ix_cases_server", "cases", ["server", "place"], unique=False)
    op.create_index(
        "ix_cases_waiting",
        "cases",
        [
            "id",
            "organisation",
            "verdict",
            "decision",
            "seconded_by",
            "categories",
            "excess",
            "decided_by",
            "removed",
            "closed",
        ],
        unique=False,
        sqlite_where=sa.text("removed IS NULL AND closed IS NULL AND (verdict = 'review' OR decision != '')"),
        postgresql_where=sa.text(
            "removed IS NULL AND closed IS NULL AND (verdict = 'review' OR decision != '')"
        ),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("notice", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("publication", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=True),
        sa.Column("failed", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("again", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("trouble", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_outbox_notice"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_outbox_organisation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["publication"], ["publications.id"], name=op.f("fk_outbox_publication"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_notice"), "outbox", ["notice"], unique=False)
    op.create_index(op.f("ix_outbox_organisation"), "outbox", ["organisation"], unique=False)
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["again"],
        unique=False,
        sqlite_where=sa.text("sent IS NULL AND failed IS NULL"),
        postgresql_where=sa.text("sent IS NULL AND failed IS NULL"),
    )
    op.create_table(
        "requests",
        sa.Column(
            "key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["keys.id"], name=op.f("fk_requests_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", "idempotency_key", name=op.f("pk_requests")),
    )
    op.create_index("ix_requests_at", "requests", ["at"], unique=False)
    op.create_table(
        "scans",
        sa.Column(
            "organisation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("server", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("records", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("complete", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("scope", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("version", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("exit_code", sa.BigInteger(), server_default=sa.text("(-1)"), nullable=False),
        sa.Column("files", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("findings", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("verdicts", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("reasons", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("lists", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("incomplete", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_scans_organisation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["server"], ["servers.id"], name=op.f("fk_scans_server"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation", "uuid", name=op.f("pk_scans")),
    )
    op.create_index("ix_scans_received", "scans", ["received"], unique=False)
    op.create_index("ix_scans_server", "scans", ["server", "started"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_sessions_user"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user"), "sessions", ["user"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("case", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("who", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.ForeignKeyConstraint(["case"], ["cases.id"], name=op.f("fk_events_case"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_case"), "events", ["case"], unique=False)
    _make_the_audit_log_append_only()


def _make_the_audit_log_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for change in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit {refuse}")
        # INSERT OR REPLACE deletes without asking the trigger of DELETE.
        present = "WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number)"
        op.execute(f"CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit {present} {refuse}")
        return
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )
