"""Pacing by site, shared by all processes: what was learnt of sites, shares of their lanes, the domains they serve.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three tables more."""
    op.create_table(
        "sites",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("lanes", sa.Double, nullable=False),
        sa.Column("rate", sa.Double),
        sa.Column("paused_until", sa.Double, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("says", sa.String(1000), nullable=False, server_default=""),
        sa.Column("host", sa.String(253), nullable=False, server_default=""),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sites"),
    )
    op.create_index("ix_sites_changed_at", "sites", ["changed_at"])
    op.create_table(
        "site_shares",
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("lanes", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("site", "owner", name="pk_site_shares"),
    )
    op.create_index("ix_site_shares_until", "site_shares", ["until"])
    op.create_table(
        "destinations",
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("domain", name="pk_destinations"),
    )
    op.create_index("ix_destinations_site", "destinations", ["site"])
    op.create_index("ix_destinations_seen_at", "destinations", ["seen_at"])
