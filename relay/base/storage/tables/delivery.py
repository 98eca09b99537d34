"""Tables of delivery. Pacing: what was learnt of receiving sites, which process has how many lanes there, which domains
they serve. TLS: policies that domains published, what TLS sessions came to, reports about that.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, Index, Integer, String, Table, text

from relay.base.storage.tables.ground import metadata

sites = Table(
    "sites", metadata,
    # A site's name; with "/" and a domain behind it, that sender's mail to the site.
    Column("name", String(255), primary_key=True),
    Column("lanes", Double, nullable=False),  # conversations at once, of all processes together
    Column("rate", Double),  # messages a second; null: not limited
    Column("paused_until", Double, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),  # signs since the last success
    Column("held", Boolean, nullable=False, server_default=text("false")),  # paused by the operator, without an end
    Column("says", String(1000), nullable=False, server_default=""),  # the reply that it was learnt from
    Column("host", String(253), nullable=False, server_default=""),  # who said it
    Column("source", String(16), nullable=False),  # learnt | operator
    Column("changed_at", Double, nullable=False, index=True),
    info={"kept": "purged: sites"},
)

site_shares = Table(
    "site_shares", metadata,
    Column("site", String(255), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("lanes", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),  # lanes it would like besides
    Column("until", Double, nullable=False, index=True),
    info={"kept": "purged: sites"},
)

destinations = Table(
    "destinations", metadata,
    Column("domain", String(253), primary_key=True),
    Column("site", String(255), nullable=False, index=True),
    Column("seen_at", Double, nullable=False, index=True),
    info={"kept": "purged: sites"},
)


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
