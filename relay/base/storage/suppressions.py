"""Suppressions: whom a member no longer mails, by canonical address. The original is kept for display.

Whoever writes a list has `_LOCK` first, and with it the version that everybody raises: so two of them wait for each
other in one place, and never crosswise. It comes after the rows of recipients and of days, and before the events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, select

from relay.base.storage import versions
from relay.base.storage.engine import Tx, serialise
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import members, suppressions

IN_MAX = 400
_LOCK = 0x53555050  # PostgreSQL: one writer at a time


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry of a member's list."""

    id: int
    member_id: int
    canonical: str
    original: str
    reason: str
    detail: str
    created_at: float
    categories: str = ""
    """Of mail, with a blank between, where only some are stopped; "" is all."""

    def same_as(self, other: Suppression) -> bool:
        """True if both say the same of an address, however it is spelled."""
        return (self.canonical, self.reason, self.categories) == (other.canonical, other.reason, other.categories)


async def find(tx: Tx, pairs: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Suppression]:
    """Of these (member id, canonical address) pairs, the suppressed ones."""
    found: dict[tuple[int, str], Suppression] = {}
    by_member: dict[int, list[str]] = {}
    for member_id, canonical in pairs:
        by_member.setdefault(member_id, []).append(canonical)
    for member_id, wanted in by_member.items():
        for i in range(0, len(wanted), IN_MAX):
            for row in await _of_member(tx, member_id, wanted[i : i + IN_MAX]):
                entry = Suppression(*row)
                found[entry.member_id, entry.canonical] = entry
    return found


async def _of_member(tx: Tx, member_id: int, wanted: Sequence[str]) -> Sequence[Any]:
    # Where nothing lies between the program and its database, asking for each is much quicker than making a list.
    if _FIND.direct(tx):
        rows: list[Any] = []
        for canonical in wanted:
            rows += await _FIND.all(tx, {"of": member_id, "address": canonical})
        return rows
    c = suppressions.c
    return (await tx.execute(select(suppressions).where(c.member_id == member_id, c.canonical.in_(wanted)))).all()


def _find(_: Callable[..., Any]) -> Any:
    c = suppressions.c
    return select(suppressions).where(c.member_id == bindparam("of"), c.canonical == bindparam("address"))


_FIND = Prepared(_find)


def _add(insert: Callable[..., Any]) -> Any:
    new = insert(suppressions)
    old = suppressions.c
    graver = (old.reason == "unsubscribe") & (new.excluded.reason != "unsubscribe")
    wider = (old.reason == new.excluded.reason) & (old.categories != "") & (old.categories != new.excluded.categories)
    return new.on_conflict_do_update(
        index_elements=["member_id", "canonical"],
        set_={name: new.excluded[name] for name in ("reason", "detail", "categories")},
        where=graver | wider,
    )


_ADD = Prepared(_add)


async def add(tx: Tx, rows: Sequence[Suppression]) -> None:
    """Add entries; one that is there already keeps its first reason, except that a graver one replaces it.

    Of two entries with the same reason for some categories the later one counts: see `merged`.
    """
    if not rows:
        return
    await serialise(tx, _LOCK)
    await _ADD.many(
        tx,
        [
            {
                "member_id": s.member_id, "canonical": s.canonical, "original": s.original[:320], "reason": s.reason,
                "detail": s.detail[:500], "created_at": s.created_at, "categories": s.categories[:64],
            }
            for s in rows
        ],
    )
    await versions.bump(tx, versions.SUPPRESSIONS)


def merged(old: Suppression | None, new: Suppression) -> Suppression:
    """What is on the list when `new` is added to `old`: the graver reason, the wider categories, the first rest."""
    if old is None:
        return new
    if old.reason == "unsubscribe" != new.reason:
        return replace(old, reason=new.reason, detail=new.detail, categories=new.categories)
    if old.reason != new.reason or not old.categories:
        return old
    both = sorted({*old.categories.split(), *new.categories.split()}) if new.categories else []
    return replace(old, categories=" ".join(both))


async def take(tx: Tx, member_id: int, rows: Sequence[Suppression]) -> tuple[list[Suppression], list[bool]]:
    """Add entries of one member, locked against each other; returns what is on the list for each, and whether
    adding it changed anything."""
    if not rows:
        return [], []
    await serialise(tx, _LOCK)
    known = await find(tx, {(member_id, s.canonical) for s in rows})
    now = {canonical: entry for (_, canonical), entry in known.items()}
    changed: dict[str, Suppression] = {}
    found, new = [], []
    for row in rows:
        old = now.get(row.canonical)
        entry = merged(old, row)
        new.append(old is None or not entry.same_as(old))
        if new[-1]:
            now[row.canonical] = changed[row.canonical] = entry
        found.append(entry)
    await add(tx, list(changed.values()))
    return found, new


async def counted(tx: Tx, member_id: int, most: int) -> int:
    """How many entries a member's list has, counted up to `most`."""
    some = select(suppressions.c.id).where(suppressions.c.member_id == member_id).limit(most).subquery()
    return int(await tx.scalar(select(func.count()).select_from(some)) or 0)


async def of_deleted(tx: Tx) -> list[int]:
    """Deleted members, some of them, who have entries."""
    theirs = exists().where(suppressions.c.member_id == members.c.id)
    query = select(members.c.id).where(members.c.status == "deleted", theirs).limit(IN_MAX)
    return list((await tx.execute(query)).scalars())


async def purge(tx: Tx, gone: Sequence[int], limit: int) -> int:
    """Remove up to `limit` entries of members who are gone; returns how many."""
    c = suppressions.c
    await serialise(tx, _LOCK)
    ids = select(c.id).where(c.member_id.in_(gone)).limit(limit)
    done = await tx.execute(delete(suppressions).where(c.id.in_(ids)))
    await versions.bump(tx, versions.SUPPRESSIONS)
    return done.rowcount


async def remove(tx: Tx, member_id: int, canonical: str) -> bool:
    """Take an entry off; False if it was not there."""
    await serialise(tx, _LOCK)
    done = await tx.execute(
        delete(suppressions).where(suppressions.c.member_id == member_id, suppressions.c.canonical == canonical)
    )
    await versions.bump(tx, versions.SUPPRESSIONS)
    return done.rowcount > 0


async def page(
    tx: Tx, member_id: int, *, after: int = 0, before: int | None = None, reason: str | None = None, search: str = "",
    limit: int = 50,
) -> list[Suppression]:
    """A member's entries with an id above `after`, in order; or below `before`, newest first.

    `reason` and `search` narrow them: to those with this reason, and with this text in the address as written or in
    its canonical form (in any case of ASCII letters).
    """
    c = suppressions.c
    query = select(suppressions).where(c.member_id == member_id).limit(limit)
    if before is None:
        query = query.where(c.id > after).order_by(c.id)
    else:
        query = query.where(c.id < before).order_by(c.id.desc())
    if reason is not None:
        query = query.where(c.reason == reason)
    if search:
        word = search.lower()
        query = query.where(
            func.lower(c.original).contains(word, autoescape=True) | c.canonical.contains(word, autoescape=True)
        )
    return [Suppression(*row) for row in await tx.execute(query)]


def _matching(query: Any, member_id: int, reasons: Sequence[str], pattern: str) -> Any:
    c = suppressions.c
    query = query.where(c.member_id == member_id, c.reason.in_(reasons))
    if not pattern:
        return query
    like = re.sub(r"([\\%_])", r"\\\1", pattern.lower()).replace("*", "%")
    return query.where(func.lower(c.original).like(like, escape="\\") | c.canonical.like(like, escape="\\"))


async def matching(
    tx: Tx, member_id: int, reasons: Sequence[str], pattern: str, *, start: int, limit: int
) -> list[Suppression]:
    """A member's entries with one of these reasons, in order, without the first `start`. `pattern` is the whole
    address, as written or canonical, in any case of ASCII letters, `*` for any text; "" is every address."""
    query = _matching(select(suppressions), member_id, reasons, pattern)
    query = query.order_by(suppressions.c.id).offset(start).limit(limit)
    return [Suppression(*row) for row in await tx.execute(query)]


async def by_reason(tx: Tx, member_id: int, reasons: Sequence[str], pattern: str) -> dict[str, int]:
    """How many entries `matching` has of each reason; those without any are left out."""
    reason = suppressions.c.reason
    query = _matching(select(reason, func.count()), member_id, reasons, pattern).group_by(reason)
    return {row[0]: int(row[1]) for row in await tx.execute(query)}


async def every(tx: Tx, *, after: int = 0, limit: int = 20_000) -> list[tuple[int, int, str]]:
    """(id, member id, canonical) of entries above `after`: for the in-memory snapshot."""
    query = (
        select(suppressions.c.id, suppressions.c.member_id, suppressions.c.canonical)
        .where(suppressions.c.id > after).order_by(suppressions.c.id).limit(limit)
    )
    return [(r[0], r[1], r[2]) for r in await tx.execute(query)]
