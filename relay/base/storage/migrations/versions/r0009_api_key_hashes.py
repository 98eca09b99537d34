"""API keys: which master key their hash was made with, so that a change of keys knows what is left.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody knows it of the keys that are there: they count as made before the change."""
    op.add_column("api_keys", sa.Column("hashed_by", sa.String(length=16), nullable=True))
