"""Rows into domains: a row, its pairs, and the parents at which somebody else must agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from enroll.domains.model import Domain, domain_of
from enroll.errors import not_found
from relay.base import names
from relay.base.storage import Tx
from relay.base.storage import domains as rows
from relay.base.storage.domains import KeyRow, Row


class Recent:
    """Domains as they were last made: the same row and pairs give the same value again, which saves most of the work
    of a long list that is asked for again and again. Nothing is ever out of date, for all of it is compared."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[int, tuple[Row, Sequence[KeyRow], tuple[str, ...], Domain]] = {}

    def domain_of(self, row: Row, pairs: Sequence[KeyRow], consent: tuple[str, ...]) -> Domain:
        """As `model.domain_of`."""
        last = self._made.get(row.id)
        if last is not None and last[0] == row and last[1] == pairs and last[2] == consent:
            return last[3]
        if len(self._made) >= self._most:
            self._made.clear()
        made = domain_of(row, pairs, consent)
        self._made[row.id] = (row, pairs, consent, made)
        return made


async def load(
    tx: Tx, found: Sequence[Row], member_id: int | None = None, recent: Recent | None = None
) -> list[Domain]:
    """The domains of `found`, in order. `member_id`: they are (nearly) all that this member has."""
    if member_id is None:
        pairs = await rows.pairs(tx, [row.id for row in found])
    else:
        pairs = await rows.pairs_of_member(tx, member_id)
    above = {row.name: names.parents(row.name) for row in found}
    held: dict[str, list[Row]] = {}
    for holder in await rows.holders(tx, sorted({p for parents in above.values() for p in parents})):
        held.setdefault(holder.name, []).append(holder)
    make = domain_of if recent is None else recent.domain_of
    return [make(row, pairs.get(row.id, []), _consent(row, above[row.name], held)) for row in found]


async def load_one(tx: Tx, row: Row | None) -> Domain:
    """The domain of `row`. Raises EnrollError 404 for None and for a deleted one."""
    if row is None or row.state == "deleted":
        raise not_found("No such domain")
    return (await load(tx, [row]))[0]


def _consent(row: Row, parents: Iterable[str], held: dict[str, list[Row]]) -> tuple[str, ...]:
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
