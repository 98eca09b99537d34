"""Counting what waits by an index alone; finding leases by their owner.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OPEN = sa.text("state IN ('queued', 'deferred')")
_LEASED = sa.text("lease_owner IS NOT NULL")


def upgrade() -> None:
    """Both hold nothing but what is open or leased, however long the log."""
    op.drop_index("ix_recipients_member_due", "recipients")
    op.create_index(
        "ix_recipients_member_due", "recipients", ["member_id", "next_at", "id", "state", "held"],
        sqlite_where=_OPEN, postgresql_where=_OPEN,
    )
    op.create_index(
        "ix_recipients_lease_owner", "recipients", ["lease_owner"], sqlite_where=_LEASED, postgresql_where=_LEASED
    )
