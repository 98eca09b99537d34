"""Clean-up by indexes of what is left to do: finished messages that have bytes, entries by their time.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_HAS_BYTES = sa.text("has_bytes AND finished_at IS NOT NULL")


def upgrade() -> None:
    """Only finished messages that still have their bytes are marked: the rest of the log is left as it is."""
    op.add_column("messages", sa.Column("has_bytes", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.execute("""
        UPDATE messages SET has_bytes = true
        WHERE id IN (SELECT message_id FROM bodies) AND finished_at IS NOT NULL
    """)
    op.create_index(
        "ix_messages_has_bytes", "messages", ["finished_at", "id"], sqlite_where=_HAS_BYTES,
        postgresql_where=_HAS_BYTES,
    )
    op.create_index("ix_allowances_at", "allowances", ["at"])
    op.create_index("ix_standing_counts_at", "standing_counts", ["at"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
