"""When each API key was last used: the relay's knowledge of a thing that enroll owns."""

from __future__ import annotations

from collections.abc import Mapping

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import key_use


async def used(tx: Tx, at: Mapping[int, float]) -> None:
    """Key id → time of its latest use."""
    if not at:
        return
    statement = upsert(tx, key_use)
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["key_id"], set_={"used_at": statement.excluded.used_at}),
        [{"key_id": k, "used_at": t} for k, t in sorted(at.items())],
    )
