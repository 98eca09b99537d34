"""What became of members' mail, counted from the event feed, and the stage each member has reached.

Counting follows the feed with a cursor that moves in the transaction that counts: each event counts once, whichever
process does it, and the transactions that settle mail write nothing for it. Slices of ten minutes make the window.
Whom the failures were about is kept beside, as one row for each recipient, by hashes that the caller makes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, and_, case, cast, delete, distinct, func, or_, select, tuple_, update

from relay.base.events import BOUNCED, COMPLAINED, DEFERRED, MEMBER_RELEASED, SENT
from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import (
    events,
    members,
    messages,
    recipients,
    standing_counts,
    standing_cursor,
    standing_failures,
    standings,
)  # fmt: skip

SLICE_SECONDS = 600
FIELDS = ("delivered", "bounced", "late", "excused")
_CURSOR = "events"


@dataclass(frozen=True, slots=True)
class Row:
    """How far a member has got. `counted_from`: mail accepted before doesn't count. Times in Unix seconds."""

    member_id: int
    stage: str
    stage_at: float
    counted_from: float
    told_at: float | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A bounce, deferral or complaint of the feed, about the recipient `address`. `counts`: of a member's own mail,
    to a recipient that is judged by."""

    member_id: int
    at: float
    type: str
    data: dict[str, Any]
    address: str
    counts: bool


Kind = Literal["refused", "failed", "late", "complaint"]
"""How a recipient failed: its host refused it in our own conversation; it failed otherwise before it was delivered;
it bounced afterwards; it complained."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One recipient that failed. `who` (16 octets) and `domain` (8) are keyed hashes of its canonical address and of
    its organisation's domain; `at` is the beginning of a slice."""

    member_id: int
    kind: Kind
    who: bytes
    domain: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Different recipients in the window, and the different domains they belong to. `refused` are among `bounces`."""

    bounces: int = 0
    bounce_domains: int = 0
    refused: int = 0
    complaints: int = 0
    complaint_domains: int = 0


Counted = dict[tuple[int, float], dict[str, int]]
"""(member id, beginning of the slice) → field → number."""


def slice_of(at: float) -> float:
    """The beginning of the slice that `at` lies in."""
    return float(int(at) // SLICE_SECONDS * SLICE_SECONDS)


# -- the feed --------------------------------------------------------------------------------------------------


async def cursor(tx: Tx, *, lock: bool = False) -> int | None:
    """The last event counted; None before the first look. `lock` keeps others from moving it until commit."""
    query = select(standing_cursor.c.event_id).where(standing_cursor.c.name == _CURSOR)
    got: int | None = await tx.scalar(query.with_for_update() if lock else query)
    return got


async def move(tx: Tx, event_id: int) -> None:
    """Say that everything up to `event_id` is counted."""
    statement = upsert(tx, standing_cursor).values(name=_CURSOR, event_id=event_id)
    await tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"event_id": event_id}))


async def released(tx: Tx, low: int, high: int) -> dict[int, float]:
    """Members released by events with ids in (low, high], each with the time of the last release."""
    query = (
        select(events.c.member_id, func.max(events.c.at))
        .where(events.c.id > low, events.c.id <= high, events.c.type == MEMBER_RELEASED)
        .group_by(events.c.member_id)
    )
    return {row[0]: row[1] for row in await tx.execute(query)}


def _judged(exempt: Collection[str]) -> Any:
    """Whether an event is about mail that a member is judged by: sent with a key, to a host that is somebody else's,
    and accepted since the member's window began."""
    return and_(
        messages.c.key_id > 0, members.c.system.is_(False), recipients.c.destination.not_in(list(exempt)),
        or_(standings.c.counted_from.is_(None), messages.c.received_at >= standings.c.counted_from),
    )


def _joined() -> Any:
    return (
        events.join(messages, messages.c.id == events.c.message_id)
        .join(recipients, recipients.c.id == events.c.recipient_id)
        .join(members, members.c.id == events.c.member_id)
        .outerjoin(standings, standings.c.member_id == events.c.member_id)
    )


async def delivered(tx: Tx, low: int, high: int, exempt: Collection[str]) -> Counted:
    """Deliveries among the events with ids in (low, high]."""
    whole = cast(events.c.at, BigInteger)
    slice_ = (whole - whole % SLICE_SECONDS).label("slice")
    query = (
        select(events.c.member_id, slice_, func.count())
        .select_from(_joined())
        .where(events.c.id > low, events.c.id <= high, events.c.type == SENT, _judged(exempt))
        .group_by(events.c.member_id, slice_)
    )
    return {(member_id, float(at)): {"delivered": n} for member_id, at, n in await tx.execute(query)}


async def failed(tx: Tx, low: int, high: int, exempt: Collection[str]) -> list[Failed]:
    """Bounces, deferrals and complaints among the events with ids in (low, high]."""
    e = events.c
    query = (
        select(e.member_id, e.at, e.type, e.data, recipients.c.address, case((_judged(exempt), 1), else_=0))
        .select_from(_joined())
        .where(e.id > low, e.id <= high, e.type.in_((BOUNCED, DEFERRED, COMPLAINED)))
        .order_by(e.id)
    )
    found = await tx.execute(query)
    return [Failed(m, at, type_, data or {}, address, bool(counts)) for m, at, type_, data, address, counts in found]


async def count(tx: Tx, counted: Counted) -> None:
    """Add to the slices."""
    rows = [
        {"member_id": m, "at": at, **{f: fields.get(f, 0) for f in FIELDS}}
        for (m, at), fields in sorted(counted.items())
    ]
    if not rows:
        return
    statement = upsert(tx, standing_counts)
    t = standing_counts.c
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["member_id", "at"], set_={f: t[f] + statement.excluded[f] for f in FIELDS}
        ),
        rows,
    )


async def remember(tx: Tx, failures: Sequence[Failure]) -> None:
    """Keep who failed: one row for each recipient and kind, with the time of the last."""
    last = {(f.member_id, f.kind, f.who): f for f in failures}
    if not last:
        return
    statement = upsert(tx, standing_failures)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["member_id", "kind", "who"], set_={"at": statement.excluded.at}
        ),
        [
            {"member_id": f.member_id, "kind": f.kind, "who": f.who, "domain": f.domain, "at": f.at}
            for _, f in sorted(last.items())
        ],
    )


# -- the window ------------------------------------------------------------------------------------------------


async def sums(tx: Tx, since: float, member_ids: Sequence[int] | None = None) -> dict[int, tuple[int, ...]]:
    """Of each member (or of these) the sums of `FIELDS` over the slices that begin after `since`."""
    t = standing_counts.c
    query = select(t.member_id, *(func.sum(t[f]) for f in FIELDS)).where(t.at > since).group_by(t.member_id)
    if member_ids is not None:
        query = query.where(t.member_id.in_(member_ids))
    return {row[0]: tuple(int(n) for n in row[1:]) for row in await tx.execute(query)}


async def tallies(tx: Tx, since: float, member_ids: Sequence[int] | None = None) -> dict[int, Tally]:
    """Of each member (or of these) whom the failures of the slices that begin after `since` were about."""
    t = standing_failures.c
    complained = t.kind == "complaint"
    query = select(
        t.member_id,
        func.count(distinct(case((~complained, t.who)))), func.count(distinct(case((~complained, t.domain)))),
        func.count(case((t.kind == "refused", 1))),
        func.count(distinct(case((complained, t.who)))), func.count(distinct(case((complained, t.domain)))),
    ).where(t.at > since).group_by(t.member_id)
    if member_ids is not None:
        query = query.where(t.member_id.in_(member_ids))
    return {row[0]: Tally(*row[1:]) for row in await tx.execute(query)}


async def rows(tx: Tx, member_ids: Sequence[int] | None = None, *, lock: bool = False) -> dict[int, Row]:
    """The stages of these members, or of everybody who isn't `good`; without a row nothing has ever happened."""
    t = standings.c
    query = select(t.member_id, t.stage, t.stage_at, t.counted_from, t.told_at)
    query = query.where(t.stage != "good") if member_ids is None else query.where(t.member_id.in_(member_ids))
    return {row[0]: Row(*row) for row in await tx.execute(query.with_for_update() if lock else query)}


async def slowed(tx: Tx, member_ids: Collection[int]) -> set[int]:
    """Of these members, those whose domains fall to a lower tier."""
    query = select(standings.c.member_id).where(
        standings.c.member_id.in_(list(member_ids)), standings.c.stage == "slowed"
    )
    return set((await tx.execute(query)).scalars())


async def set_stage(tx: Tx, member_id: int, stage: str, *, now: float, notified: bool) -> None:
    """Write the stage, and with `told` that a letter went out about it."""
    values: dict[str, Any] = {"stage": stage, "stage_at": now} | ({"told_at": now} if notified else {})
    statement = upsert(tx, standings).values(member_id=member_id, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["member_id"], set_=values))


async def reset_window(tx: Tx, member_id: int, *, now: float) -> None:
    """An empty window: only mail accepted from now on counts."""
    values = {"stage": "good", "stage_at": now, "counted_from": now, "told_at": None}
    statement = upsert(tx, standings).values(member_id=member_id, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["member_id"], set_=values))
    for table in (standing_counts, standing_failures):
        await tx.execute(delete(table).where(table.c.member_id == member_id))


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` slices that have left every window; returns how many."""
    c = standing_counts.c
    old = select(c.member_id, c.at).where(c.at < before).order_by(c.at).limit(limit)
    return (await tx.execute(delete(standing_counts).where(tuple_(c.member_id, c.at).in_(old)))).rowcount


async def purge_failures(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` of those who failed in them; returns how many."""
    c = standing_failures.c
    old = select(c.member_id, c.kind, c.who).where(c.at < before).order_by(c.at).limit(limit)
    return (await tx.execute(delete(standing_failures).where(tuple_(c.member_id, c.kind, c.who).in_(old)))).rowcount


async def fix_clock(tx: Tx, now: float) -> int:
    """After the wall clock was set back: what is dated later than now counts as of now. Returns how many slices."""
    t, this = standing_counts.c, slice_of(now)
    ahead = (
        await tx.execute(select(t.member_id, t.at, *(t[f] for f in FIELDS)).where(t.at > now + SLICE_SECONDS))
    ).all()
    await tx.execute(update(standings).where(standings.c.counted_from > now).values(counted_from=now))
    failures = standing_failures
    await tx.execute(update(failures).where(failures.c.at > now + SLICE_SECONDS).values(at=this))
    if not ahead:
        return 0
    counted: Counted = {}
    for row in ahead:
        fields = counted.setdefault((row.member_id, this), {})
        for name in FIELDS:
            fields[name] = fields.get(name, 0) + row._mapping[name]
    await tx.execute(delete(standing_counts).where(t.at > now + SLICE_SECONDS))
    await count(tx, counted)
    return len(ahead)
