"""The duty: follow the feed, judge whoever it concerns, act. One process at a time; any may be cut off at any point.

Promises that each event counts once; that a stage is changed in the transaction that reads the numbers again, with
its event and its notice; that what the operator suspended is never released here, and a member released by hand
begins with an empty window, even if this hears of it late. What is in memory is only which members to judge next,
and once a minute all are. Who failed is kept as keyed hashes, so that the table gives nobody's address away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from relay.base import names
from relay.base.clock import HOUR, Clock, iso
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.events import MEMBER_NOTICED, MEMBER_RELEASED, MEMBER_SLOWED, MEMBER_SUSPENDED, Event
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, accounts, events, incidents, versions
from relay.base.storage import standing as rows
from relay.base.storage.standing import Failure, Row
from relay.notices import Join, NoticeLater, Notices
from relay.notices.texts import Figures
from relay.notices.texts import standing as standing_notice
from relay.standing import feed, texts
from relay.standing.arithmetic import GOOD, NOTICE, SLOWED, STAGES, SUSPENDED, Counts, Judgement, judge
from relay.standing.conduct import Conduct
from relay.standing.feed import Seen
from relay.standing.view import counts_of, window_start

log = structlog.get_logger("standing")
DUTY = "standing"
_LEASE_SECONDS = 15.0
_SWEEP_SECONDS = 60.0
_NAMED_MAX = 1000  # members that one query names
_ROUNDS = 50  # of counting in one turn
_EVENTS = {NOTICE: MEMBER_NOTICED, SLOWED: MEMBER_SLOWED, SUSPENDED: MEMBER_SUSPENDED}

_WHO, _DOMAIN = 16, 8


def hashed(vault: Vault, seen: Iterable[Seen]) -> list[Failure]:
    """The rows for these recipients. Spellings and tags of one mailbox are one recipient; the domains of one
    organisation, which anybody who has one can have in any number, are one domain.

    Under the next master key the hashes are others: who failed before and after its change within one window counts
    twice.
    """
    return [_row(vault, one) for one in seen]


def _row(vault: Vault, seen: Seen) -> Failure:
    try:
        canonical = names.canonical(seen.address)
    except names.BadName:
        canonical = seen.address.lower()
    domain = canonical.rpartition("@")[2]
    organisation = names.registrable(domain) or domain
    # Bound to the member: the rows of two don't tell that they mail the same person.
    own = f"{seen.member_id}\n"
    return Failure(
        seen.member_id, seen.kind, vault.mac("standing-recipient", f"{own}{canonical}".encode())[:_WHO],
        vault.mac("standing-domain", f"{own}{organisation}".encode())[:_DOMAIN], seen.at,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """From one stage to another, for these numbers; GOOD as `to` of a suspended member is a release."""

    was: str
    to: str
    judgement: Judgement


class Watch:
    """`run` until cancelled; `tick` is one turn. `owner` names this process among those that share the database."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, notices: Notices, *, owner: str
    ) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._duty, self._notices = Duty(storage, clock, DUTY, owner, _LEASE_SECONDS), notices
        self._conduct = Conduct(storage, config, clock)
        self._touched: set[int] = set()
        self._sweep_at = float("-inf")
        s = config.standing
        self._exempt = {d.strip().lower().rstrip(".") for d in s.exempt_domains}
        self._exempt.add(f"sandbox.{config.server.hostname}")

    async def run(self) -> None:
        """Take turns until cancelled, then give the duty back."""
        try:
            await self._duty.turns(self.tick, self._config.standing.poll_seconds)
        finally:
            await self._duty.leave()

    async def tick(self) -> None:
        """Count what is new and judge whom it concerns, if the duty is ours. Raises StorageError."""
        if not await self._duty.ours():
            return
        if not await self._count():
            return  # judged once all is counted: a release may be among the rest
        ids = sorted(self._touched) if len(self._touched) <= _NAMED_MAX else None
        if self._clock.monotonic() >= self._sweep_at:
            ids = None
            await self._sweep()
        elif ids == []:
            return
        due = await self._due(ids)
        for member_id in due:
            await self._judge(member_id)
        # Whose stage has just changed is judged again: the next one may follow.
        self._touched = set(due)

    # -- counting ----------------------------------------------------------------------------------------------

    async def _count(self) -> bool:
        """Count up to the newest event; False if that was too much for one turn."""
        async with self._storage.read() as tx:
            target, known = await events.settled(tx), await rows.cursor(tx)
        if known is None:
            await self._storage.write(self._begin)
            return True
        at = known
        for _ in range(_ROUNDS):
            if at >= target:
                return True
            at, touched = await self._storage.write(lambda tx: self._take_in(tx, target))
            self._touched |= touched
        return at >= target

    async def _begin(self, tx: Tx) -> None:
        """The first look ever: what happened before is not counted."""
        if await rows.cursor(tx, lock=True) is None:
            await rows.move(tx, await events.settled(tx))

    async def _take_in(self, tx: Tx, target: int) -> tuple[int, set[int]]:
        """One batch; returns the new cursor and whom it concerns."""
        low = await rows.cursor(tx, lock=True) or 0
        high = min(target, low + self._config.standing.batch)
        if high <= low:
            return low, set()
        # Before anything is counted: what a released member had sent until then doesn't count any more.
        freed = await rows.released(tx, low, high)
        for member_id, at in freed.items():
            await rows.reset_window(tx, member_id, now=at)
        counted = await rows.delivered(tx, low, high, self._exempt)
        failed = await rows.failed(tx, low, high, self._exempt)
        more, who, sightings = feed.read(failed, self._config.standing.incident_examples)
        for key, fields in more.items():
            into = counted.setdefault(key, {})
            for name, n in fields.items():
                into[name] = into.get(name, 0) + n
        await rows.count(tx, counted)
        await rows.remember(tx, hashed(self._vault, who))
        for s in sightings:
            opened = await incidents.join(
                tx, s.kind, seen_at=s.seen_at, count=s.count, examples=s.examples,
                keep=self._config.standing.incident_examples,
            )
            if opened:
                log.error("incident.opened", kind=s.kind, says=feed.INCIDENTS[s.kind], example=s.examples[:1])
        await rows.move(tx, high)
        if freed:
            await versions.bump(tx, versions.DIRECTORY, members=freed)
        return high, {member_id for member_id, _ in counted} | {one.member_id for one in who} | set(freed)

    async def _sweep(self) -> None:
        """Once a minute: what time alone changes."""
        now, s = self._clock.now(), self._config.standing

        async def do(tx: Tx) -> None:
            await rows.fix_clock(tx, now)
            await incidents.close_quiet(tx, now - s.incident_quiet_hours * HOUR, now)

        await self._storage.write(do)
        await self._conduct.turn()
        self._sweep_at = self._clock.monotonic() + _SWEEP_SECONDS

    # -- judging -----------------------------------------------------------------------------------------------

    async def _due(self, ids: list[int] | None) -> list[int]:
        """Of these members, or of all with anything in the window or a stage, those whose stage seems to change."""
        now = self._clock.now()
        async with self._storage.read() as tx:
            counts = await counts_of(tx, window_start(self._config, now), ids)
            stages = await rows.rows(tx, ids)
        found = []
        for member_id in sorted(set(counts) | set(stages)):
            row = stages.get(member_id)
            judgement = judge(counts.get(member_id, Counts()), self._config)
            if self._next(row.stage if row else GOOD, judgement) is not None:
                found.append(member_id)
        return found

    def _next(self, stage: str, judgement: Judgement) -> str | None:
        """The stage that follows from these numbers; None: it stays. A stage is left only for `good`, so that
        numbers at a border send no mail to and fro; and nobody is suspended who hasn't been slowed before."""
        if STAGES.index(judgement.stage) > STAGES.index(stage):
            return SLOWED if judgement.stage == SUSPENDED and stage != SLOWED else judgement.stage
        if judgement.stage != GOOD or stage == GOOD:
            return None
        if stage == SUSPENDED and self._config.standing.release != "healed":
            return None
        return GOOD

    async def _judge(self, member_id: int) -> None:
        """Take one member's step, if it still is one."""
        async with self._storage.read() as tx:
            step = await self._step(tx, member_id)
            member = await accounts.by_id(tx, member_id)
            row = (await rows.rows(tx, [member_id])).get(member_id)
        if step is None or member is None:
            return
        join: Join | None = None
        if self._tells(step, row):
            notice = standing_notice(step.to, member.handle, self._figures(step.judgement), self._config)
            try:
                join = await self._notices.prepare(member.email, notice, about="standing")
            except NoticeLater:
                log.warning("standing.untold", member_id=member_id, stage=step.to)
        try:
            done = await self._storage.write(lambda tx: self._take(tx, member_id, step.to, join))
        except NoticeLater:
            # Stopping a flood doesn't wait until there is room for a notice about it.
            log.warning("standing.untold", member_id=member_id, stage=step.to)
            done = await self._storage.write(lambda tx: self._take(tx, member_id, step.to, None))
        if done is not None:
            log.info(
                "standing.changed", member_id=member_id, was=done.was, now=done.to,
                numbers=texts.reason(done.judgement, self._config),
            )

    def _figures(self, judgement: Judgement) -> Figures:
        measure, m = texts.worse(judgement)
        numbers = f"As of {iso(self._clock.now())}: {texts.reason(judgement, self._config)}."
        return Figures(measure, m.left, numbers, texts.advice(judgement))

    def _tells(self, step: _Step, row: Row | None) -> bool:
        """Nobody is written to about numbers that come and go, more than once in a window."""
        if step.to == GOOD:
            return step.was == SUSPENDED
        notified = row.told_at if row is not None else None
        return step.to != NOTICE or notified is None or notified < window_start(self._config, self._clock.now())

    async def _step(self, tx: Tx, member_id: int, *, lock: bool = False) -> _Step | None:
        now = self._clock.now()
        status = await accounts.lock(tx, member_id) if lock else None
        if not lock:
            member = await accounts.by_id(tx, member_id)
            status = member.status if member is not None else None
        row = (await rows.rows(tx, [member_id], lock=lock)).get(member_id)
        stage = row.stage if row is not None else GOOD
        # The operator's own suspension, and a release that the feed has not told of yet, are left alone.
        if status != ("suspended" if stage == SUSPENDED else "active"):
            return None
        counts = await counts_of(tx, window_start(self._config, now), [member_id])
        judgement = judge(counts.get(member_id, Counts()), self._config)
        to = self._next(stage, judgement)
        return _Step(stage, to, judgement) if to is not None else None

    async def _take(self, tx: Tx, member_id: int, to: str, join: Join | None) -> _Step | None:
        """Write the step, its events and its notice. Every stage on the way up has its event."""
        step = await self._step(tx, member_id, lock=True)
        if step is None or step.to != to:
            return None
        now = self._clock.now()
        why = texts.reason(step.judgement, self._config)
        happened = []
        if to == GOOD:
            if step.was == SUSPENDED:
                await accounts.set_status(tx, member_id, "active", reason="", now=now, was=("suspended",))
                await rows.reset_window(tx, member_id, now=now)
                happened.append(Event(MEMBER_RELEASED, member_id, now, data={"reason": "the figures have recovered"}))
            else:
                await rows.set_stage(tx, member_id, GOOD, now=now, notified=False)
        else:
            if to == SUSPENDED:
                await accounts.set_status(tx, member_id, "suspended", reason=why, now=now, was=("active",))
            await rows.set_stage(tx, member_id, to, now=now, notified=join is not None)
            for stage in STAGES[STAGES.index(step.was) + 1 : STAGES.index(to) + 1]:
                m = step.judgement
                data = {
                    "reason": why, "stage": stage, "finished": m.bounces.n, "bounces": m.bounces.k,
                    "complaints": m.complaints.k,
                }
                happened.append(Event(_EVENTS[stage], member_id, now, data=data))
        if {step.was, to} & {SLOWED, SUSPENDED}:
            await versions.bump(tx, versions.DIRECTORY, members=[member_id])
        if join is not None:
            await join(tx)
        await events.append(tx, happened)
        return step
