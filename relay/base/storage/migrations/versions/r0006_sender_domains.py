"""Sender domains: a member's own limit, when a domain's owner last asked for a look, and each look's result in short.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 500


def upgrade() -> None:
    """Add the columns; what stands in `findings` is also written in short."""
    op.add_column("members", sa.Column("max_domains", sa.Integer(), nullable=True))
    op.add_column("domains", sa.Column("asked_at", sa.Double(), nullable=True))
    op.add_column("domains", sa.Column("flags", sa.JSON(), nullable=True))
    domains = sa.table("domains", sa.column("id"), sa.column("findings", sa.JSON()), sa.column("flags", sa.JSON()))
    bind, after = op.get_bind(), 0
    query = sa.select(domains.c.id, domains.c.findings).order_by(domains.c.id).limit(_BATCH)
    while rows := bind.execute(query.where(domains.c.id > after)).all():
        for row in rows:
            if row.findings:
                flags = {f["name"]: f["known"] for f in row.findings if f.get("known") is not None}
                bind.execute(domains.update().where(domains.c.id == row.id).values(flags=flags))
        after = rows[-1].id
