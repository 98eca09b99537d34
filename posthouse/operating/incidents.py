"""Faults of the relay itself, as other hosts told us, for commands and pages: listed, shown, closed."""

from __future__ import annotations

from typing import Any

from enroll.errors import conflict, not_found
from posthouse.wiring import Core
from relay.base.clock import iso
from relay.base.storage import incidents
from relay.base.storage.incidents import Incident
from relay.standing.feed import CURES, INCIDENTS


async def listing(core: Core, *, closed: bool, limit: int, before: int | None = None) -> list[Incident]:
    """The newest first, those with numbers under `before`; with `closed` those that are closed too."""
    async with core.storage.read() as tx:
        return await incidents.listing(tx, state=None if closed else incidents.OPEN, before=before, limit=limit)


async def get(core: Core, number: int) -> Incident:
    """One of them. Raises EnrollError 404."""
    async with core.storage.read() as tx:
        found = await incidents.get(tx, number)
    if found is None:
        raise not_found(f"there is no incident {number}")
    return found


async def close(core: Core, number: int) -> Incident:
    """Close one that is fixed; what it was before. Raises EnrollError 404, or 409 for a closed one."""
    found, now = await get(core, number), core.clock.now()
    if not await core.storage.write(lambda tx: incidents.close(tx, number, now)):
        raise conflict(f"incident {number} is closed already")
    return found


def facts(i: Incident) -> dict[str, Any]:
    """For programs, with what its kind means and what cures it."""
    return {
        "number": i.id, "kind": i.kind, "says": INCIDENTS.get(i.kind, ""), "cure": CURES.get(i.kind, ""),
        "state": i.state, "count": i.count, "opened_at": iso(i.opened_at), "seen_at": iso(i.seen_at),
        "closed_at": iso(i.closed_at) if i.closed_at is not None else None,
        "examples": [e | {"at": iso(e["at"])} for e in i.examples],
    }
