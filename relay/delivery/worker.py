"""The worker: claim → deliver → settle, for every receiving site at its own pace.

Recipients wait in one line a site, once the DNS has said which site their domain has; a lane is a task that takes from
one line and settles each try. A slow site has its own few lanes and its own small share of what is held; everybody
else's mail goes past it. What a paused site would have us hold beyond that goes back into the queue for later. No
transaction is open during a conversation. Stopping gives leases back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from relay import suppression
from relay.base import metrics
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.runtime import is_dead
from relay.base.storage import StorageError
from relay.delivery.courier import Courier
from relay.delivery.line import Line, sender_domain
from relay.delivery.pacing import Pacer
from relay.delivery.shares import Shares
from relay.delivery.suppression_check import SuppressionCheck
from relay.outcome import Outcome, concluded, from_failure
from relay.queue import Handoff, Parked, Queue, Ready

log = structlog.get_logger()
_CLAIM_AT_MOST = 200
_SECOND = 1.0
_CLAIM_PAUSE = 0.05  # between two looks into the tables, however often somebody wakes us
_AGAIN_PAUSE = 0.01  # the same, when what was held runs low
_FULL_PAUSE = 0.5
_DEAD_SECONDS = 30.0
_LAST_WRITES_SECONDS = 2.0  # for what was delivered and is not yet written down, when stopping
_OLD = 1 / 3  # of a lease's time: then it is renewed
_STALE = 2 / 3  # then renewing has failed or stood still, and the lease is not trusted without asking
_SET_BACK = 5.0  # a wall clock that falls behind by so much was set
_SITE_SECONDS = 300.0  # so long the site of a domain is believed; each delivery asks the DNS for its own route
_SITES = 10_000


class Worker:
    """Runs until stopped. `on_settled(state, seconds)` is called after every settled try."""

    def __init__(
        self, queue: Queue, handoff: Handoff, courier: Courier, suppressed: SuppressionCheck,
        pacing: tuple[Pacer, Shares], config: Config, clock: Clock,
        on_settled: Callable[[str, float], None] = lambda state, seconds: None,
    ) -> None:
        self._queue, self._handoff, self._courier, self._suppressed = queue, handoff, courier, suppressed
        self._pacer, self._shares = pacing
        self._config, self._clock, self._on_settled = config, clock, on_settled
        self._lines: dict[str, Line] = {}
        self._sites: dict[str, tuple[float, str]] = {}
        self._unplaced: dict[str, Line] = {}
        self._placing: set[asyncio.Task[None]] = set()
        self._looking = asyncio.Semaphore(config.delivery.workers)
        self._parked: Counter[str] = Counter()
        self._lanes: Counter[str] = Counter()
        self._beginning: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._held: dict[int, tuple[float, float]] = {}
        self._renewing = asyncio.Lock()
        self._stopping = False
        self._claim_at = 0.0
        self._claimed_at = float("-inf")

    async def run(self) -> None:
        """Deliver until `stop`. A storage that can't be asked is asked again."""
        self._handoff.open = True
        duties = [
            asyncio.create_task(self._every_second(), name="delivery-second"),
            asyncio.create_task(self._shares.run(self._waiting, self._handoff.wake.set), name="delivery-sites"),
        ]
        try:
            while not self._stopping:
                for duty in duties:
                    if duty.done():
                        # Without them leases run out, and long deliveries would be made twice; or sites go unpaced.
                        duty.result()
                self._take_in(self._handoff.take())
                await self._claim()
                self._open_lanes()
                await self._wait()
        finally:
            self._handoff.open = False
            for task in (*duties, *self._placing):
                task.cancel()
            await asyncio.gather(*duties, *self._placing, return_exceptions=True)

    async def stop(self, seconds: float) -> None:
        """No new work; conversations get `seconds` to end; then every lease is given back, but not that of a message
        which its host may have: that try is settled, and the next one is hours away."""
        self._stopping = True
        self._handoff.open = False
        self._handoff.wake.set()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)
        # RFC 1047: who has all of a message and has not answered may well keep it; sent again at once it comes twice.
        if self._tasks and self._courier.stop_waiting():
            await asyncio.wait(list(self._tasks), timeout=_LAST_WRITES_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._settling:
            _, late = await asyncio.wait(list(self._settling), timeout=_LAST_WRITES_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._courier.close()
        try:
            await self._queue.give_back()
            await self._shares.leave()
        except StorageError as e:
            log.warning("delivery.leases_kept", cause=str(e))

    @property
    def busy(self) -> int:
        """Open lanes."""
        return len(self._tasks)

    # -- taking work in ----------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        now = self._clock.monotonic()
        room = min(self._handoff.room, _CLAIM_AT_MOST)
        if self._handoff.more:
            self._claim_at = min(self._claim_at, self._claimed_at + _CLAIM_PAUSE)
        if self._handoff.again:
            self._claim_at = min(self._claim_at, self._claimed_at + _AGAIN_PAUSE)
        if now < self._claim_at:
            return
        if room < 1:
            await self._make_room()
            return
        self._claimed_at = now
        self._claim_at = now + self._config.delivery.poll_seconds
        full = self._handoff.full_destinations()
        self._handoff.asked(full, more=False)
        before = set(self._held)
        try:
            ready = await self._queue.claim(room, self._handoff.shares, full)
        except StorageError as e:
            log.warning("delivery.claim_failed", cause=str(e))
            return
        found = len(ready)
        # After the clock was set forward our own leases look expired; what is in hand must not be taken twice.
        self._take_in(self._handoff.take())
        ready = [r for r in ready if r.due.id not in before and r.due.id not in self._held]
        self._handoff.adopt(ready)
        self._take_in(ready)
        if found == room:
            # There is more: at once while there is room for a good part, else when half of what is held has gone.
            if self._handoff.room >= _CLAIM_AT_MOST:
                self._claim_at = now
            self._handoff.asked(full, more=True)
        elif full:
            # More may wait for destinations that held all they may: soon while they take it, rarely while they don't.
            self._claim_at = now + (_CLAIM_PAUSE if found else _FULL_PAUSE)

    async def _make_room(self) -> None:
        """One member has all the room, which it may while nobody else waits, and now somebody does: what it has beyond
        its share and has not begun goes back."""
        crowded = self._handoff.crowded()
        back: list[Ready] = []
        for line in self._lines.values():
            # The first of each is left: a lane that is about to begin takes it.
            for ready in line.waiting()[:0:-1]:
                if crowded.get(ready.due.member_id, 0) > 0:
                    crowded[ready.due.member_id] -= 1
                    back.append(ready)
        if not back:
            return
        gone = {ready.due.id for ready in back}
        for line in self._lines.values():
            line.remove(gone)
        for ready in back:
            self._forget(ready)
        try:
            await asyncio.gather(*(self._queue.release(ready.due) for ready in back))
        except StorageError as e:
            log.warning("delivery.leases_kept", cause=str(e))  # they run out

    def _take_in(self, ready: list[Ready]) -> None:
        now = self._clock.monotonic()
        for r in ready:
            self._held[r.due.id] = r.since
            destination = r.due.destination
            known = self._sites.get(destination)
            if known is not None and now - known[0] < _SITE_SECONDS:
                self._line(known[1]).extend([r])
                continue
            line = self._unplaced.get(destination)
            if line is None:
                line = self._unplaced[destination] = Line()
                task = asyncio.create_task(self._place(destination), name=f"site of {destination}")
                self._placing.add(task)
                task.add_done_callback(self._placing.discard)
            line.extend([r])

    async def _place(self, destination: str) -> None:
        """Find a domain's site, and put what waits for it into the site's line."""
        try:
            async with self._looking:
                site = await self._courier.site(destination)
        except Exception:
            log.exception("delivery.site_failed", destination=destination)
            site = destination
        if len(self._sites) >= _SITES:
            self._sites.clear()
        self._sites[destination] = self._clock.monotonic(), site
        self._line(site).extend(self._unplaced.pop(destination, Line()).waiting())
        self._handoff.wake.set()

    def _line(self, site: str) -> Line:
        line = self._lines.get(site)
        if line is None:
            line = self._lines[site] = Line()
        return line

    def _waiting(self) -> dict[str, int]:
        return {site: len(line) for site, line in self._lines.items() if line}

    async def _wait(self) -> None:
        """Until something is handed over, a lane ends, or the next poll."""
        timeout = max(0.0, min(self._claim_at - self._clock.monotonic(), self._config.delivery.poll_seconds))
        if self._handoff.room < 1:
            timeout = self._config.delivery.poll_seconds  # whatever leaves wakes us
        wait = self._pacer.next_wait(self._lines)
        try:
            async with asyncio.timeout(min(timeout, wait) if wait is not None else timeout):
                await self._handoff.wake.wait()
        except TimeoutError:
            pass
        self._handoff.wake.clear()

    # -- lanes -------------------------------------------------------------------------------------------------

    def _open_lanes(self) -> None:
        for site, line in self._lines.items():
            # Lanes that have begun are busy with what they took; those about to begin will take one each.
            beginning = self._beginning[site]
            while len(line) > beginning and len(self._tasks) < self._config.delivery.workers:
                blocked = self._pacer.blocked(site)
                if self._stopping or line.open(blocked, beginning + 1) <= beginning or not self._pacer.start(site):
                    break
                beginning += 1
                self._lanes[site] += 1
                task = asyncio.create_task(self._lane(site), name=f"lane {site}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if beginning:
                self._beginning[site] = beginning

    async def _lane(self, site: str) -> None:
        """One line's work until it is empty or the site wants fewer lanes."""
        line = self._lines[site]
        settling: asyncio.Task[None] | None = None
        self._beginning[site] -= 1
        try:
            while not self._stopping and (ready := line.take(self._pacer.blocked(site))) is not None:
                if not await self._may_go(ready):
                    continue
                began = self._clock.monotonic()
                outcome = await self._deliver(site, ready)
                if outcome is None:
                    line.put_back(ready)
                    break
                if settling is not None:
                    await asyncio.shield(settling)
                settling = asyncio.create_task(self._settle(ready, outcome, began), name="settle")
                self._settling.add(settling)
                settling.add_done_callback(self._settling.discard)
                if not self._pacer.may_continue(site):
                    break
            if settling is not None:
                await asyncio.shield(settling)
        finally:
            self._end(site)

    async def _deliver(self, site: str, ready: Ready) -> Outcome | None:
        """One try; None: no exchanger of its domain may be called just now."""
        due = ready.due
        whose = site, sender_domain(due), due.destination
        self._pacer.begin(*whose)
        try:
            return await self._courier.deliver(ready, self._pacer.visit(*whose, due.return_path))
        except Exception:
            log.exception("delivery.failed", queue_id=due.queue_id)
            return from_failure("internal", "connect")
        finally:
            self._pacer.done(*whose)

    def _end(self, site: str) -> None:
        self._pacer.ended(site)
        self._lanes[site] -= 1
        self._tidy(site)
        self._handoff.wake.set()

    def _tidy(self, site: str) -> None:
        """A line that is empty and has no lane is none."""
        if self._lanes[site] <= 0 and not self._lines.get(site):
            self._lines.pop(site, None)
            del self._lanes[site], self._beginning[site]

    async def _settle(self, ready: Ready, outcome: Outcome, began: float) -> None:
        """Write it down. A storage that is away is asked again, however long: to forget a delivery is to make it
        twice. (A lease that somebody else has taken meanwhile lets this settle change nothing.)"""
        wait = 0.2
        state = ""
        while True:
            try:
                state = await self._queue.settle(ready.due, outcome, began)
                break
            except StorageError as e:
                log.error("delivery.settle_failed", queue_id=ready.due.queue_id, cause=str(e))
            except Exception:
                # A fault of our own. What was not delivered is let go: its lease runs out, and it is tried again.
                log.exception("delivery.settle_failed", queue_id=ready.due.queue_id)
                if outcome.kind != "delivered":
                    break
            await asyncio.sleep(wait)
            wait = min(wait * 2, 10.0)
        self._forget(ready)
        metrics.DELIVERIES.labels(state or "lost").inc()
        metrics.TRY_SECONDS.observe(outcome.duration_seconds)
        if state == "sent":
            metrics.WAY_SECONDS.observe(max(0.0, self._clock.now() - ready.due.received_at))
        self._on_settled(state or "lost", outcome.duration_seconds)
        if state == "bounced":
            log.info(
                "delivery.bounced", queue_id=ready.due.queue_id, recipient=ready.due.address, code=outcome.code,
                reply=outcome.text[:200],
            )

    # -- leases ------------------------------------------------------------------------------------------------

    def _age(self, recipient_id: int) -> float:
        """How much of its time a held lease has had since it was written, 1 = all, by the clock that says more.

        The monotonic one runs on while a process is stopped; only the wall's knows of a machine that slept.
        """
        timer, wall = self._held[recipient_id]
        passed = max(self._clock.monotonic() - timer, self._clock.now() - wall)
        return passed / self._config.delivery.lease_seconds

    async def _renew(self) -> None:
        """Keep the leases that grow old; let go of what has become somebody else's. Raises StorageError."""
        async with self._renewing:
            asked = self._clock.monotonic(), self._clock.now()
            old = [i for i in self._held if self._age(i) > _OLD]
            for at in range(0, len(old), _CLAIM_AT_MOST):
                part = old[at : at + _CLAIM_AT_MOST]
                kept = await self._queue.renew(part)
                self._held.update({i: asked for i in kept if i in self._held})
                self._let_go(set(part) - kept)

    async def _may_go(self, ready: Ready) -> bool:
        """The last look before a delivery, nearly always without a query: is it still ours, is it still wanted? If the
        tables can't say, the answer is no: it is in them, and whoever claims it next delivers it."""
        due = ready.due
        if self._age(due.id) > _STALE and not await self._still_ours(ready):
            return False
        try:
            entry = await self._suppressed.entry(due)
            if entry is None:
                return True
            state = await self._queue.suppress(due, entry.reason, suppression.in_words(entry))
        except StorageError as e:
            log.warning("delivery.put_back", queue_id=due.queue_id, cause=str(e))
            self._forget(ready)
            return False
        self._forget(ready)
        self._on_settled(state or "lost", 0.0)
        return False

    async def _still_ours(self, ready: Ready) -> bool:
        """Ask the tables about a lease that may have run out."""
        try:
            await self._renew()
        except StorageError as e:
            log.warning("delivery.leases_not_renewed", cause=str(e))
            self._let_go({i for i in self._held if self._age(i) > _STALE})
        if self._age(ready.due.id) <= _STALE and not self._stopping:
            return True
        self._forget(ready)
        return False

    def _let_go(self, ids: Collection[int]) -> None:
        """Forget those of `ids` that wait in a line. One that is under way ends by itself, and settles nothing."""
        gone = [r for line in (*self._lines.values(), *self._unplaced.values()) for r in line.remove(ids)]
        for ready in gone:
            self._forget(ready)
        for site in list(self._lines):
            self._tidy(site)
        if gone:
            log.warning("delivery.leases_lost", recipients=len(gone))

    def _forget(self, ready: Ready) -> None:
        self._held.pop(ready.due.id, None)
        self._handoff.done(ready)

    # -- paused sites ------------------------------------------------------------------------------------------

    async def _park(self) -> None:
        """Of what waits for a paused site a few are kept; the others go back, to come again when the site may take
        them. What has been here for too long by then is over, with the words that the site was paused for. Raises
        StorageError."""
        for site in self._pacer.troubled():
            line = self._lines.get(site)
            if not line:
                self._parked.pop(site, None)
                continue
            self._shares.note(dict.fromkeys(line.domains(), site))
            if not self._pacer.is_paused(site):
                self._parked.pop(site, None)
                continue
            left, rate, said = self._pacer.pause_left(site)
            now = self._clock.now()
            if left is not None:
                old = line.remove({r.due.id for r in line.waiting() if r.due.expires_at <= now})
                for ready in old:
                    await self._settle(ready, _as_said(said, site), self._clock.monotonic())
            more = line.beyond(self._config.delivery.site_held)
            if more:
                await self._send_back(site, line, more, self._next_times(site, len(more), left, rate))
            self._tidy(site)

    def _next_times(self, site: str, n: int, left: float | None, rate: float | None) -> list[float]:
        """When those that go back come again: spread over the rate after the pause, and at most so far away."""
        now, latest = self._clock.now(), self._config.delivery.site_park_seconds
        first = self._parked[site]
        self._parked[site] += n
        step = 1.0 / (rate or self._config.delivery.site_slowed_rate)
        begin = latest / 2 if left is None else left
        # Beyond the latest time they would all come at once: from there on they are spread over it again.
        return [now + begin + (first + i) * step % max(step, latest - begin) for i in range(n)]

    async def _send_back(self, site: str, line: Line, more: list[Ready], times: list[float]) -> None:
        parked = [Parked(r.due, at, site) for r, at in zip(more, times, strict=True)]
        try:
            await self._queue.park(parked)
        except StorageError:
            line.extend(more)
            raise
        for ready in more:
            self._forget(ready)
        log.info("site.parked", site=site, recipients=len(more))

    # -- once a second -----------------------------------------------------------------------------------------

    async def _every_second(self) -> None:
        """Forget what was recent; keep the leases of slow conversations; free those of dead processes."""
        dead_at = 0.0
        ahead = self._clock.now() - self._clock.monotonic()
        while True:
            self._handoff.second_passed()
            now = self._clock.monotonic()
            self._queue.steps.last()
            try:
                wall = self._clock.now()
                if wall - now < ahead - _SET_BACK:
                    # What was due by the old time is due now, not when the clock comes by there again.
                    await self._queue.catch_up(wall, now + ahead)
                ahead = wall - now
                await self._renew()
                await self._park()
                if now >= dead_at:
                    dead_at = now + _DEAD_SECONDS
                    if await self._queue.free_dead(is_dead):
                        self._claim_at = 0.0
                        self._handoff.wake.set()
            except StorageError as e:
                log.warning("delivery.leases_not_renewed", cause=str(e))
            await asyncio.sleep(_SECOND)


def _as_said(said: Outcome | None, site: str) -> Outcome:
    """The outcome of a recipient whose time ended while its site was paused."""
    if said is None:
        return concluded("later", "4.4.5", f"{site} is paused because it asked for less mail", "route", "destination")
    return replace(said, duration_seconds=0.0)
