"""Write a migration that brings the tables of a hub's newest migration to those of `hub.storage.tables`.

    python -m tools.hub_migration "keep the time of the last use"

Read what it has written, and see that it loses nothing: it knows a renamed column only as a dropped one and a
new one.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.util import CommandError

from hashscan.hub.storage.database import migrations, open_database
from hashscan.state_dir import StateDir


def main(message: str) -> None:
    """Write the migration into the source tree, if there is anything to change."""
    with tempfile.TemporaryDirectory() as folder, open_database(StateDir(folder)) as database:
        database.migrate()
        configuration = migrations()
        with database.transaction() as connection:
            configuration.attributes["connection"] = connection
            with suppress(CommandError):
                command.check(configuration)
                return
            folder_of_all = Path(configuration.get_main_option("script_location") or "", "versions")
            number = 1 + len(list(folder_of_all.glob("m0*.py")))
            command.revision(configuration, message, autogenerate=True, rev_id=f"{number:04}")


if __name__ == "__main__":
    main(*sys.argv[1:])
