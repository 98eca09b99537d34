"""Finding messages by what their recipients did; where the report of a failure went.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_AFTERWARDS = sa.text("type IN ('complained', 'unsubscribed', 'opened', 'clicked')")


def upgrade() -> None:
    """The index holds what happens after delivery alone, so accepting and delivering don't write to it."""
    op.create_index(
        "ix_events_afterwards", "events", ["member_id", "type", "recipient_id"],
        sqlite_where=_AFTERWARDS, postgresql_where=_AFTERWARDS,
    )
    op.add_column("recipients", sa.Column("report_sent_to", sa.String(320)))
