"""Tables of TLS towards others: policies that domains published, what TLS sessions came to, reports about that."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, Index, Integer, String, Table, text

from relay.base.storage.tables.ground import metadata

sts_policies = Table(
    "sts_policies", metadata,
    Column("domain", String(253), primary_key=True),
    Column("policy_id", String(32), nullable=False),  # of the TXT record it was fetched for
    Column("mode", String(8), nullable=False),  # enforce | testing | none
    Column("mx", JSON, nullable=False),
    Column("max_age", Integer, nullable=False),
    Column("fetched_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("used_at", Double, nullable=False),
    info={"kept": "purged: sts_policies"},
)

tls_sessions = Table(
    "tls_sessions", metadata,
    Column("day", String(10), primary_key=True),
    Column("domain", String(253), primary_key=True),
    Column("policy", String(16), primary_key=True),  # tlsa | sts | no-policy-found
    Column("policy_hash", String(16), primary_key=True),
    Column("result", String(32), primary_key=True),  # "": success
    Column("mx", String(253), primary_key=True),
    Column("ip", String(45), primary_key=True),
    Column("source", String(45), primary_key=True),
    Column("said", JSON, nullable=False),  # the policy's lines and exchanger patterns
    Column("n", Integer, nullable=False),
    sqlite_with_rowid=False,
    info={"kept": "purged: tls_sessions"},
)

tls_totals = Table(
    "tls_totals", metadata,
    Column("day", String(10), primary_key=True),
    Column("policy", String(20), primary_key=True),  # as attempts name it
    Column("result", String(32), primary_key=True),
    Column("n", Integer, nullable=False),
    info={"kept": "purged: tls_sessions"},
)

tls_reports = Table(
    "tls_reports", metadata,
    Column("day", String(10), primary_key=True),
    Column("domain", String(253), primary_key=True),
    Column("state", String(8), nullable=False),  # waiting | sent | failed
    Column("next_at", Double, nullable=False),
    Column("report_id", String(64), nullable=False),
    Column("sent_to", JSON, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("successes", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("says", String(500), nullable=False, server_default=""),
    Index(
        "ix_tls_reports_due", "next_at", sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    info={"kept": "purged: tls_reports"},
)
