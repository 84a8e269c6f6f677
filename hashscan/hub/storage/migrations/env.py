"""Run migrations in the transaction of `Database.migrate`, or compare the tables with those of a database."""

from __future__ import annotations

from alembic import context

from hashscan.hub.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    compare_type=True,
)
context.run_migrations()
