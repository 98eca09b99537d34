"""Suppression lists: an address as it was written has no dot behind its domain any more.

Such a dot was taken and made no difference; now it is refused, and what stands on a list is read again when it is
removed, exported and taken in elsewhere.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The full stops that UTS 46 maps to the ASCII one, and that one."""
    op.execute("UPDATE suppressions SET original = rtrim(original, '.\u3002\uff0e\uff61') WHERE original LIKE '%@%'")
