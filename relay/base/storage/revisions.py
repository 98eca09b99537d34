"""The schema's revisions: Alembic's scripts in `migrations/`, and what runs them.

Imported where a schema has to change: Alembic takes longer to load than an up-to-date database needs to be opened.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def known() -> list[str]:
    """Every revision that this program can bring a database to, newest first."""
    return [r.revision for r in ScriptDirectory.from_config(_alembic()).walk_revisions()]


def upgrade(connection: Connection, target: str = "head") -> None:
    """Bring the schema to `target`, in the transaction of `connection`."""
    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config
