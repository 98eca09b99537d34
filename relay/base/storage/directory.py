"""The relay's SELECT-only view of enroll's tables: members, keys, domains with their live DKIM pair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, bindparam, cast, func, or_, select

from relay.base.storage.engine import Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import api_keys, dkim_keys, domains, members, standings

_RESTING = ("pending", "disabled", "suspended", "blocked")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a login and a sender are judged by, as rows."""

    members: list[Any]
    keys: list[Any]
    domains: list[Any]
    dkim: list[Any]
    resting: list[Any]
    """(id, name, state, options) of domains that were proved once and may send nothing just now."""
    enrolled: dict[str, bool]
    """Every name that is or was anybody's domain, deleted ones too, and whether it was ever proved."""


async def snapshot(tx: Tx) -> Snapshot:
    """All of it, in one look."""
    m, k, d, p = members.c, api_keys.c, domains.c, dkim_keys.c
    return Snapshot(
        (
            await tx.execute(
                select(
                    m.id, m.handle, m.did, m.status, m.reason, m.system,
                    func.coalesce(standings.c.stage, "good").label("stage"),
                ).outerjoin(standings, standings.c.member_id == m.id)
            )
        ).all(),  # type: ignore[arg-type]
        (
            await tx.execute(
                select(
                    k.id, k.member_id, k.public_id, k.secret_hash, k.scopes, k.domains, k.networks,
                    k.default_category, k.expires_at,
                ).where(k.revoked_at.is_(None))
            )
        ).all(),  # type: ignore[arg-type]
        (
            await tx.execute(
                select(
                    d.id, d.member_id, d.name, d.tier, d.first_verified_at, d.options, d.return_path_ok,
                    d.tracking_ok,
                ).where(d.state == "verified")
            )
        ).all(),  # type: ignore[arg-type]
        (
            await tx.execute(
                select(p.id, p.domain_id, p.stem, p.rsa_private, p.ed_private)
                .join(domains, domains.c.id == p.domain_id)
                .where(p.state == "live", d.state == "verified")
            )
        ).all(),  # type: ignore[arg-type]
        (
            await tx.execute(
                select(d.id, d.name, d.state, d.options)
                .where(d.state.in_(_RESTING), d.first_verified_at.is_not(None))
            )
        ).all(),  # type: ignore[arg-type]
        {
            r.name: r.proved > 0
            for r in await tx.execute(select(d.name, func.count(d.first_verified_at).label("proved")).group_by(d.name))
        },
    )


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
