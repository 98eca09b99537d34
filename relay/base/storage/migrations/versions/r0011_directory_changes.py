"""What each version of the directory has changed, so that snapshots read only that.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An empty table: a program that finds a version missing in it reads everything."""
    op.create_table(
        "directory_changes",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("n", "kind", "subject", name=op.f("pk_directory_changes")),
        sqlite_with_rowid=False,
    )
