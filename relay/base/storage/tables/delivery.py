"""Tables of pacing: what was learnt of receiving sites, which process has how many lanes there, which domains they
serve."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Integer, String, Table, text

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
