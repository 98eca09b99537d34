"""Transmissions: what was sent as one to several people, each by itself; and the name that waits for its address.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the three tables and the column."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("sender_emails", sa.Column("wanted_name", sa.String(length=100), nullable=True))
    op.create_table(
        "transmissions",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("member_id", number, nullable=False),
        sa.Column("domain_id", number, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("sender_name", sa.String(length=100), nullable=False),
        sa.Column("sender_address", sa.String(length=320), nullable=False),
        sa.Column("reply_to", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("placeholder", sa.String(length=200), server_default="", nullable=False),
        sa.Column("idempotency_key", sa.String(length=100), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_transmissions_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transmissions")),
        sa.UniqueConstraint("uuid", name=op.f("uq_transmissions_uuid")),
        sa.UniqueConstraint("member_id", "idempotency_key", name=op.f("uq_transmissions_member_id_idempotency_key")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_transmissions_member_id_id", "transmissions", ["member_id", "id"])
    op.create_index("ix_transmissions_created_at", "transmissions", ["created_at"])
    op.create_table(
        "transmission_recipients",
        sa.Column("transmission_id", number, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("recipient_id", number, nullable=True),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["transmission_id"], ["transmissions.id"], name=op.f("fk_transmission_recipients_transmission_id")
        ),
        sa.PrimaryKeyConstraint("transmission_id", "position", name=op.f("pk_transmission_recipients")),
    )
    op.create_table(
        "transmission_contents",
        sa.Column("transmission_id", number, nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transmission_id"], ["transmissions.id"], name=op.f("fk_transmission_contents_transmission_id")
        ),
        sa.PrimaryKeyConstraint("transmission_id", name=op.f("pk_transmission_contents")),
    )
    op.create_index(op.f("ix_transmission_contents_created_at"), "transmission_contents", ["created_at"])
