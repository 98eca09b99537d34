"""A domain's allowance by its conduct, of each day.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A domain without a row has the allowance of its tier."""
    op.create_table(
        "conduct_days",
        sa.Column("domain_id", _ID, autoincrement=False, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("per_day", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("domain_id", "day", name=op.f("pk_conduct_days")),
        sqlite_with_rowid=False,
    )
