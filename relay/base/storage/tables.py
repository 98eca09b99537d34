"""The tables, once, for both engines. Times are Unix seconds (UTC) as doubles; ids rise and are never used twice.

Who writes a table stands beside it; one module each. The shape in the database is made by `migrations/`; a test
holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")
OPEN = "state IN ('queued', 'deferred')"


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


# -- enroll writes ---------------------------------------------------------------------------------------------

members = Table(
    "members", metadata, _id(),
    Column("handle", String(253), nullable=False, unique=True),
    Column("did", String(512), nullable=False, unique=True),
    Column("email", String(320), nullable=False, server_default=""),
    Column("password_hash", Text),
    Column("status", String(16), nullable=False, server_default="active"),  # active | suspended | deleted
    Column("reason", Text, nullable=False, server_default=""),
    Column("status_at", Double),
    Column("created_at", Double, nullable=False),
    Column("system", Boolean, nullable=False, server_default=text("false")),
    sqlite_autoincrement=True,
)

invites = Table(
    "invites", metadata, _id(),
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_by", Id, ForeignKey("members.id")),
    sqlite_autoincrement=True,
)

sessions = Table(
    "sessions", metadata, _id(),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("address", String(64), nullable=False, server_default=""),
    Column("agent", String(255), nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys", metadata, _id(),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),  # ["send", "read", "manage"]
    Column("domains", JSON),  # names; null: all of the member's
    Column("networks", JSON),  # CIDR; null: anywhere
    Column("description", String(255), nullable=False, server_default=""),
    Column("default_category", String(32), nullable=False, server_default="bulk"),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    sqlite_autoincrement=True,
)

domains = Table(
    "domains", metadata, _id(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("name", String(253), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("ownership_token", String(128), nullable=False),
    Column("options", JSON, nullable=False),
    Column("tier", String(64)),  # null: by age; a tier's name; "unlimited"
    Column("created_at", Double, nullable=False),
    Column("first_verified_at", Double),
    Column("checked_at", Double),
    Column("next_check_at", Double, index=True),
    Column("failing", Integer, nullable=False, server_default="0"),
    Column("findings", JSON),
    Column("return_path_ok", Boolean, nullable=False, server_default=text("false")),
    Column("provider", String(32), nullable=False, server_default=""),
    Column("provider_at", Double),
    Column("deleted_at", Double),
    UniqueConstraint("name", "member_id"),
    sqlite_autoincrement=True,
)

dkim_keys = Table(
    "dkim_keys", metadata, _id(),
    Column("domain_id", Id, ForeignKey("domains.id"), nullable=False, index=True),
    Column("stem", String(60), nullable=False),
    Column("state", String(16), nullable=False),  # pending | live | retiring | removed
    Column("rsa_private", LargeBinary, nullable=False),
    Column("rsa_txt", Text, nullable=False),
    Column("ed_private", LargeBinary, nullable=False),
    Column("ed_txt", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("state_at", Double, nullable=False),
    UniqueConstraint("domain_id", "stem"),
    sqlite_autoincrement=True,
)

# -- relay writes ----------------------------------------------------------------------------------------------

messages = Table(
    "messages", metadata, _id(),
    Column("queue_id", String(32), nullable=False, unique=True),
    Column("member_id", Id, nullable=False),
    Column("domain_id", Id),
    Column("key_id", Id),
    Column("door", String(8), nullable=False),  # smtp | http | own
    Column("mail_from", String(320), nullable=False),
    Column("header_from", String(320), nullable=False, server_default=""),
    Column("subject", String(255), nullable=False, server_default=""),
    Column("header_id", String(998), nullable=False, server_default=""),
    Column("category", String(32), nullable=False),
    Column("tags", JSON(none_as_null=True)),
    Column("metadata", JSON(none_as_null=True)),
    Column("envid", String(100)),
    Column("ret", String(4)),
    Column("size", Integer, nullable=False),
    Column("smtputf8", Boolean, nullable=False),
    Column("return_path", String(320), nullable=False),  # domain of the return path; "" = null sender
    Column("received_at", Double, nullable=False),
    Column("finished_at", Double),
    Index("ix_messages_member_id_id", "member_id", "id"),
    Index(
        "ix_messages_finished_at", "finished_at",
        sqlite_where=text("finished_at IS NOT NULL"), postgresql_where=text("finished_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

bodies = Table(
    "bodies", metadata,
    Column("message_id", Id, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False),  # prepended lines shared by recipients without a head of their own
    Column("body", LargeBinary, nullable=False),  # the message as kept: header fields, blank line, body
)

heads = Table(
    "heads", metadata,
    Column("recipient_id", Id, ForeignKey("recipients.id"), primary_key=True, autoincrement=False),
    Column("message_id", Id, ForeignKey("messages.id"), nullable=False, index=True),
    Column("head", LargeBinary, nullable=False),
)

recipients = Table(
    "recipients", metadata, _id(),
    Column("message_id", Id, ForeignKey("messages.id"), nullable=False, index=True),
    Column("member_id", Id, nullable=False),
    Column("domain_id", Id),
    Column("address", String(320), nullable=False),
    Column("destination", String(253), nullable=False),
    Column("state", String(12), nullable=False),  # queued deferred sent bounced suppressed cancelled
    Column("held", Boolean, nullable=False, server_default=text("false")),
    Column("next_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("lease_owner", String(64)),
    Column("lease_until", Double),
    Column("notify", String(32)),
    Column("orcpt", String(500)),
    Column("code", Integer),
    Column("says", String(1000), nullable=False, server_default=""),
    Column("settled_at", Double),
    Column("report_due", String(8)),  # owed to the sender: failed delayed relayed | arrived expanded
    Column("delay_told", Boolean, nullable=False, server_default=text("false")),
    Index("ix_recipients_due", "next_at", "id", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
    Index(
        "ix_recipients_member_due", "member_id", "next_at", "id",
        sqlite_where=text(OPEN), postgresql_where=text(OPEN),
    ),
    Index("ix_recipients_member_id_id", "member_id", "id"),
    Index(
        "ix_recipients_report_due", "id",
        sqlite_where=text("report_due IS NOT NULL"), postgresql_where=text("report_due IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts", metadata, _id(),
    Column("recipient_id", Id, ForeignKey("recipients.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("kind", String(12), nullable=False),  # delivered | later | never
    Column("host", String(253), nullable=False, server_default=""),
    Column("ip", String(45), nullable=False, server_default=""),
    Column("tls", String(40), nullable=False, server_default=""),
    Column("stage", String(12), nullable=False, server_default=""),
    Column("code", Integer),
    Column("enhanced", String(12), nullable=False, server_default=""),
    Column("says", String(1000), nullable=False, server_default=""),
    Column("seconds", Double, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

allowances = Table(
    "allowances", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("at", Double, primary_key=True),
    Column("n", Integer, nullable=False),
)

suppressions = Table(
    "suppressions", metadata, _id(),
    Column("member_id", Id, nullable=False),
    Column("canonical", String(320), nullable=False),
    Column("original", String(320), nullable=False),
    Column("reason", String(16), nullable=False),  # unsubscribe complaint hard_bounce manual import
    Column("detail", String(500), nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("categories", String(64), nullable=False, server_default=""),  # of mail, blank between; "": all
    UniqueConstraint("member_id", "canonical"),
    Index("ix_suppressions_member_id_id", "member_id", "id"),
    sqlite_autoincrement=True,
)

refusals = Table(
    "refusals", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("member_id", Id),
    Column("door", String(8), nullable=False),
    Column("rule", String(32), nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("request", JSON),  # what the same decision needs to be asked again: never message bytes
    Index("ix_refusals_member_id_at", "member_id", "at"),
)

idempotency = Table(
    "idempotency", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("at", Double, nullable=False, index=True),
    Column("status", Integer),  # null while the first request runs
    Column("answer", JSON),
)

key_use = Table(
    "key_use", metadata,
    Column("key_id", Id, primary_key=True, autoincrement=False),
    Column("used_at", Double, nullable=False),
)

daily_stats = Table(
    "daily_stats", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("day", String(10), primary_key=True),
    Column("member_id", Id, nullable=False),
    Column("accepted", Integer, nullable=False, server_default="0"),
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("deferred", Integer, nullable=False, server_default="0"),
    Column("bounced", Integer, nullable=False, server_default="0"),
    Column("complaints", Integer, nullable=False, server_default="0"),
    Index("ix_daily_stats_member_id_day", "member_id", "day"),
)

# What became of members' mail, in slices of ten minutes (relay.standing).
standing_counts = Table(
    "standing_counts", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("at", Double, primary_key=True),  # beginning of the slice
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("bounced", Integer, nullable=False, server_default="0"),
    Column("late", Integer, nullable=False, server_default="0"),  # bounced after delivered
    Column("complaints", Integer, nullable=False, server_default="0"),
    Column("excused", Integer, nullable=False, server_default="0"),  # bounces that were the relay's own fault
)

standings = Table(
    "standings", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("stage", String(12), nullable=False),  # good | notice | slowed | suspended
    Column("stage_at", Double, nullable=False),
    Column("counted_from", Double, nullable=False, server_default="0"),  # mail accepted before doesn't count
    Column("told_at", Double),  # the last letter
)

standing_cursor = Table(
    "standing_cursor", metadata,
    Column("name", String(32), primary_key=True),
    Column("event_id", Id, nullable=False),  # the last event counted
)

incidents = Table(
    "incidents", metadata, _id(),
    Column("kind", String(20), nullable=False),
    Column("state", String(8), nullable=False),  # open | closed
    Column("opened_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("count", Integer, nullable=False),
    Column("examples", JSON, nullable=False),
    Index(
        "ix_incidents_open", "kind", unique=True, sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    sqlite_autoincrement=True,
)

# -- both ------------------------------------------------------------------------------------------------------

events = Table(
    "events", metadata, _id(),
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
    sqlite_autoincrement=True,
)

webhooks = Table(
    "webhooks", metadata, _id(),
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
)

webhook_deliveries = Table(
    "webhook_deliveries", metadata, _id(),
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
)

versions = Table(
    "versions", metadata,
    Column("name", String(32), primary_key=True),
    Column("n", Id, nullable=False),
)

duties = Table(
    "duties", metadata,
    Column("name", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Double, nullable=False),
)
