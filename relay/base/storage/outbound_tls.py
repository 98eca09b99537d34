"""TLS towards others, in the tables: MTA-STS policies, counts of sessions, reports owed and sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, delete, func, or_, select, update

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import sts_policies, tls_reports, tls_sessions, tls_totals

WAITING, SENT, FAILED = "waiting", "sent", "failed"


@dataclass(frozen=True, slots=True)
class StsRow:
    """A policy as it was fetched (RFC 8461 §3.2). Times are Unix seconds, `max_age` seconds."""

    domain: str
    policy_id: str
    mode: str
    mx: tuple[str, ...]
    max_age: int
    fetched_at: float
    expires_at: float
    used_at: float


class SessionKey(NamedTuple):
    """What sessions that are counted together have in common. `result` is a type of RFC 8460 §4.3, "" for success."""

    day: str
    domain: str
    policy: str
    policy_hash: str
    result: str
    mx: str
    ip: str
    source: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """So many sessions. `said`: the policy's lines (`policy-string`) and exchanger patterns (`mx-host`)."""

    key: SessionKey
    said: Mapping[str, Any]
    n: int


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The report about one domain's day. `sent_to`: addresses that have it."""

    day: str
    domain: str
    state: str
    next_at: float
    report_id: str
    sent_to: list[str]
    tries: int
    successes: int
    failures: int
    says: str


_STS = [sts_policies.c[name] for name in StsRow.__dataclass_fields__]
_REPORT = [tls_reports.c[name] for name in ReportRow.__dataclass_fields__]


_POLICY = Prepared(
    lambda _: select(*_STS).where(
        sts_policies.c.domain == bindparam("b_domain"), sts_policies.c.expires_at > bindparam("b_now")
    )
)


def _by_key(table: Table) -> Any:
    """A row of `table` by its primary key: columns as `b_…`. (SQLite walks the table for a list of rows of values.)"""
    return delete(table).where(and_(*(column == bindparam(f"b_{column.name}") for column in table.primary_key.columns)))


_FORGET_SESSIONS, _FORGET_REPORTS = _by_key(tls_sessions), _by_key(tls_reports)


def _sts(row: Any) -> StsRow:
    domain, policy_id, mode, mx, *rest = row
    # A prepared statement gives JSON as it lies in the table.
    return StsRow(domain, policy_id, mode, tuple(json.loads(mx) if isinstance(mx, str) else mx), *rest)


# -- policies ------------------------------------------------------------------------------------------------------


async def policy(tx: Tx, domain: str, now: float) -> StsRow | None:
    """The policy of a domain that is still in force."""
    found = await _POLICY.all(tx, {"b_domain": domain, "b_now": now})
    return _sts(found[0]) if found else None


async def keep_policy(tx: Tx, row: StsRow, most: int) -> bool:
    """Write a policy, in place of an older one; False, and nothing is written, where there are `most` others."""
    known = await tx.scalar(select(sts_policies.c.domain).where(sts_policies.c.domain == row.domain))
    if known is None and (await tx.scalar(select(func.count()).select_from(sts_policies)) or 0) >= most:
        return False
    values = {name: getattr(row, name) for name in StsRow.__dataclass_fields__} | {"mx": list(row.mx)}
    statement = upsert(tx, sts_policies).values(values)
    values.pop("domain")
    await tx.execute(statement.on_conflict_do_update(index_elements=["domain"], set_=values))
    return True


async def policy_used(tx: Tx, domain: str, at: float) -> None:
    """Note that mail went by it."""
    await tx.execute(update(sts_policies).where(sts_policies.c.domain == domain).values(used_at=at))


async def policies_to_refresh(
    tx: Tx, now: float, *, fetched_before: float, ends_before: float, used_since: float, limit: int
) -> list[StsRow]:
    """Policies in force and in use that were fetched before a time, or that end before one and were made to last
    longer; those first that end first."""
    s = sts_policies.c
    ends_soon = and_(s.expires_at < ends_before, s.max_age > 2 * (ends_before - now))
    due = or_(s.fetched_at < fetched_before, ends_soon)
    query = select(*_STS).where(s.expires_at > now, s.used_at >= used_since, due)
    return [_sts(row) for row in await tx.execute(query.order_by(s.expires_at).limit(limit))]


async def purge_policies(tx: Tx, now: float, limit: int) -> int:
    """Remove up to `limit` policies that have ended."""
    ended = select(sts_policies.c.domain).where(sts_policies.c.expires_at <= now).limit(limit)
    return (await tx.execute(delete(sts_policies).where(sts_policies.c.domain.in_(ended)))).rowcount


# -- sessions ------------------------------------------------------------------------------------------------------


async def count(
    tx: Tx, sessions: Mapping[SessionKey, tuple[Mapping[str, Any], int]], totals: Mapping[tuple[str, str, str], int]
) -> None:
    """Add counts. `totals`: (day, policy in an attempt's word, result) → sessions."""
    # In one order, as everybody who locks several rows.
    for key, (said, n) in sorted(sessions.items(), key=lambda one: one[0]):
        statement = upsert(tx, tls_sessions).values(**key._asdict(), said=dict(said), n=n)
        await tx.execute(
            statement.on_conflict_do_update(index_elements=list(SessionKey._fields), set_={"n": tls_sessions.c.n + n})
        )
    for (day, word, result), n in sorted(totals.items()):
        total = upsert(tx, tls_totals).values(day=day, policy=word, result=result, n=n)
        await tx.execute(
            total.on_conflict_do_update(index_elements=["day", "policy", "result"], set_={"n": tls_totals.c.n + n})
        )


async def sessions_of(tx: Tx, day: str, domain: str) -> list[SessionRow]:
    """The counts of one domain's day, most sessions first."""
    s = tls_sessions.c
    query = select(*(s[name] for name in SessionKey._fields), s.said, s.n).where(s.day == day, s.domain == domain)
    rows = await tx.execute(query.order_by(s.n.desc()))
    return [SessionRow(SessionKey(*row[:8]), row.said, row.n) for row in rows]


async def totals_since(tx: Tx, day: str) -> list[tuple[str, str, str, int]]:
    """(day, policy, result, sessions) from a day on, newest first."""
    t = tls_totals.c
    query = select(t.day, t.policy, t.result, t.n).where(t.day >= day).order_by(t.day.desc(), t.policy, t.result)
    return [(row.day, row.policy, row.result, row.n) for row in await tx.execute(query)]


async def purge_sessions(tx: Tx, before: str, limit: int) -> int:
    """Remove up to `limit` counts of days before one, and the totals of those days."""
    s = tls_sessions.c
    keys = [s[name] for name in SessionKey._fields]
    old = (await tx.execute(select(*keys).where(s.day < before).limit(limit))).all()
    if old:
        found = [{f"b_{name}": value for name, value in row._mapping.items()} for row in old]
        await tx.execute(_FORGET_SESSIONS, found)
    await tx.execute(delete(tls_totals).where(tls_totals.c.day < before))
    return len(old)


# -- reports -------------------------------------------------------------------------------------------------------


async def owe_reports(tx: Tx, owed: Iterable[tuple[str, str, float, str]], most: int) -> set[tuple[str, str]]:
    """Note that reports are owed: (day, domain, when to send it, its id). Returns those that are owed now, by whomever:
    of one day `most`, and the first come."""
    kept: set[tuple[str, str]] = set()
    r = tls_reports.c
    for day, domain, at, report_id in sorted(owed):
        known = await tx.scalar(select(r.domain).where(r.day == day, r.domain == domain))
        if known is None:
            if (await tx.scalar(select(func.count()).select_from(tls_reports).where(r.day == day)) or 0) >= most:
                continue
            statement = upsert(tx, tls_reports).values(
                day=day, domain=domain, state=WAITING, next_at=at, report_id=report_id, sent_to=[]
            )
            await tx.execute(statement.on_conflict_do_nothing(index_elements=["day", "domain"]))
        kept.add((day, domain))
    return kept


async def reports_due(tx: Tx, now: float, limit: int) -> list[ReportRow]:
    """Reports whose time has come."""
    r = tls_reports.c
    query = select(*_REPORT).where(r.state == WAITING, r.next_at <= now).order_by(r.next_at, r.domain).limit(limit)
    return [ReportRow(*row) for row in await tx.execute(query)]


async def report_tried(tx: Tx, was: ReportRow, **values: Any) -> bool:
    """Change a waiting report after a try; False, and nothing is changed, if another process has tried it since."""
    r = tls_reports.c
    same = and_(r.day == was.day, r.domain == was.domain, r.state == WAITING, r.tries == was.tries)
    return bool((await tx.execute(update(tls_reports).where(same).values(tries=was.tries + 1, **values))).rowcount)


async def reports(tx: Tx, limit: int, domain: str | None = None) -> Sequence[ReportRow]:
    """The newest reports."""
    r = tls_reports.c
    query = select(*_REPORT).order_by(r.day.desc(), r.domain).limit(limit)
    if domain is not None:
        query = query.where(r.domain == domain)
    return [ReportRow(*row) for row in await tx.execute(query)]


async def purge_reports(tx: Tx, before: str, limit: int) -> int:
    """Remove up to `limit` reports of days before one."""
    r = tls_reports.c
    old = (await tx.execute(select(r.day, r.domain).where(r.day < before).limit(limit))).all()
    if old:
        await tx.execute(_FORGET_REPORTS, [{"b_day": row.day, "b_domain": row.domain} for row in old])
    return len(old)
