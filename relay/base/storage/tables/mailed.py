"""Tables that the relay writes: messages and recipients, what was spent, refused, counted."""

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
    String,
    Table,
    UniqueConstraint,
    text,
)

from relay.base.storage.tables.ground import FINISHED, HAS_BYTES, OPEN, Id, id_column, metadata

messages = Table(
    "messages", metadata, id_column(),
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
    Column("has_bytes", Boolean, nullable=False, server_default=text("false")),  # finished, and not yet cleaned up
    # Of the message as its client sent it (relay.intake.repeats); null: an equal one is another message.
    Column("fingerprint", BigInteger),
    Column("tls_required", Boolean),  # true: REQUIRETLS; false: TLS-Required: No; null: as the recipient's domain asks
    Index("ix_messages_member_id_id", "member_id", "id"),
    Index(
        "ix_messages_finished_at", "finished_at", sqlite_where=text(FINISHED), postgresql_where=text(FINISHED)
    ),
    Index(
        "ix_messages_has_bytes", "finished_at", "id", sqlite_where=text(HAS_BYTES), postgresql_where=text(HAS_BYTES)
    ),
    Index(
        "ix_messages_fingerprint", "fingerprint",
        sqlite_where=text("fingerprint IS NOT NULL"), postgresql_where=text("fingerprint IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
    info={"kept": "purged: messages"},
)

bodies = Table(
    "bodies", metadata,
    Column("message_id", Id, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False),  # prepended lines shared by recipients without a head of their own
    # The message as kept: header fields, blank line, body. Empty where each recipient's head is a whole copy.
    Column("body", LargeBinary, nullable=False),
    info={"kept": "purged: bodies"},
)

heads = Table(
    "heads", metadata,
    Column("recipient_id", Id, ForeignKey("recipients.id"), primary_key=True, autoincrement=False),
    Column("message_id", Id, ForeignKey("messages.id"), nullable=False, index=True),
    Column("head", LargeBinary, nullable=False),
    info={"kept": "purged: bodies"},
)

recipients = Table(
    "recipients", metadata, id_column(),
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
    Column("report_sent_to", String(320)),  # where the report of its failure went
    Column("delay_told", Boolean, nullable=False, server_default=text("false")),
    Index("ix_recipients_due", "next_at", "id", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
    # With all that is counted of what waits, so that no row is read for it.
    Index(
        "ix_recipients_member_due", "member_id", "next_at", "id", "state", "held",
        sqlite_where=text(OPEN), postgresql_where=text(OPEN),
    ),
    Index(
        "ix_recipients_lease_owner", "lease_owner",
        sqlite_where=text("lease_owner IS NOT NULL"), postgresql_where=text("lease_owner IS NOT NULL"),
    ),
    Index("ix_recipients_member_id_id", "member_id", "id"),
    Index(
        "ix_recipients_report_due", "id",
        sqlite_where=text("report_due IS NOT NULL"), postgresql_where=text("report_due IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
    info={"kept": "purged: messages"},
)

attempts = Table(
    "attempts", metadata, id_column(),
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
    Column("tls_policy", String(20), nullable=False, server_default=""),  # which policy held
    Column("tls_cipher", String(64), nullable=False, server_default=""),
    Column("tls_verdict", String(32), nullable=False, server_default=""),  # of the certificate; or what TLS failed for
    sqlite_autoincrement=True,
    info={"kept": "purged: messages"},
)

allowances = Table(
    "allowances", metadata,
    Column("domain_id", Id, primary_key=True, autoincrement=False),
    Column("at", Double, primary_key=True, index=True),
    Column("n", Integer, nullable=False),
    info={"kept": "purged: allowances"},
)

suppressions = Table(
    "suppressions", metadata, id_column(),
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
    info={"kept": "purged: suppressions"},
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
    info={"kept": "purged: refusals"},
)

idempotency = Table(
    "idempotency", metadata,
    Column("member_id", Id, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("at", Double, nullable=False, index=True),
    Column("status", Integer),  # null while the first request runs
    Column("answer", JSON),
    info={"kept": "purged: idempotency"},
)

key_use = Table(
    "key_use", metadata,
    Column("key_id", Id, primary_key=True, autoincrement=False),
    Column("used_at", Double, nullable=False),
    info={"kept": "stays: a row a key"},
)

# What transactions beside each other count on PostgreSQL, each in rows of its own, until it is added up into the days.
daily_pending = Table(
    "daily_pending", metadata, id_column(),
    Column("domain_id", Id, nullable=False),
    Column("day", String(10), nullable=False),
    Column("member_id", Id, nullable=False),
    Column("accepted", Integer, nullable=False, server_default="0"),
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("deferred", Integer, nullable=False, server_default="0"),
    Column("bounced", Integer, nullable=False, server_default="0"),
    Column("complaints", Integer, nullable=False, server_default="0"),
    Column("opens", Integer, nullable=False, server_default="0"),
    Column("clicks", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    info={"kept": "purged: counted"},
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
    Column("opens", Integer, nullable=False, server_default="0"),
    Column("clicks", Integer, nullable=False, server_default="0"),
    Index("ix_daily_stats_member_id_day", "member_id", "day"),
    sqlite_with_rowid=False,  # a domain's days lie beside each other
    info={"kept": "stays: a row a domain and day, which figures over years are made of"},
)
