"""A recipient's life: queued → sent | deferred → … | bounced | suppressed | cancelled; claims and the retry schedule.

The waist between queue and network has two verbs: `claim` leases due recipients to this process, `settle` writes
what became of a try. A lease in the past is free; a settle that comes after its lease was lost changes nothing.
`Handoff` hands freshly accepted messages to this process's worker without a round through the tables: their rows
are born leased.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from relay.base import metrics, names
from relay.base.clock import Clock, Steps, utc_day
from relay.base.config import Config
from relay.base.events import BOUNCED, CANCELLED, DEFERRED, SENT, SUPPRESSED, Event
from relay.base.storage import Storage, Tx, events, mail, operator_queries, stats, suppressions
from relay.base.storage.mail import Due, Settlement
from relay.base.storage.suppressions import Suppression
from relay.bounces.classify import Classified, classify, own_fault
from relay.outcome import Outcome, concluded

log = structlog.get_logger()

OPEN_STATES = ("queued", "deferred")
_CLEARED_AT_ONCE = 500
# RFC 3463 §3.4: what happens when the bytes of a waiting message are not there (a table edited by hand, a bad restore).
_LOST = concluded("never", "5.3.0", "the relay no longer has the content of this message", "route", "message")


@dataclass(slots=True)
class Ready:
    """A leased recipient with its final bytes.

    `since`: when its lease began, by the monotonic clock and by the wall's. `checked`: intake has just looked at
    each octet.
    """

    due: Due
    head: bytes
    body: bytes
    since: tuple[float, float]
    checked: bool = False

    @property
    def size(self) -> int:
        """Octets held."""
        return len(self.head) + len(self.body)


class Handoff:
    """What this process's worker holds, and the shelf where intake puts accepted messages for it.

    Bounded in recipients, in bytes, and in what one member and one destination may have of it: a slow host's
    mail waits in the tables, not here. A member's bound holds while others wait.
    """

    def __init__(self, config: Config, owner: str) -> None:
        d = config.delivery
        self.owner, self.lease_seconds = owner, d.lease_seconds
        self._max, self._max_bytes = d.prefetch, d.prefetch_bytes
        self._member_share, self._destination_share = d.member_share, d.destination_share
        self._accepted: list[Ready] = []
        self._held = 0
        self._bytes = 0
        self.shares: dict[int, int] = {}
        self._destinations: Counter[str] = Counter()
        self._recent: Counter[str] = Counter()
        self._recent_in_all = 0
        self._inflow_seconds = d.inflow_seconds
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._left = 0
        self._waiting: set[int] = set()
        self._low = -1
        self._shut: set[str] = set()
        self.open = False
        self.more = False
        self.again = False
        """Half of what was held, or of what a destination had its fill of, has gone: time for the next claim."""
        self.wake = asyncio.Event()

    @property
    def room(self) -> int:
        """How many more recipients may be held."""
        return max(0, self._max - self._held) if self._bytes < self._max_bytes else 0

    def reserve(self, member_id: int, destinations: Sequence[str], size: int) -> bool:
        """Take room for recipients about to be written; False: let them be claimed from the tables."""
        n = len(destinations)
        if not self.open or n > self.room or self._bytes + size * n > self._max_bytes:
            return False
        if self.more and self.shares.get(member_id, 0) + n > self._member_share:
            return False
        if any(self.full(d) for d in destinations):
            return False
        for destination in destinations:
            self._hold(member_id, destination, size)
        return True

    def full(self, destination: str) -> bool:
        """Whether a destination holds all it may: a fixed share, or four times what it took in the last second."""
        return self._destinations[destination] >= max(self._destination_share, 4 * self._recent[destination])

    def full_destinations(self) -> list[str]:
        """Those whose mail should not be claimed just now."""
        return [d for d in self._destinations if self.full(d)]

    def second_passed(self) -> None:
        """Called once a second: forget what was recent."""
        self._recent = Counter({d: n // 2 for d, n in self._recent.items() if n > 1})
        self._recent_in_all = self._recent.total()

    async def keep_pace(self, destinations: Sequence[str]) -> None:
        """Called before a message to these is taken: while the worker has all it can carry, and carries it, wait until
        as many recipients have left, at most `inflow_seconds`.

        Taking a message with many recipients costs a fraction of delivering it: unpaced, clients that bring more than
        one process can carry would be served at delivery's cost. Nobody waits for what is slow elsewhere.
        """
        if not self._carries_all_it_can(destinations):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((len(destinations), turn))
        try:
            async with asyncio.timeout(self._inflow_seconds):
                await turn
        except TimeoutError:
            pass

    def _carries_all_it_can(self, destinations: Sequence[str]) -> bool:
        if not self.open or not (self.more or self.room < len(destinations)):
            return False
        # With nothing in hand nobody leaves, and nobody is waited for.
        return 0 < self._held <= 4 * self._recent_in_all and not any(self.full(d) for d in destinations)

    def _next_in_line(self) -> None:
        """One has left: whose turn is it now?"""
        self._left += 1
        idle = 2 * self._held <= self._max and not self.more
        while self._line:
            wanted, turn = self._line[0]
            if not turn.done():
                if wanted > self._left and not idle:
                    return
                self._left = max(0, self._left - wanted)
                turn.set_result(None)
            self._line.popleft()
        self._left = 0

    def _hold(self, member_id: int, destination: str, size: int) -> None:
        self._held += 1
        self._bytes += size
        self.shares[member_id] = self.shares.get(member_id, 0) + 1
        self._destinations[destination] += 1

    def unreserve(self, member_id: int, destinations: Sequence[str], size: int) -> None:
        """Give reserved room back: these were not written."""
        for destination in destinations:
            self._release(member_id, destination, size)

    def waiting(self, member_id: int = 0) -> None:
        """Say that something due, of a member if known, was written without a lease: ask the tables soon."""
        self.more = True
        self._waiting.add(member_id)
        self.wake.set()

    def asked(self, shut: Sequence[str], *, more: bool) -> None:
        """The tables are being asked, for nothing to the destinations `shut`; afterwards again, with `more`, as they
        had as much as was asked for."""
        if more:
            self._low = self._held // 2
            return
        self.more = self.again = False
        self._waiting.clear()
        self._low, self._shut = -1, set(shut)

    def crowded(self) -> dict[int, int]:
        """With no room left and others waiting, whose share isn't used up: members with more than theirs, by how
        much."""
        if self.room > 0 or all(self.shares.get(m, 0) >= self._member_share for m in self._waiting):
            return {}
        return {m: n - self._member_share for m, n in self.shares.items() if n > self._member_share}

    def put(self, ready: Sequence[Ready], reserved_size: int) -> None:
        """Lay committed, leased recipients on the shelf (their room was reserved at `reserved_size` each)."""
        for r in ready:
            self._bytes += r.size - reserved_size
        self._accepted.extend(ready)
        self.wake.set()

    def adopt(self, ready: Sequence[Ready]) -> None:
        """Count claimed recipients as held."""
        for r in ready:
            self._hold(r.due.member_id, r.due.destination, r.size)

    def take(self) -> list[Ready]:
        """Everything on the shelf."""
        accepted, self._accepted = self._accepted, []
        return accepted

    def done(self, ready: Ready) -> None:
        """A held recipient is settled or given back."""
        destination = ready.due.destination
        was_full = self.room < 1
        self._recent[destination] += 1
        self._recent_in_all += 1
        self._release(ready.due.member_id, destination, ready.size)
        if self._held <= self._low or (destination in self._shut and self._half_empty(destination)):
            self.again = True
            self.wake.set()
        elif was_full and self.more:
            self.wake.set()
        if self._line:
            self._next_in_line()

    def _half_empty(self, destination: str) -> bool:
        return 2 * self._destinations[destination] <= max(self._destination_share, 4 * self._recent[destination])

    def _release(self, member_id: int, destination: str, size: int) -> None:
        self._held -= 1
        self._bytes -= size
        left = self.shares.get(member_id, 0) - 1
        if left > 0:
            self.shares[member_id] = left
        else:
            self.shares.pop(member_id, None)
        self._destinations[destination] -= 1
        if self._destinations[destination] <= 0:
            del self._destinations[destination]


@dataclass(frozen=True, slots=True)
class Parked:
    """A leased recipient that goes back untried, until `next_at`: `site`, to which it would go, is paused."""

    due: Due
    next_at: float
    site: str


@dataclass(slots=True)
class _Item:
    due: Due
    outcome: Outcome
    settlement: Settlement


class Queue:
    """Claims, settlements and the owner's actions."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, owner: str, rng: random.Random,
        handoff: Handoff | None = None,
    ) -> None:
        """`handoff`: this process's worker's, to be woken when something is made due."""
        self._storage, self._config, self._clock, self._owner, self._rng = storage, config, clock, owner, rng
        self._handoff = handoff
        self.steps = Steps(clock)

    async def claim(self, limit: int, shares: Mapping[int, int], without: Sequence[str] = ()) -> list[Ready]:
        """Lease up to `limit` due recipients, none for the destinations `without`, and load their bytes.

        A recipient whose message has no bytes any more is settled as failed: no later claim would find them.
        Raises StorageError.
        """
        # Before anything is asked: a process may be stopped at any point from here on.
        since = self._clock.monotonic(), self._clock.now()
        now = since[1]
        d = self._config.delivery

        async def do(tx: Tx) -> list[Due]:
            return await mail.claim(
                tx, owner=self._owner, now=now, until=now + d.lease_seconds, limit=limit,
                member_share=d.member_share, shares=dict(shares), without=without,
            )

        due = await self._storage.write(do)
        if not due:
            return []
        async with self._storage.read() as tx:
            found = await mail.bytes_of(tx, [(r.id, r.message_id) for r in due])
        for r in due:
            if r.id not in found:
                log.error("queue.content_lost", queue_id=r.queue_id, recipient=r.id)
                await self.settle(r, _LOST)
        return [Ready(r, *found[r.id], since) for r in due if r.id in found]

    async def next_due(self) -> float | None:
        """When the next recipient is due, or None."""
        async with self._storage.read() as tx:
            return await mail.next_due(tx)

    async def settle(self, due: Due, outcome: Outcome, began: float | None = None) -> str:
        """Write what became of one try; returns the new state ("" if the lease was lost). Raises StorageError.

        `began`: when the try did, on the monotonic clock. One that began before the wall's was set forward gives
        nobody up by age; the next one decides.
        """
        now = self._clock.now()
        decides = began is None or began > self.steps.last()
        item = _Item(due, outcome, self._settlement(due, outcome, now, decides=decides))
        state = await self._storage.together(self._settle, item)
        if state == "bounced":
            metrics.BOUNCES.labels(str(_facts(item)["class"]), "at once").inc()
        return state

    async def suppress(self, due: Due, reason: str, says: str) -> str:
        """It waited, and its member may not mail it any more: settled without a try and without a report.

        Returns the new state ("" if the lease was lost). Raises StorageError.
        """
        now = self._clock.now()
        s = Settlement(due.id, due.message_id, self._owner, "suppressed", now, now, says=says)
        data = {"recipient": due.address, "queueId": due.queue_id, "category": due.category, "reason": reason}
        event = Event(SUPPRESSED, due.member_id, now, due.domain_id, due.message_id, due.id, data)
        return await self._storage.together(self._suppress, (s, event))

    async def release(self, due: Due) -> None:
        """Give a lease back untried; the recipient is due again at once."""
        settlement = Settlement(due.id, due.message_id, self._owner, None, due.expires_at, self._clock.now())
        await self._storage.together(self._give_back, settlement)

    async def park(self, parked: Sequence[Parked]) -> None:
        """Give leases back untried, until later, with the reason; no try is counted. Raises StorageError."""
        rows = [(p.due.id, min(p.next_at, p.due.expires_at), p.site) for p in parked]
        await self._storage.write(lambda tx: mail.park(tx, self._owner, rows))

    async def renew(self, ids: Sequence[int]) -> set[int]:
        """Keep the leases of recipients that take long; returns those that are still ours. Raises StorageError."""
        until = self._clock.now() + self._config.delivery.lease_seconds
        return await self._storage.write(lambda tx: mail.renew(tx, self._owner, ids, until))

    async def free_dead(self, is_dead: Callable[[str], bool]) -> int:
        """Free the leases of owners that `is_dead` says are gone; returns how many. Raises StorageError."""
        async with self._storage.read() as tx:
            gone = [o for o in await mail.owners(tx) if o != self._owner and is_dead(o)]
        freed = 0
        for owner in gone:
            freed += await self._storage.write(lambda tx, owner=owner: mail.give_back(tx, owner))  # type: ignore[misc]
        return freed

    async def catch_up(self, now: float, was: float) -> int:
        """The wall clock was set back from `was` to `now`: make due what was due by then. Raises StorageError."""
        return await self._storage.write(lambda tx: mail.catch_up(tx, now, was))

    async def give_back(self) -> int:
        """Free every lease of this process (at a clean stop)."""
        return await self._storage.write(lambda tx: mail.give_back(tx, self._owner))

    def _settlement(self, due: Due, outcome: Outcome, now: float, *, decides: bool) -> Settlement:
        attempt = {
            "recipient_id": due.id, "at": now, "kind": outcome.kind, "host": outcome.host[:253],
            "ip": outcome.ip[:45], "tls": (outcome.tls or "")[:40], "stage": outcome.stage, "code": outcome.code,
            "enhanced": outcome.enhanced or "", "says": outcome.text[:1000], "seconds": outcome.duration_seconds,
            "tls_policy": outcome.policy, "tls_cipher": outcome.cipher[:64], "tls_verdict": outcome.tls_verdict,
        }
        s = Settlement(
            due.id, due.message_id, self._owner, "sent", now, now, outcome.code, outcome.text, attempt=attempt
        )
        notify = (due.notify or "").upper().split(",")
        if outcome.kind == "delivered":
            # RFC 3461 §5.2.2: a host without DSN reports no success, so all that can be said is that it has the mail.
            if due.return_path and "SUCCESS" in notify and not outcome.dsn:
                s.report_due = "relayed"
            return s
        if outcome.kind == "never" or (decides and now >= due.expires_at):
            s.state = "bounced"
            # RFC 3461 §4.1: without NOTIFY, failures are reported; NEVER silences every report.
            if due.return_path and (due.notify is None or "FAILURE" in notify):
                s.report_due = "failed"
            return s
        s.state = "deferred"
        s.next_at = now + self.wait(due.attempts, outcome)
        if s.next_at > due.expires_at:
            s.next_at = max(now + 60.0, due.expires_at)
        late = now - due.received_at >= self._config.delivery.delay_notice_seconds
        if late and "DELAY" in notify and not due.delay_told and due.return_path:
            s.report_due, s.delay_told = "delayed", True
        return s

    def wait(self, attempts: int, outcome: Outcome) -> float:
        """Seconds until the next try after `attempts` earlier ones: the schedule with jitter; greylisting gets its
        five minutes the first time, and a host that may have the message hours each time (RFC 1047)."""
        d = self._config.delivery
        base = d.schedule_seconds[min(attempts, len(d.schedule_seconds) - 1)]
        if outcome.unanswered:
            base = max(base, d.unanswered_seconds)
        if attempts == 0 and outcome.code in (450, 451):
            base = max(base, d.greylist_seconds)
            return base * (1 + self._rng.uniform(0, d.jitter))
        return base * (1 + self._rng.uniform(-d.jitter, d.jitter))

    async def _settle(self, tx: Tx, items: list[_Item]) -> list[str]:
        mine = await mail.owned(tx, [i.due.id for i in items], self._owner)
        kept = [i for i in items if i.due.id in mine]
        if not kept:
            return ["" for _ in items]
        await mail.settle(tx, [i.settlement for i in kept])
        counted: dict[tuple[int, str, int], dict[str, int]] = {}
        happened = []
        for i in kept:
            due, s = i.due, i.settlement
            type_, counter = {
                "sent": (SENT, "delivered"), "bounced": (BOUNCED, "bounced"), "deferred": (DEFERRED, "deferred")
            }[s.state or "deferred"]
            if due.domain_id is not None and not (s.state == "deferred" and due.attempts):
                fields = counted.setdefault((due.domain_id, utc_day(s.at), due.member_id), {})
                fields[counter] = fields.get(counter, 0) + 1
            happened.append(
                Event(type_, due.member_id, s.at, due.domain_id, due.message_id, due.id, _facts(i))
            )
        await stats.count(tx, counted)
        await suppressions.add(tx, [entry for i in kept if (entry := self._no_more(i)) is not None])
        await events.append(tx, happened)
        return [i.settlement.state or "" if i.due.id in mine else "" for i in items]

    async def _suppress(self, tx: Tx, items: list[tuple[Settlement, Event]]) -> list[str]:
        mine = await mail.owned(tx, [s.recipient_id for s, _ in items], self._owner)
        kept = [(s, e) for s, e in items if s.recipient_id in mine]
        await mail.settle(tx, [s for s, _ in kept])
        await events.append(tx, [e for _, e in kept])
        return [s.state or "" if s.recipient_id in mine else "" for s, _ in items]

    def _no_more(self, item: _Item) -> Suppression | None:
        """The entry on the member's list for an address that its own host says does not exist."""
        due, outcome, s = item.due, item.outcome, item.settlement
        if not (self._config.suppression.hard_bounces and due.return_path and s.state == "bounced"):
            return None
        # Of no domain: forwarded mail, and what refuses it is the member's own mailbox.
        if due.domain_id is None:
            return None
        # What DNS says is not enough: a resolver gone wrong would empty a member's list.
        if outcome.kind != "never" or outcome.stage == "route":
            return None
        why = _why(due, outcome)
        if not why.address_fault:
            return None
        try:
            canonical = names.canonical(names.address(due.address))
        except names.BadName:
            return None
        return Suppression(0, due.member_id, canonical, due.address, "hard_bounce", why.reason, s.at)

    async def _give_back(self, tx: Tx, items: list[Settlement]) -> list[None]:
        mine = await mail.owned(tx, [s.recipient_id for s in items], self._owner)
        await mail.settle(tx, [s for s in items if s.recipient_id in mine])
        return [None] * len(items)

    # -- the owner's actions -----------------------------------------------------------------------------------

    async def clear(self, member_id: int, domain: str) -> tuple[int, int]:
        """`cancel` all that waits from a domain (A-labels) of a member: how many recipients, and how many are left
        because a worker has them just now. What comes meanwhile may be among them."""
        cancelled = found = after = 0
        while True:
            async with self._storage.read() as tx:
                waits = await operator_queries.find(
                    tx, member_id=member_id, domain=domain, after=after, limit=_CLEARED_AT_ONCE
                )
            if not waits:
                return cancelled, found - cancelled
            cancelled += len(await self.change("cancel", [one.id for one in waits], member_id))
            found, after = found + len(waits), waits[-1].id

    async def change(self, action: str, ids: Sequence[int], member_id: int | None = None) -> list[int]:
        """`cancel`, `retry`, `hold`, `release`, `drop`; returns the recipient ids it could be done to."""
        now = self._clock.now()

        async def do(tx: Tx) -> list[int]:
            done = await mail.change(tx, action, now=now, ids=ids, member_id=member_id)
            if action in ("cancel", "drop"):
                await events.append(
                    tx, [Event(CANCELLED, m, now, d, msg, r, {"by": action}) for r, msg, m, d in done]
                )
            return [r for r, _, _, _ in done]

        changed = await self._storage.write(do)
        if changed and action in ("retry", "release") and self._handoff is not None:
            self._handoff.waiting()
        return changed


def _facts(item: _Item) -> dict[str, Any]:
    due, outcome, s = item.due, item.outcome, item.settlement
    data: dict[str, Any] = {
        "recipient": due.address, "queueId": due.queue_id, "attempt": due.attempts + 1, "host": outcome.host,
        "reply": outcome.text[:500],
    }
    if outcome.tls:
        data["tls"] = outcome.tls
    if outcome.policy:
        data |= {"tlsPolicy": outcome.policy, "tlsVerdict": outcome.tls_verdict}
    # Of no domain, and never reported on: a stranger's mail that was forwarded.
    if due.domain_id is None and due.notify == "NEVER":
        data["forwarded"] = True
    if s.state == "deferred":
        data["nextAt"] = s.next_at
    if outcome is _LOST:
        data |= {"class": "system", "reason": "The relay lost the message.", "ownFault": True}
    elif s.state == "bounced" or outcome.our_tls:
        why = _why(due, outcome)
        data |= {"class": why.class_, "reason": why.reason, "ownFault": why.own_fault}
    return data


def _why(due: Due, outcome: Outcome) -> Classified:
    """By the rule for reports: the words, and the command that they answered."""
    if outcome.our_tls:
        return own_fault("tls")
    # What we concluded ourselves answers no command.
    stage = outcome.stage if outcome.code is not None and outcome.stage != "route" else ""
    return classify(outcome.enhanced or "", outcome.text, stage=stage, recipient=due.address)
