"""What every table is made of: the metadata with its names of constraints, ids, and what an open recipient,
a finished message and an event after delivery are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData

from relay.base.events import AFTERWARDS

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
FINISHED = "finished_at IS NOT NULL"
HAPPENED_AFTERWARDS = "type IN ({})".format(", ".join(f"'{kind}'" for kind in AFTERWARDS))
TAKEN_BACK = "taken back"  # in `beside`, with the revision that the schema really has
UNORDERED = "unordered"  # in `beside`: no program is left that needs events to be committed in their order
HAS_BYTES = "has_bytes AND finished_at IS NOT NULL"


def id_column() -> Column[int]:
    """A table's own rising id."""
    return Column("id", Id, primary_key=True, autoincrement=True)
