"""Daily counters: on SQLite a domain's days lie beside each other, in one tree instead of two.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COUNTERS = ("accepted", "delivered", "deferred", "bounced", "complaints", "opens", "clicks")


def upgrade() -> None:
    """Write the table anew without row ids; PostgreSQL has nothing of the kind."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.create_table(
        "daily_stats_new",
        sa.Column("domain_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in _COUNTERS),
        sa.PrimaryKeyConstraint("domain_id", "day", name=op.f("pk_daily_stats")),
        sqlite_with_rowid=False,
    )
    op.execute("""
        INSERT INTO daily_stats_new (domain_id, day, member_id, accepted, delivered, deferred, bounced, complaints,
                                     opens, clicks)
        SELECT domain_id, day, member_id, accepted, delivered, deferred, bounced, complaints, opens, clicks
        FROM daily_stats ORDER BY domain_id, day
    """)
    op.drop_table("daily_stats")
    op.rename_table("daily_stats_new", "daily_stats")
    op.create_index("ix_daily_stats_member_id_day", "daily_stats", ["member_id", "day"], unique=False)
