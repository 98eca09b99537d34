"""Invites that have expired and incidents that are closed are cleaned up: by index.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing else changes."""
    op.create_index("ix_invites_expires_at", "invites", ["expires_at"])
    op.create_index("ix_incidents_closed_at", "incidents", ["closed_at"])
