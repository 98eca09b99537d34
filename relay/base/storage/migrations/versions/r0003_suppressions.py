"""Suppressions of some categories of mail only, and lists that are read page by page.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, with all categories for what is there, and the index."""
    op.add_column("suppressions", sa.Column("categories", sa.String(length=64), server_default="", nullable=False))
    op.create_index("ix_suppressions_member_id_id", "suppressions", ["member_id", "id"])
