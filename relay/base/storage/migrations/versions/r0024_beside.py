"""Processes that write beside each other: events without a lock, counters that are added up later.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_FIELDS = ("accepted", "delivered", "deferred", "bounced", "complaints", "opens", "clicks")

# Before its first event a transaction says, for all to see, above which id its own will be: by the number of an
# advisory lock that it shares with everybody and that goes with it. Readers stop below the lowest one
# (`storage.events`).
_BEGIN = """
CREATE FUNCTION posthouse_events_begin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('posthouse.appending', true), '') = '' THEN
        PERFORM pg_advisory_xact_lock_shared(
            (5263448::bigint << 40) | CASE WHEN is_called THEN last_value ELSE 0 END
        ) FROM events_id_seq;
        PERFORM set_config('posthouse.appending', 'yes', true);
    END IF;
    RETURN NULL;
END
$$
"""
_TRIGGER = """
CREATE TRIGGER posthouse_events_begin BEFORE INSERT ON events
FOR EACH STATEMENT EXECUTE FUNCTION posthouse_events_begin()
"""


def upgrade() -> None:
    """Both have the tables; what keeps events in order is for PostgreSQL, since SQLite has one writer at a time."""
    op.create_table(
        "beside", sa.Column("name", sa.String(32), primary_key=True), sa.Column("n", sa.Integer, nullable=False)
    )
    op.create_table(
        "daily_pending",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("domain_id", _ID, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("member_id", _ID, nullable=False),
        *(sa.Column(field, sa.Integer, nullable=False, server_default="0") for field in _FIELDS),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_BEGIN)
        op.execute(_TRIGGER)
    # Where nobody has been yet, there is none of them to wait for.
    op.execute("INSERT INTO beside (name, n) SELECT 'unordered', 1 WHERE NOT EXISTS (SELECT 1 FROM members)")
