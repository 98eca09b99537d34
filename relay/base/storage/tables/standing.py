"""Tables that standing writes, incidents, and what receivers report about members' domains.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from relay.base.storage.tables.ground import Id, id_column, metadata

# What became of members' mail, in slices of ten minutes (relay.standing).
standing_counts = Table(
    "standing_counts", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("at", Double, primary_key=True, index=True),  # beginning of the slice
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("bounced", Integer, nullable=False, server_default="0"),
    Column("late", Integer, nullable=False, server_default="0"),  # bounced after delivered
    Column("complaints", Integer, nullable=False, server_default="0"),  # until schema 0011; now standing_failures
    Column("excused", Integer, nullable=False, server_default="0"),  # bounces that were the relay's own fault
    info={"kept": "purged: standing"},
)

# Who failed, each recipient once a kind: keyed hashes, no addresses.
standing_failures = Table(
    "standing_failures", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("kind", String(10), primary_key=True),  # refused | failed | late | complaint
    Column("who", LargeBinary(16), primary_key=True),  # of the canonical address
    Column("domain", LargeBinary(8), nullable=False),  # of its organisation's domain
    Column("at", Double, nullable=False),  # beginning of the slice of the last one
    Index("ix_standing_failures_at", "at"),
    info={"kept": "purged: failures"},
)

standings = Table(
    "standings", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("stage", String(12), nullable=False),  # good | notice | slowed | suspended
    Column("stage_at", Double, nullable=False),
    Column("counted_from", Double, nullable=False, server_default="0"),  # mail accepted before doesn't count
    Column("told_at", Double),  # the last letter
    info={"kept": "stays: a row a member"},
)

standing_cursor = Table(
    "standing_cursor", metadata,
    Column("name", String(32), primary_key=True),
    Column("event_id", Id, nullable=False),  # the last event counted
    info={"kept": "stays: one row"},
)

incidents = Table(
    "incidents", metadata, id_column(),
    Column("kind", String(20), nullable=False),
    Column("state", String(8), nullable=False),  # open | closed
    Column("opened_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("closed_at", Double, index=True),
    Column("count", Integer, nullable=False),
    Column("examples", JSON, nullable=False),
    Index(
        "ix_incidents_open", "kind", unique=True, sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    sqlite_autoincrement=True,
    info={"kept": "purged: incidents"},
)

# What each domain may send a day once its age says no more (relay.standing.conduct).
conduct_days = Table(
    "conduct_days", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("day", String(10), primary_key=True),
    Column("per_day", Integer, nullable=False),  # recipients, from this day on
    Column("used", Integer, nullable=False),  # on the day before
    Column("change", String(8), nullable=False),  # grew | held | shrank
    sqlite_with_rowid=False,
    info={"kept": "stays: a row a domain and day on which it sent"},
)


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
