"""Tracking: opens and clicks among a domain's daily counters, and whether its tracking host answers.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Nothing was counted so far, and no host has been looked at."""
    for name in ("opens", "clicks"):
        op.add_column("daily_stats", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "domains", sa.Column("tracking_ok", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
