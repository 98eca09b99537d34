"""Links to a domain's records, for whoever runs its DNS.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "dns_links",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("domain_id", _ID, nullable=False),
        sa.Column("nonce", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("mailed_to", sa.String(320), nullable=False, server_default=""),
        sa.Column("told_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dns_links")),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_dns_links_domain_id_domains")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_dns_links_domain_id", "dns_links", ["domain_id"])
    op.create_index("ix_dns_links_expires_at", "dns_links", ["expires_at"])
