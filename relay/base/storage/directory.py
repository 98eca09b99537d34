"""The relay's SELECT-only view of enroll's tables: members, keys, domains with their live DKIM pair."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, bindparam, cast, func, or_, select, true

from relay.base.storage.engine import Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import api_keys, conduct_days, dkim_keys, domains, members, standings
from relay.base.storage.versions import Changed

_CONDUCT = (
    select(conduct_days.c.per_day).where(conduct_days.c.domain_id == domains.c.id)
    .order_by(conduct_days.c.day.desc()).limit(1).correlate(domains).scalar_subquery().label("conduct")
)
_PAUSED_STATES = ("initializing", "pending", "disabled", "suspended", "blocked")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a login and a sender are judged by, as rows; or those of some ids, see `snapshot`."""

    members: Sequence[Any] = ()
    keys: Sequence[Any] = ()
    domains: Sequence[Any] = ()
    dkim: Sequence[Any] = ()
    paused: Sequence[Any] = ()
    """Of domains that may send nothing just now: (id, member_id, name, state, reason, options, notes,
    first_verified_at)."""
    enrolled: dict[str, bool] = field(default_factory=dict)
    """Every name that is or was anybody's domain, deleted ones too, and whether it was ever proved."""


async def snapshot(tx: Tx, only: Changed | None = None) -> Snapshot:
    """All of it, in one look, each kind by id; or what there is of the rows that have changed.

    Of a changed id without a row nothing holds any more. A changed domain brings its DKIM pair and its name.
    """
    return Snapshot(
        await _members(tx, only), await _keys(tx, only), await _domains(tx, only), await _dkim(tx, only),
        await _paused(tx, only), await _enrolled(tx, only),
    )


def _among(column: Any, ids: Collection[int] | None) -> Any:
    return true() if ids is None else column.in_(sorted(ids))


async def _members(tx: Tx, only: Changed | None) -> Sequence[Any]:
    m = members.c
    if only is not None and not only.members:
        return ()
    query = (
        select(
            m.id, m.handle, m.did, m.status, m.reason, m.system,
            func.coalesce(standings.c.stage, "good").label("stage"),
        )
        .outerjoin(standings, standings.c.member_id == m.id)
    )
    return (await tx.execute(query.where(_among(m.id, only.members if only else None)).order_by(m.id))).all()


async def _keys(tx: Tx, only: Changed | None) -> Sequence[Any]:
    k = api_keys.c
    if only is not None and not only.keys:
        return ()
    query = select(
        k.id, k.member_id, k.public_id, k.secret_hash, k.scopes, k.domains, k.networks, k.default_category,
        k.null_sender, k.expires_at, k.smtp_user,
    )
    query = query.where(k.revoked_at.is_(None), _among(k.id, only.keys if only else None))
    return (await tx.execute(query.order_by(k.id))).all()


async def _domains(tx: Tx, only: Changed | None) -> Sequence[Any]:
    d = domains.c
    if only is not None and not only.domains:
        return ()
    query = select(
        d.id, d.member_id, d.name, d.tier, d.first_verified_at, d.options, d.notes, d.return_path_ok, d.tracking_ok,
        _CONDUCT,
    )
    query = query.where(d.state == "verified", _among(d.id, only.domains if only else None))
    return (await tx.execute(query.order_by(d.id))).all()


async def _dkim(tx: Tx, only: Changed | None) -> Sequence[Any]:
    p = dkim_keys.c
    if only is not None and not only.domains:
        return ()
    query = select(p.id, p.domain_id, p.stem, p.rsa_private, p.ed_private).join(domains, domains.c.id == p.domain_id)
    query = query.where(
        p.state == "live", domains.c.state == "verified", _among(p.domain_id, only.domains if only else None)
    )
    return (await tx.execute(query.order_by(p.id))).all()


async def _paused(tx: Tx, only: Changed | None) -> Sequence[Any]:
    d = domains.c
    if only is not None and not only.domains:
        return ()
    query = select(d.id, d.member_id, d.name, d.state, d.reason, d.options, d.notes, d.first_verified_at).where(
        d.state.in_(_PAUSED_STATES), _among(d.id, only.domains if only else None)
    )
    return (await tx.execute(query.order_by(d.id))).all()


async def _enrolled(tx: Tx, only: Changed | None) -> dict[str, bool]:
    d = domains.c
    if only is not None and not only.domains:
        return {}
    query = select(d.name, func.count(d.first_verified_at).label("proved")).group_by(d.name)
    if only is not None:
        # Everybody's rows of the name: what is asked is whether it was ever proved by anyone.
        query = query.where(d.name.in_(select(domains.c.name).where(_among(domains.c.id, only.domains))))
    return {r.name: r.proved > 0 for r in await tx.execute(query)}


async def default_category(tx: Tx, key_id: int) -> str:
    """What a key's mail is where it doesn't say; of a key that is no more, `bulk`."""
    found: str | None = await tx.scalar(select(api_keys.c.default_category).where(api_keys.c.id == key_id))
    return found or "bulk"


async def report_to(tx: Tx, domain_id: int) -> tuple[str, dict[str, Any]] | None:
    """(name, options) of a domain, whatever its state: where reports about its mail go."""
    for name, options in await _REPORT_TO.all(tx, {"b_id": domain_id}):
        return name, json.loads(options) or {}
    return None


_REPORT_TO = Prepared(
    lambda _: select(domains.c.name, cast(domains.c.options, Text)).where(domains.c.id == bindparam("b_id"))
)


async def standing(
    tx: Tx, pairs: set[tuple[int, int]], key_ids: set[int], now: float
) -> tuple[set[tuple[int, int]], set[int], dict[int, str]]:
    """What the accepting transaction asks again: of (member, domain) `pairs` those that may send, of `key_ids`
    those that are live `now`, and the reasons of suspended members."""
    rows = (
        await tx.execute(
            select(members.c.id, members.c.status, members.c.reason).where(members.c.id.in_({m for m, _ in pairs}))
        )
    ).all()
    active = {r.id for r in rows if r.status == "active"}
    suspended = {r.id: r.reason for r in rows if r.status != "active"}
    verified = {
        (r.member_id, r.id)
        for r in await tx.execute(
            select(domains.c.member_id, domains.c.id).where(
                domains.c.id.in_({d for _, d in pairs}), domains.c.state == "verified"
            )
        )
    }
    live = set(
        (
            await tx.execute(
                select(api_keys.c.id).where(
                    api_keys.c.id.in_(key_ids), api_keys.c.revoked_at.is_(None),
                    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
                )
            )
        ).scalars()
    )
    return {p for p in pairs if p in verified and p[0] in active}, live, suspended
