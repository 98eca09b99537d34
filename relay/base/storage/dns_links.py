"""Links to a domain's records, for whoever runs its DNS. Writes `dns_links`. The token in a link is made from its row
and the master key, so the table holds nothing that opens one."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import dns_links, domains

_L = dns_links.c


class LinkRow(NamedTuple):
    """One link; times in Unix seconds. told_at: when the domain's owner was told that everything is there."""

    id: int
    domain_id: int
    nonce: str
    created_at: float
    expires_at: float
    mailed_to: str
    told_at: float | None


_COLUMNS = [_L[name] for name in LinkRow._fields]


async def add(tx: Tx, *, domain_id: int, nonce: str, now: float, expires_at: float, mailed_to: str) -> LinkRow:
    """A new link."""
    made = await tx.execute(
        insert(dns_links)
        .values(domain_id=domain_id, nonce=nonce, created_at=now, expires_at=expires_at, mailed_to=mailed_to)
        .returning(_L.id)
    )
    return LinkRow(int(made.scalar_one()), domain_id, nonce, now, expires_at, mailed_to, None)


async def get(tx: Tx, link_id: int) -> LinkRow | None:
    """A link, ended or not."""
    row = (await tx.execute(select(*_COLUMNS).where(_L.id == link_id))).first()
    return None if row is None else LinkRow(*row)


async def live(tx: Tx, domain_id: int, now: float) -> list[LinkRow]:
    """A domain's links that can be used, oldest first."""
    query = select(*_COLUMNS).where(_L.domain_id == domain_id, _L.expires_at > now).order_by(_L.id)
    return [LinkRow(*row) for row in await tx.execute(query)]


async def mailed(tx: Tx, member_id: int, since: float) -> int:
    """How many of a member's links were mailed since then."""
    query = select(func.count()).select_from(dns_links.join(domains, domains.c.id == _L.domain_id)).where(
        domains.c.member_id == member_id, _L.mailed_to != "", _L.created_at > since
    )
    return int((await tx.execute(query)).scalar_one())


async def notified(tx: Tx, domain_id: int, now: float) -> None:
    """The domain's owner has been told for all its links."""
    await tx.execute(update(dns_links).where(_L.domain_id == domain_id, _L.told_at.is_(None)).values(told_at=now))


async def revoke(tx: Tx, domain_id: int, link_id: int, now: float) -> bool:
    """End one link of a domain; False when there is none. The row stays, so that it counts among those mailed."""
    done = await tx.execute(
        update(dns_links).where(_L.id == link_id, _L.domain_id == domain_id, _L.expires_at > now).values(expires_at=now)
    )
    return bool(done.rowcount)


async def end_all(tx: Tx, domain_id: int, now: float) -> None:
    """End all links of a domain."""
    await tx.execute(
        update(dns_links).where(_L.domain_id == domain_id, _L.expires_at > now).values(expires_at=now)
    )


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` links that ended before `before`; returns how many."""
    old = select(_L.id).where(_L.expires_at <= before).order_by(_L.expires_at).limit(limit)
    return int((await tx.execute(delete(dns_links).where(_L.id.in_(old)))).rowcount)
