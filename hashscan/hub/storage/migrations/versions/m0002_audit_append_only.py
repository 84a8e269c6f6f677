"""Have the database refuse to change or delete lines of the audit log."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the triggers."""
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


def downgrade() -> None:
    """Remove the triggers."""
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete", "replace"):
            op.execute(f"DROP TRIGGER audit_no_{change}")
        return
    op.execute("DROP TRIGGER audit_append_only ON audit")
    op.execute("DROP FUNCTION audit_append_only()")
