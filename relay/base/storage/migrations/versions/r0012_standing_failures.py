"""Standing: whom the failures were about, each recipient once, as keyed hashes.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. What failed before isn't in it: it judges nobody any more."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "standing_failures",
        sa.Column("member_id", number, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("who", sa.LargeBinary(length=16), nullable=False),
        sa.Column("domain", sa.LargeBinary(length=8), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "kind", "who", name=op.f("pk_standing_failures")),
    )
    op.create_index("ix_standing_failures_at", "standing_failures", ["at"])
