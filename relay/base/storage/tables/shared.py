"""Tables with several writers: events, webhooks, duties, versions and what they changed; whose database it is."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, LargeBinary, String, Table, text

from relay.base.storage.tables.ground import HAPPENED_AFTERWARDS, Id, id_column, metadata

events = Table(
    "events", metadata, id_column(),
    Column("at", Double, nullable=False),
    Column("type", String(32), nullable=False),
    Column("member_id", Id, nullable=False),
    Column("domain_id", Id),
    Column("message_id", Id),
    Column("recipient_id", Id),
    Column("data", JSON, nullable=False),
    Index("ix_events_member_id_id", "member_id", "id"),
    Index("ix_events_at", "at"),
    Index("ix_events_message_id", "message_id"),
    Index(
        "ix_events_afterwards", "member_id", "type", "recipient_id",
        sqlite_where=text(HAPPENED_AFTERWARDS), postgresql_where=text(HAPPENED_AFTERWARDS),
    ),
    sqlite_autoincrement=True,
    info={"kept": "purged: events"},
)

webhooks = Table(
    "webhooks", metadata, id_column(),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("url", String(2000), nullable=False),
    Column("types", JSON, nullable=False),  # of events; empty: all
    Column("description", String(255), nullable=False, server_default=""),
    Column("secret", LargeBinary, nullable=False),
    Column("old_secret", LargeBinary),
    Column("old_until", Double),
    Column("state", String(12), nullable=False),  # live | failing | disabled | deleted
    Column("reason", String(500), nullable=False, server_default=""),
    Column("cursor", Id, nullable=False),  # the last event looked at
    Column("failing_since", Double),
    Column("created_at", Double, nullable=False),
    sqlite_autoincrement=True,
    info={"kept": "stays: until its member removes it"},
)

webhook_deliveries = Table(
    "webhook_deliveries", metadata, id_column(),
    Column("webhook_id", Id, ForeignKey("webhooks.id"), nullable=False),
    Column("event_id", Id),  # null: a test
    Column("type", String(32), nullable=False),
    Column("state", String(12), nullable=False),  # waiting | delivered | failed
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("tried_at", Double),
    Column("status", Integer),  # of the last answer; null: there was none
    Column("seconds", Double, nullable=False, server_default="0"),
    Column("says", String(500), nullable=False, server_default=""),
    Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
    Index("ix_webhook_deliveries_webhook_id_event_id", "webhook_id", "event_id"),
    Index("ix_webhook_deliveries_created_at", "created_at"),
    Index(
        "ix_webhook_deliveries_due", "webhook_id", "next_at",
        sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'"),
    ),
    sqlite_autoincrement=True,
    info={"kept": "purged: webhooks"},
)

versions = Table(
    "versions", metadata,
    Column("name", String(32), primary_key=True),
    Column("n", Id, nullable=False),
    info={"kept": "stays: a few rows"},
)

directory_changes = Table(
    "directory_changes", metadata,
    Column("n", Id, primary_key=True, autoincrement=False),  # the version `directory` that it was raised to
    Column("kind", String(8), primary_key=True),  # member | key | domain
    Column("subject", Id, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
    info={"kept": "purged: changes"},
)

beside = Table(
    "beside", metadata,
    Column("name", String(32), primary_key=True),  # a revision of the schema, or a word of `ground`
    Column("n", Integer, nullable=False),  # of a revision: the oldest whose programs can work with it
    info={"kept": "stays: a row a schema"},
)

duties = Table(
    "duties", metadata,
    Column("name", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Double, nullable=False),
    info={"kept": "stays: a row a duty"},
)

master_key = Table(
    "master_key", metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    Column("key_id", String(16), nullable=False),
    Column("since", Double, nullable=False),
    info={"kept": "stays: one row"},
)
