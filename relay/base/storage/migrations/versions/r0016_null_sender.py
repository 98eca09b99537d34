"""API keys that may say MAIL FROM:<>.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No key may until one is issued that may; programs of the former version don't ask."""
    op.add_column(
        "api_keys", sa.Column("null_sender", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
