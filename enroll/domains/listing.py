"""A member's whole list of domains with their figures, quickly also where there are thousands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enroll import stats as figures
from enroll.domains.model import Domain, consent_for, domain_of, holders
from relay.base import names
from relay.base.clock import Clock
from relay.base.storage import Storage
from relay.base.storage import domains as rows
from relay.base.storage import stats as counters
from relay.base.storage.domains import KeyRow, Raw, Row
from relay.base.storage.stats import Sums


@dataclass(slots=True)
class _Made:
    """A domain as it was last made, and what of."""

    raw: Raw
    row: Row
    parents: tuple[str, ...]
    pairs: Sequence[Raw] = ()
    consent: tuple[str, ...] = ()
    domain: Domain | None = None


class Overviews:
    """Lists. A domain whose row and pairs are as they were last time is the same value again, which saves most of the
    work of a list that is asked for again and again. Nothing is ever out of date, for all of it is compared."""

    def __init__(self, storage: Storage, clock: Clock, most: int) -> None:
        """most: domains of whatever members that are remembered."""
        self._storage, self._clock, self._most = storage, clock, most
        self._made: dict[int, _Made] = {}

    async def prepare(self) -> None:
        """Have ready what the first long list would wait for: connections, compiled statements, public suffixes."""
        names.prepare()
        await self.of(0, 1)

    async def of(self, member_id: int, limit: int) -> list[tuple[Domain, figures.Overview]]:
        """A member's domains by id, at most `limit`, each with its figures. Their `findings` are left out."""
        # The database adds up while domains are made.
        domains, sums = await asyncio.gather(self._domains(member_id, limit), self._sums(member_id))
        return [(domain, figures.overview(sums.get(domain.id))) for domain in domains]

    async def _sums(self, member_id: int) -> dict[int, Sums]:
        async with self._storage.read() as tx:
            return await counters.sums(tx, member_id, **figures.windows(self._clock.now()))

    async def _domains(self, member_id: int, limit: int) -> list[Domain]:
        async with self._storage.read() as tx:
            found = [self._row(raw) for raw in await rows.raw_of_member(tx, member_id, limit)]
            pairs = await rows.raw_pairs_of_member(tx, member_id)
            held = await holders(tx, (made.parents for made in found))
        return [self._domain(made, pairs.get(made.row.id, ()), held) for made in found]

    def _row(self, raw: Raw) -> _Made:
        last = self._made.get(raw[0])
        if last is not None and last.raw == raw:
            return last
        if len(self._made) >= self._most:
            self._made.clear()
        row = rows.row_of(raw)
        made = self._made[row.id] = _Made(raw, row, names.parents(row.name))
        return made

    def _domain(self, made: _Made, pairs: Sequence[Raw], held: Mapping[str, list[Row]]) -> Domain:
        consent = consent_for(made.row, made.parents, held)
        if made.domain is None or made.pairs != pairs or made.consent != consent:
            made.pairs, made.consent = pairs, consent
            made.domain = domain_of(made.row, [KeyRow(*pair) for pair in pairs], consent)
        return made.domain
