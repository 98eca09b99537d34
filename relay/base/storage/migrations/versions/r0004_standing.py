"""Standing: what became of each member's mail, how far it has gone, and incidents of the relay itself.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNTS = ("delivered", "bounced", "late", "complaints", "excused")


def upgrade() -> None:
    """Add the four tables. Counting begins with what happens from now on."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "standing_counts",
        sa.Column("member_id", number, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in _COUNTS),
        sa.PrimaryKeyConstraint("member_id", "at", name=op.f("pk_standing_counts")),
    )
    op.create_table(
        "standings",
        sa.Column("member_id", number, autoincrement=False, nullable=False),
        sa.Column("stage", sa.String(length=12), nullable=False),
        sa.Column("stage_at", sa.Double(), nullable=False),
        sa.Column("counted_from", sa.Double(), server_default="0", nullable=False),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_standings")),
    )
    op.create_table(
        "standing_cursor",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("event_id", number, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_standing_cursor")),
    )
    op.create_table(
        "incidents",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("state = 'open'")
    op.create_index(
        "ix_incidents_open", "incidents", ["kind"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
