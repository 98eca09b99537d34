"""TLS towards others: which policy held in an attempt and what was negotiated; what a sender asks of TLS; policies of
MTA-STS; sessions counted and reports about them.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    """A process of the former version writes neither of the new columns: nothing is known of its attempts, and its
    messages ask for nothing."""
    op.add_column("messages", sa.Column("tls_required", sa.Boolean()))
    for name, size in (("tls_policy", 20), ("tls_cipher", 64), ("tls_verdict", 32)):
        op.add_column("attempts", sa.Column(name, sa.String(size), server_default="", nullable=False))
    op.create_table(
        "sts_policies",
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("policy_id", sa.String(32), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("mx", sa.JSON(), nullable=False),
        sa.Column("max_age", sa.Integer(), nullable=False),
        sa.Column("fetched_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name="pk_sts_policies"),
    )
    op.create_index("ix_sts_policies_expires_at", "sts_policies", ["expires_at"])
    op.create_table(
        "tls_sessions",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.Column("policy_hash", sa.String(16), nullable=False),
        sa.Column("result", sa.String(32), nullable=False),
        sa.Column("mx", sa.String(253), nullable=False),
        sa.Column("ip", sa.String(45), nullable=False),
        sa.Column("source", sa.String(45), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "domain", "policy", "policy_hash", "result", "mx", "ip", "source", name="pk_tls_sessions"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tls_totals",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("policy", sa.String(20), nullable=False),
        sa.Column("result", sa.String(32), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "policy", "result", name="pk_tls_totals"),
    )
    op.create_table(
        "tls_reports",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("report_id", sa.String(64), nullable=False),
        sa.Column("sent_to", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("successes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("says", sa.String(500), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("day", "domain", name="pk_tls_reports"),
    )
    op.create_index(
        "ix_tls_reports_due", "tls_reports", ["next_at"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )
