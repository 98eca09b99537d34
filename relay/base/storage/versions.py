"""Version rows: snapshots compare one number instead of reading everything again.

The directory's version also says what has changed: each number stands in `directory_changes` with the ids of the
members, keys and domains whose rows it is about, so that a snapshot reads those and no others. Where one is missing
(raised without saying what, by an older program, or too long ago), everything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select

from relay.base.storage.engine import Storage, Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import directory_changes, versions

DIRECTORY = "directory"
SUPPRESSIONS = "suppressions"
SITES = "sites"
MOST = 500
"""Subjects of one change, or of all that a snapshot has missed, beyond which everything is read instead."""
_KEPT = 5000  # versions: a process that has missed more of them reads everything


@dataclass(frozen=True, slots=True)
class Changed:
    """Ids of rows of the directory. A domain stands for its DKIM pairs too, a member for its standing."""

    members: Collection[int] = ()
    keys: Collection[int] = ()
    domains: Collection[int] = ()


def _raise(insert: Callable[..., Any]) -> Any:
    raised = insert(versions).on_conflict_do_update(index_elements=["name"], set_={"n": versions.c.n + 1})
    return raised.returning(versions.c.n)


def _since(_: Any) -> Any:
    c = directory_changes.c
    return (
        select(c.n, c.kind, c.subject).where(c.n > bindparam("since"), c.n <= bindparam("upto"))
        .order_by(c.n).limit(MOST + 1)
    )


_BUMP = Prepared(_raise)
_CURRENT = Prepared(lambda _: select(versions.c.name, versions.c.n))
_SAY = Prepared(lambda insert: insert(directory_changes))
_SINCE = Prepared(_since)


async def bump(
    tx: Tx, name: str, *, members: Collection[int] = (), keys: Collection[int] = (), domains: Collection[int] = ()
) -> None:
    """Say that what `name` stands for has changed. Call it in the changing transaction.

    For the directory, whose rows: all that this transaction has changed since it last said so. Without any of them,
    or with very many, every snapshot is read anew as a whole.
    """
    ((n,),) = await _BUMP.all(tx, {"name": name, "n": 1})
    said = (("member", members), ("key", keys), ("domain", domains))
    rows = [{"n": n, "kind": kind, "subject": i} for kind, ids in said for i in sorted(set(ids))]
    if 0 < len(rows) <= MOST:
        await _SAY.many(tx, rows)


async def current(tx: Tx) -> dict[str, int]:
    """All versions; a name never bumped is absent."""
    return dict(await _CURRENT.all(tx, {}))


async def changed(tx: Tx, since: int, upto: int) -> Changed | None:
    """What has changed in the directory after version `since`, up to version `upto`; None: nobody knows."""
    if since < 0 or not 0 < upto - since <= MOST:
        return None
    rows = await _SINCE.all(tx, {"since": since, "upto": upto})
    # Whoever raises a version holds its row until commit, so those seen are a line without holes, but for the ones
    # that said nothing.
    if len(rows) > MOST or len({n for n, _, _ in rows}) < upto - since:
        return None
    ids: dict[str, set[int]] = {"member": set(), "key": set(), "domain": set()}
    for _, kind, subject in rows:
        if kind not in ids:
            return None
        ids[kind].add(subject)
    return Changed(ids["member"], ids["key"], ids["domain"])


async def glimpse(storage: Storage, name: str) -> int:
    """The version of `name` just now, 0 for one never bumped: what those who follow ask many times a second.
    Raises StorageError."""
    async with storage.glance() as tx:
        return (await current(tx)).get(name, 0)


async def purge(tx: Tx, limit: int) -> int:
    """Forget what changed long ago, at most `limit` versions; returns how many."""
    c = directory_changes.c
    n = (await current(tx)).get(DIRECTORY, 0)
    oldest = await tx.scalar(select(c.n).order_by(c.n).limit(1))
    upto = min(n - _KEPT, (oldest or 0) + limit - 1)
    if oldest is None or upto < oldest:
        return 0
    await tx.execute(delete(directory_changes).where(c.n <= upto))
    return int(upto - oldest + 1)
