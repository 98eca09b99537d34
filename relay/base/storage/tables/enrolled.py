"""Tables that enroll writes: members, their sign-ins and keys, domains."""

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
    Text,
    UniqueConstraint,
    text,
)

from relay.base.storage.tables.ground import Id, id_column, metadata

_NAMED = "smtp_user IS NOT NULL AND revoked_at IS NULL"

members = Table(
    "members", metadata, id_column(),
    Column("handle", String(253), nullable=False, unique=True),
    Column("did", String(512), nullable=False, unique=True),
    Column("email", String(320), nullable=False, server_default=""),
    Column("password_hash", Text),
    Column("status", String(16), nullable=False, server_default="active"),  # active | suspended | deleted
    Column("reason", Text, nullable=False, server_default=""),
    Column("status_at", Double),
    Column("created_at", Double, nullable=False),
    Column("system", Boolean, nullable=False, server_default=text("false")),
    Column("max_domains", Integer),  # null: what the configuration says
    Column("note", Text, nullable=False, server_default=""),  # the operator's, never shown to the member
    Column("operator", Boolean, nullable=False, server_default=text("false")),  # may open the operator's pages
    sqlite_autoincrement=True,
    info={"kept": "stays: a handle is never given to somebody else; personal data go when the account is deleted"},
)

audit = Table(
    "audit", metadata, id_column(),
    Column("at", Double, nullable=False, index=True),
    Column("member_id", Id),  # whom it concerns; null: the relay as a whole
    Column("actor", String(16), nullable=False),  # operator
    Column("who", String(253), nullable=False),
    Column("address", String(64), nullable=False, server_default=""),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Index("ix_audit_member_id_id", "member_id", "id"),
    sqlite_autoincrement=True,
    info={"kept": "purged: audit"},
)

invites = Table(
    "invites", metadata, id_column(),
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("used_by", Id, ForeignKey("members.id")),
    sqlite_autoincrement=True,
    info={"kept": "purged: invites"},
)

sessions = Table(
    "sessions", metadata, id_column(),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("address", String(64), nullable=False, server_default=""),
    Column("agent", String(255), nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("second_factor_at", Double),  # when it was proved; null: by a password alone
    sqlite_autoincrement=True,
    info={"kept": "purged: sessions"},
)

second_factors = Table(
    "second_factors", metadata, id_column(),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, unique=True),
    Column("secret", LargeBinary, nullable=False),  # sealed
    Column("last_step", BigInteger, nullable=False),  # RFC 6238 §5.2: a code is taken once
    Column("created_at", Double, nullable=False),
    sqlite_autoincrement=True,
    info={"kept": "stays: until its member removes it, or the account goes"},
)

recovery_codes = Table(
    "recovery_codes", metadata,
    Column("member_id", Id, ForeignKey("members.id"), primary_key=True, autoincrement=False),
    Column("code_hash", String(64), primary_key=True),
    info={"kept": "stays: until it is used, or the second factor goes"},
)

api_keys = Table(
    "api_keys", metadata, id_column(),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("secret_hash", String(64), nullable=False),
    Column("hashed_by", String(16)),  # the id of the master key; null: of one before schema 0009
    Column("scopes", JSON, nullable=False),  # ["send", "read", "manage"]
    Column("domains", JSON),  # names; null: all of the member's
    Column("networks", JSON),  # CIDR; null: anywhere
    Column("description", String(255), nullable=False, server_default=""),
    Column("default_category", String(32), nullable=False, server_default="bulk"),
    Column("null_sender", Boolean, nullable=False, server_default=text("false")),  # may say MAIL FROM:<>
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("smtp_user", String(64)),  # taken at AUTH beside the handle and the DID; null: these only
    Index(
        "ix_api_keys_smtp_user", "member_id", "smtp_user", unique=True, sqlite_where=text(_NAMED),
        postgresql_where=text(_NAMED),
    ),
    sqlite_autoincrement=True,
    info={"kept": "stays: with its member; the log of messages names it, and a revoked one is known"},
)

domains = Table(
    "domains", metadata, id_column(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("member_id", Id, ForeignKey("members.id"), nullable=False, index=True),
    Column("name", String(253), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("ownership_token", String(128), nullable=False),
    Column("options", JSON, nullable=False),  # what its owner chose: relay.base.domain_options.Options
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
    Column("tracking_ok", Boolean, nullable=False, server_default=text("false")),
    Column("asked_at", Double),
    Column("flags", JSON),  # of the findings: name → ok, where it could ever be asked
    Column("notes", JSON, nullable=False, server_default="{}"),  # what is kept besides: domain_options.Notes
    UniqueConstraint("name", "member_id"),
    sqlite_autoincrement=True,
    info={"kept": "stays: with its member; a deleted one comes back under its id"},
)

dns_links = Table(
    "dns_links", metadata, id_column(),
    Column("domain_id", Id, ForeignKey("domains.id"), nullable=False, index=True),
    Column("nonce", String(32), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("mailed_to", String(320), nullable=False, server_default=""),
    Column("told_at", Double),
    sqlite_autoincrement=True,
    info={"kept": "purged: dns_links"},
)

dkim_keys = Table(
    "dkim_keys", metadata, id_column(),
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
    info={"kept": "stays: private keys are destroyed when a pair is removed; a stem is never used twice"},
)
