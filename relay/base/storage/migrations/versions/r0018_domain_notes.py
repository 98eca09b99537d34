"""Domains: what is noted of one has a column of its own, beside the options that its owner chose.

The notes stood among the options and are copied from there. They stay there too until a program of this version writes
the row, so that processes of the former one go on while they are replaced; what those write is taken in by the reader
(`relay.base.domain_options.Notes.read`).

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_NOTES = (
    "approved", "pending_since", "failed_at", "forward_wanted", "forward_failing", "forward_says", "forward_told",
    "former_subdomain", "regenerated", "lost_at", "stems", "chosen", "awaits", "missing", "left",
)
_AT_ONCE = 500


def upgrade() -> None:
    """A process of the former version writes no notes: its rows have none."""
    op.add_column("domains", sa.Column("notes", sa.JSON(), server_default="{}", nullable=False))
    d = sa.table("domains", sa.column("id", sa.BigInteger), sa.column("options", sa.JSON), sa.column("notes", sa.JSON))
    bind, last = op.get_bind(), 0
    while found := bind.execute(
        sa.select(d.c.id, d.c.options).where(d.c.id > last).order_by(d.c.id).limit(_AT_ONCE)
    ).all():
        last = found[-1].id
        noted = [
            {"at": row.id, "kept": {name: row.options[name] for name in _NOTES if row.options.get(name)}}
            for row in found
        ]
        if some := [one for one in noted if one["kept"]]:
            bind.execute(d.update().where(d.c.id == sa.bindparam("at")).values(notes=sa.bindparam("kept")), some)
