"""The master key that a database belongs to, by its id.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A database that is in use has no row yet: the first process whose key proves right writes it."""
    op.create_table(
        "master_key",
        sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
    )
