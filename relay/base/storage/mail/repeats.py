"""Finding messages again by their fingerprints, in the accepting transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, text

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import messages, recipients


@dataclass(frozen=True, slots=True)
class First:
    """A message that was taken before. `mail_from` is "" for the null sender."""

    fingerprint: int
    id: int
    queue_id: str
    member_id: int
    mail_from: str
    header_id: str


# A fingerprint is a key of its own: the locks of `serialise` have small numbers.
_LOCK = text("SELECT pg_advisory_xact_lock(f) FROM unnest(CAST(:wanted AS bigint[])) AS f")
_M = messages.c
_COLUMNS = (_M.fingerprint, _M.id, _M.queue_id, _M.member_id, _M.mail_from, _M.header_id)


def _find(_: Callable[..., Any]) -> Any:
    return (
        select(*_COLUMNS).where(_M.fingerprint == bindparam("wanted"), _M.received_at >= bindparam("since"))
        .order_by(_M.id)
    )


_FIND = Prepared(_find)


async def lock_fingerprints(tx: Tx, fingerprints: Collection[int]) -> None:
    """Until commit, no other transaction is past this point with one of them (a no-op with one writer). Call it before
    anything else is locked."""
    if locks_rows(tx):
        # Everybody takes them in one order, so that nobody waits crosswise.
        await tx.execute(_LOCK, {"wanted": sorted(fingerprints)})


async def firsts(tx: Tx, fingerprints: Collection[int], since: float) -> list[First]:
    """The messages with one of these fingerprints that were received at `since` or later, oldest first."""
    if _FIND.direct(tx):
        rows: list[Any] = []
        for one in fingerprints:
            rows += await _FIND.all(tx, {"wanted": one, "since": since})
        return [First(*row) for row in rows]
    query = select(*_COLUMNS).where(_M.fingerprint.in_(fingerprints), _M.received_at >= since).order_by(_M.id)
    return [First(*row) for row in await tx.execute(query)]


async def taken(tx: Tx, message_ids: Sequence[int]) -> list[tuple[int, str, int]]:
    """(message id, address, recipient id) of what these messages took and nobody cancelled, oldest first."""
    r = recipients.c
    query = (
        select(r.message_id, r.address, r.id).where(r.message_id.in_(message_ids), r.state != "cancelled")
        .order_by(r.id)
    )
    return [(row.message_id, row.address, row.id) for row in await tx.execute(query)]
