"""Mail that waits, for commands and pages: found by a filter, counted, acted upon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from posthouse.wiring import Core
from relay.base.clock import iso
from relay.base.storage import operator_queries
from relay.base.storage.operator_queries import Queued

BATCH = 500
ACTIONS = {
    "retry": "will be tried now", "hold": "held", "release": "released", "drop": "dropped",
}
"""What can be done to waiting mail, and how it is told afterwards."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which mail: queue ids or recipient numbers, a member's id, the sender's domain (A-labels), an address or a
    destination domain, a part of the last reply, held or not."""

    which: Sequence[str] = field(default=())
    member_id: int | None = None
    domain: str | None = None
    to: str | None = None
    error: str | None = None
    held: bool | None = None

    @property
    def chooses(self) -> bool:
        """Whether it names any mail; acting on all of the queue takes a word more."""
        return bool(self.which or self.member_id is not None or self.domain or self.to or self.error)

    def query(self) -> dict[str, Any]:
        """As the storage asks. A queue id has sixteen characters; a number is a recipient's."""
        def number(word: str) -> bool:
            return word.isascii() and word.isdigit() and len(word) < 16

        return {
            "ids": [int(w) for w in self.which if number(w)],
            "queue_ids": [w.lower() for w in self.which if not number(w)],
            "member_id": self.member_id, "domain": self.domain, "to": self.to, "error": self.error, "held": self.held,
        }


async def find(
    core: Core, wanted: Filter, *, only_open: bool = True, after: int = 0, limit: int = BATCH
) -> list[Queued]:
    """Recipients in order of their numbers, above `after`."""
    async with core.storage.read() as tx:
        return await operator_queries.find(tx, **wanted.query(), only_open=only_open, after=after, limit=limit)


async def newest(
    core: Core, wanted: Filter, *, only_open: bool, before: int | None, limit: int
) -> list[Queued]:
    """The newest recipients first, those with numbers under `before`."""
    async with core.storage.read() as tx:
        return await operator_queries.find(
            tx, **wanted.query(), only_open=only_open, newest=True, before=before, limit=limit
        )


async def count(core: Core, wanted: Filter) -> int:
    """How many recipients wait that the filter names."""
    async with core.storage.read() as tx:
        return await operator_queries.count(tx, **wanted.query())


async def act(core: Core, action: str, wanted: Filter) -> tuple[list[int], int]:
    """Do one of `ACTIONS` to all that the filter names: the recipients it was done to, and how many were left alone
    because they are being delivered at this moment."""
    changed: list[int] = []
    asked, after = 0, 0
    while found := await find(core, wanted, after=after):
        asked, after = asked + len(found), found[-1].id
        changed += await core.queue.change(action, [q.id for q in found])
    return changed, asked - len(changed)


def state(q: Queued) -> str:
    """A recipient's state in a word."""
    return "held" if q.held else q.state


def next_try(q: Queued, now: float) -> str:
    """When it is tried next, in a few words; "" where it isn't."""
    if q.state not in ("queued", "deferred"):
        return ""
    if q.held:
        return "when released"
    if q.leased_until is not None and q.leased_until > now:
        return "being delivered"
    return "now" if q.next_at <= now else iso(q.next_at)


def facts(q: Queued) -> dict[str, Any]:
    """A recipient for programs."""
    return {
        "id": q.queue_id, "recipientId": q.id, "domain": q.domain, "mailFrom": q.mail_from, "recipient": q.address,
        "status": q.state, "held": q.held, "attempts": q.attempts, "receivedAt": iso(q.received_at),
        "nextAttemptAt": iso(q.next_at), "expiresAt": iso(q.expires_at), "code": q.code, "reply": q.says,
    }
