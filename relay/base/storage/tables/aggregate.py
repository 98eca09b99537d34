"""Tables of what receivers report about members' domains. `storage.aggregate` writes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, String, Table, UniqueConstraint

from relay.base.storage.tables.ground import Id, id_column, metadata

# Which reports have been taken, so that one that comes again counts once.
aggregate_reports = Table(
    "aggregate_reports", metadata, id_column(),
    Column("domain_id", Id, nullable=False),
    Column("kind", String(8), nullable=False),  # dmarc | tls
    Column("proved", String(253), nullable=False),  # the domain that its mail proved to come from; "": none
    Column("reporter", String(255), nullable=False),
    Column("report_id", String(255), nullable=False),
    Column("day", String(10), nullable=False),
    Column("received_at", Double, nullable=False),
    UniqueConstraint("domain_id", "kind", "proved", "report_id"),
    Index("ix_aggregate_reports_day", "day"),
    sqlite_autoincrement=True,
    info={"kept": "purged: aggregate"},
)

dmarc_days = Table(
    "dmarc_days", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("day", String(10), primary_key=True),
    Column("reporter", String(255), primary_key=True),
    Column("proved", Boolean, primary_key=True),
    Column("address", String(45), primary_key=True),
    Column("dkim", Boolean, primary_key=True),  # passed in alignment
    Column("spf", Boolean, primary_key=True),
    Column("disposition", String(12), primary_key=True),
    Column("signed_by", String(253), nullable=False),  # in the last report
    Column("n", BigInteger, nullable=False),
    Index("ix_dmarc_days_day", "day"),
    info={"kept": "purged: aggregate"},
)

tls_days = Table(
    "tls_days", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("day", String(10), primary_key=True),
    Column("reporter", String(255), primary_key=True),
    Column("proved", Boolean, primary_key=True),
    Column("policy", String(40), primary_key=True),
    Column("result", String(40), primary_key=True),
    Column("host", String(253), primary_key=True),
    Column("n", BigInteger, nullable=False),
    Index("ix_tls_days_day", "day"),
    info={"kept": "purged: aggregate"},
)
