"""What receivers report about members' domains, by day.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Three new tables."""
    op.create_table(
        "aggregate_reports",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("domain_id", _ID, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("proved", sa.String(253), nullable=False),
        sa.Column("reporter", sa.String(255), nullable=False),
        sa.Column("report_id", sa.String(255), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aggregate_reports")),
        sa.UniqueConstraint(
            "domain_id", "kind", "proved", "report_id",
            name=op.f("uq_aggregate_reports_domain_id_kind_proved_report_id"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dmarc_days",
        sa.Column("domain_id", _ID, autoincrement=False, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("reporter", sa.String(255), nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("dkim", sa.Boolean(), nullable=False),
        sa.Column("spf", sa.Boolean(), nullable=False),
        sa.Column("disposition", sa.String(12), nullable=False),
        sa.Column("signed_by", sa.String(253), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "domain_id", "day", "reporter", "proved", "address", "dkim", "spf", "disposition",
            name=op.f("pk_dmarc_days"),
        ),
    )
    op.create_table(
        "tls_days",
        sa.Column("domain_id", _ID, autoincrement=False, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("reporter", sa.String(255), nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.String(40), nullable=False),
        sa.Column("result", sa.String(40), nullable=False),
        sa.Column("host", sa.String(253), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "domain_id", "day", "reporter", "proved", "policy", "result", "host", name=op.f("pk_tls_days")
        ),
    )
    for table in ("aggregate_reports", "dmarc_days", "tls_days"):
        op.create_index(f"ix_{table}_day", table, ["day"])
