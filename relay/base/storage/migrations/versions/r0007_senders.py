"""Senders: a member's addresses, the codes that prove them, and the names to send under.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the three tables."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "sender_emails",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("member_id", number, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("folded", sa.String(length=320), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("verified_at", sa.Double(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_sender_emails_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_emails")),
        sa.UniqueConstraint("uuid", name=op.f("uq_sender_emails_uuid")),
        sa.UniqueConstraint("member_id", "folded", name=op.f("uq_sender_emails_member_id_folded")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sender_codes",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("member_id", number, nullable=False),
        sa.Column("email_uuid", sa.String(length=36), nullable=False),
        sa.Column("folded", sa.String(length=320), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_codes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sender_codes_sent_at"), "sender_codes", ["sent_at"])
    op.create_table(
        "sender_details",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("member_id", number, nullable=False),
        sa.Column("email_id", number, nullable=False),
        sa.Column("from_name", sa.String(length=100), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_sender_details_member_id")),
        sa.ForeignKeyConstraint(["email_id"], ["sender_emails.id"], name=op.f("fk_sender_details_email_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_details")),
        sa.UniqueConstraint("uuid", name=op.f("uq_sender_details_uuid")),
        sa.UniqueConstraint(
            "member_id", "email_id", "from_name", name=op.f("uq_sender_details_member_id_email_id_from_name")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sender_details_email_id"), "sender_details", ["email_id"])
