"""Tables of a member's senders: addresses, the codes that prove them, names to send under, which `storage.senders`
writes; and what was sent by them as one transmission, which `storage.transmissions` does."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from relay.base.storage.tables.ground import Id, id_column, metadata

sender_emails = Table(
    "sender_emails", metadata, id_column(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False),
    Column("address", String(320), nullable=False),  # as it is written in a header
    Column("folded", String(320), nullable=False),  # for comparing: in lower case
    Column("domain", String(253), nullable=False),
    Column("verified_at", Double),
    Column("data", JSON),  # the client's own
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("wanted_name", String(100)),  # the name that its member will send under once it is proved
    UniqueConstraint("member_id", "folded"),
    sqlite_autoincrement=True,
    info={"kept": "stays: until its member removes it"},
)

# A code outlives the address it was sent to, so that deleting and adding it again wins no further codes.
sender_codes = Table(
    "sender_codes", metadata, id_column(),
    Column("member_id", Id, nullable=False),
    Column("email_uuid", String(36), nullable=False),
    Column("folded", String(320), nullable=False),
    Column("mac", String(64), nullable=False),
    Column("sent_at", Double, nullable=False, index=True),
    Column("expires_at", Double, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    info={"kept": "stays: an hour, until the next code is sent"},
)

sender_details = Table(
    "sender_details", metadata, id_column(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False),
    Column("email_id", Id, ForeignKey("sender_emails.id"), nullable=False, index=True),
    Column("from_name", String(100), nullable=False),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("data", JSON),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("member_id", "email_id", "from_name"),
    sqlite_autoincrement=True,
    info={"kept": "stays: until its member removes it"},
)

transmissions = Table(
    "transmissions", metadata, id_column(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False),
    Column("domain_id", Id, nullable=False),  # that it was sent from
    Column("kind", String(16), nullable=False),  # TRANSACTIONAL | MARKETING
    Column("subject", String(200), nullable=False),
    Column("sender_name", String(100), nullable=False),
    Column("sender_address", String(320), nullable=False),
    Column("reply_to", JSON(none_as_null=True)),  # {address, name}
    Column("metadata", JSON(none_as_null=True)),
    Column("placeholder", String(200), nullable=False, server_default=""),
    Column("idempotency_key", String(100)),
    Column("body_hash", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("member_id", "idempotency_key"),
    Index("ix_transmissions_member_id_id", "member_id", "id"),
    Index("ix_transmissions_created_at", "created_at"),
    sqlite_autoincrement=True,
    info={"kept": "purged: transmissions"},
)

# In the order in which they were named; one that is named twice has one row in `recipients`.
transmission_recipients = Table(
    "transmission_recipients", metadata,
    Column("transmission_id", Id, ForeignKey("transmissions.id"), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("address", String(320), nullable=False),
    Column("name", String(255), nullable=False, server_default=""),
    Column("recipient_id", Id),  # null: refused
    Column("reason", String(500), nullable=False, server_default=""),  # why it was refused
    info={"kept": "purged: transmissions"},
)

transmission_contents = Table(
    "transmission_contents", metadata,
    Column("transmission_id", Id, ForeignKey("transmissions.id"), primary_key=True, autoincrement=False),
    Column("html", Text, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    info={"kept": "purged: contents"},
)
