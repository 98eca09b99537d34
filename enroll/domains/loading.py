"""Rows into domains: a row, its pairs, and the parents at which somebody else must agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from enroll.domains.model import Domain, domain_of
from enroll.errors import not_found
from relay.base import names
from relay.base.storage import Tx
from relay.base.storage import domains as rows
from relay.base.storage.domains import Row


async def load(tx: Tx, found: Sequence[Row]) -> list[Domain]:
    """The domains of `found`, in order."""
    pairs = await rows.pairs(tx, [row.id for row in found])
    above = {row.name: names.parents(row.name) for row in found}
    held = await holders(tx, above.values())
    return [domain_of(row, pairs.get(row.id, []), consent_for(row, above[row.name], held)) for row in found]


async def load_one(tx: Tx, row: Row | None) -> Domain:
    """The domain of `row`. Raises EnrollError 404 for None and for a deleted one."""
    if row is None or row.state == "deleted":
        raise not_found("No such domain")
    return (await load(tx, [row]))[0]


async def holders(tx: Tx, parents: Iterable[tuple[str, ...]]) -> dict[str, list[Row]]:
    """Who holds any of these names."""
    held: dict[str, list[Row]] = {}
    for holder in await rows.holders(tx, sorted({parent for above in parents for parent in above})):
        held.setdefault(holder.name, []).append(holder)
    return held


def consent_for(row: Row, parents: Iterable[str], held: Mapping[str, list[Row]]) -> tuple[str, ...]:
    """The nearest held parent, if it is another member's and was proved before this name was."""
    for parent in parents:
        holders = held.get(parent)
        if not holders:
            continue
        if any(h.member_id == row.member_id for h in holders):
            return ()
        since = min(h.first_verified_at or 0.0 for h in holders)
        # A name that was proved first owes nothing to a parent that came later.
        if row.first_verified_at is not None and row.first_verified_at <= since:
            return ()
        return (parent,)
    return ()
