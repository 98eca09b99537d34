"""An API key may have an SMTP user name of its own.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_LIVE = sa.text("smtp_user IS NOT NULL AND revoked_at IS NULL")


def upgrade() -> None:
    """Keys that are there have none."""
    op.add_column("api_keys", sa.Column("smtp_user", sa.String(64)))
    op.create_index(
        "ix_api_keys_smtp_user", "api_keys", ["member_id", "smtp_user"], unique=True, sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
