"""Messages know a repeat by its fingerprint.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KNOWN = sa.text("fingerprint IS NOT NULL")


def upgrade() -> None:
    """Messages from before have none: sent again, they are new ones."""
    op.add_column("messages", sa.Column("fingerprint", sa.BigInteger()))
    op.create_index(
        "ix_messages_fingerprint", "messages", ["fingerprint"], sqlite_where=_KNOWN, postgresql_where=_KNOWN
    )
