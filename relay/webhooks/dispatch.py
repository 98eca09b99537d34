"""The clock that posts: one process at a time, each endpoint on its own, none able to hold up another.

What is waiting, when it is due and how an endpoint fares stands in the tables, so a restart forgets nothing. A try
whose outcome could not be written is made again: at least once. An endpoint's round ends at its first refusal, so
one that is down gets a request a round, not a queue's worth.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

import structlog

from relay.base import metrics
from relay.base.clock import Clock, Steps
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, StorageError, Tx, accounts, events
from relay.base.storage import webhooks as rows
from relay.base.storage.webhooks import DISABLED, FAILING, LIVE, Due, EndpointRow
from relay.notices import NoticeLater, Notices, texts
from relay.webhooks.post import Posted, Poster, body, delivery_name, headers

log = structlog.get_logger("webhooks")
DUTY = "webhooks"
_LEASE_SECONDS = 60.0
_ROUNDS = 20  # of taking up events, before those that are due get their turn
_ROUND_ROWS = 100
_JITTER = 0.1
_GONE = 410


class Dispatcher:
    """`run` until cancelled; `tick` is one turn. `owner` names this process among those that share the database."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, poster: Poster, notices: Notices, *,
        owner: str, rng: random.Random | None = None,
    ) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._poster, self._notices = poster, notices
        self._rng = rng or random.Random()
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._doubtful: set[int] = set()
        self._steps = Steps(clock)
        self._duty = Duty(storage, clock, DUTY, owner, _LEASE_SECONDS)

    async def run(self) -> None:
        """Take turns until cancelled, then end what is under way and give the duty back."""
        try:
            await self._duty.turns(self.tick, self._config.webhooks.poll_seconds)
        finally:
            await self.close()

    async def close(self) -> None:
        """End what is under way; give the duty back."""
        for task in self._busy.values():
            task.cancel()
        await self.finish()
        await self._duty.leave()

    async def tick(self) -> int:
        """Take up new events and begin posting what is due, if the duty is ours; returns how many endpoints are
        being spoken with. Raises StorageError."""
        if not await self._duty.ours():
            return 0
        await self._take_up()
        free = self._config.webhooks.parallel - len(self._busy)
        if free > 0:
            async with self._storage.read() as tx:
                due = await rows.due_endpoints(tx, self._clock.now(), without=list(self._busy), limit=free)
            # Those that refused last time may all be silent: they never hold more than half of the places.
            room = self._config.webhooks.parallel // 2 - len(self._doubtful)
            for endpoint in due:
                if endpoint.failing_since is not None:
                    if room <= 0:
                        break
                    room -= 1
                    self._doubtful.add(endpoint.id)
                task = asyncio.create_task(self._serve(endpoint), name=f"webhook-{endpoint.id}")
                self._busy[endpoint.id] = task
                task.add_done_callback(partial(self._done, endpoint.id))
        return len(self._busy)

    async def finish(self) -> None:
        """Wait until nothing is under way."""
        while self._busy:
            await asyncio.gather(*self._busy.values(), return_exceptions=True)
            await asyncio.sleep(0)  # the callbacks that empty `_busy`

    def _done(self, endpoint_id: int, _: asyncio.Task[None]) -> None:
        self._busy.pop(endpoint_id, None)
        self._doubtful.discard(endpoint_id)

    async def _take_up(self) -> None:
        w = self._config.webhooks
        for _ in range(_ROUNDS):
            async with self._storage.read() as tx:
                upto = await events.settled(tx)
                behind = await rows.behind(tx, upto, max_waiting=w.max_waiting, limit=w.batch)
            if not behind:
                return
            now = self._clock.now()

            async def do(tx: Tx, behind: list[int] = behind, upto: int = upto, now: float = now) -> int:
                return await rows.fan_out(tx, behind, upto, now=now, expires_at=now + w.give_up_seconds, limit=w.batch)

            if await self._storage.write(do) == 0:
                return

    # -- one endpoint ----------------------------------------------------------------------------------------------

    async def _serve(self, endpoint: EndpointRow) -> None:
        """One round: what is due there, in order, until the first refusal."""
        try:
            async with self._storage.read() as tx:
                due = await rows.due(tx, endpoint, self._clock.now(), _ROUND_ROWS)
            try:
                secrets = self._secrets(endpoint)
            except SecretsError as e:
                log.error("webhook.secret", webhook=endpoint.public_id, cause=str(e))
                return
            # One that refused last time is asked with a single request before it gets several at once.
            width = 1 if endpoint.failing_since is not None else self._config.webhooks.parallel_an_endpoint
            at = 0
            while at < len(due) and self._duty.held:
                chunk, at = due[at : at + width], at + width
                tries = (self._deliver(endpoint, one, secrets) for one in chunk)
                for taken in await asyncio.gather(*tries, return_exceptions=True):
                    if isinstance(taken, BaseException):
                        raise taken
                    if not taken:
                        return
                width = self._config.webhooks.parallel_an_endpoint
        except StorageError as e:
            log.warning("webhook.waits", webhook=endpoint.public_id, cause=str(e))
        except Exception:
            log.exception("webhook.failed", webhook=endpoint.public_id)

    def _secrets(self, endpoint: EndpointRow) -> list[str]:
        """The secrets that sign now: the newest, and for a while the one before it."""
        sealed = [endpoint.secret]
        if endpoint.old_secret is not None and (endpoint.old_until or 0.0) > self._clock.now():
            sealed.append(endpoint.old_secret)
        return [self._vault.open(one, "webhook", endpoint.public_id).decode() for one in sealed]

    async def _deliver(self, endpoint: EndpointRow, due: Due, secrets: list[str]) -> bool:
        """Post one; True unless it was refused."""
        now = self._clock.now()
        text = body(due, now)
        if text is None:
            gone = Posted(None, "the log keeps this event no longer", 0.0)
            await self._storage.write(lambda tx: self._settle(tx, due, gone, rows.FAILED, now))
            return True
        name = delivery_name(due)
        posted = await self._poster.post(endpoint.url, headers(name, text, secrets, now), text)
        log.info(
            "webhook.posted", webhook=endpoint.public_id, delivery=name, status=posted.status,
            seconds=round(posted.seconds, 3),
        )
        result = "taken" if posted.taken else f"{posted.status // 100}xx" if posted.status else "no answer"
        metrics.WEBHOOKS.labels(result).inc()
        if posted.taken:
            async def good(tx: Tx) -> None:
                await self._settle(tx, due, posted, rows.DELIVERED, self._clock.now())
                await rows.mark_healthy(tx, endpoint.id)

            await self._storage.write(good)
            return True
        await self._refused(endpoint, due, posted)
        return False

    async def _refused(self, endpoint: EndpointRow, due: Due, posted: Posted) -> None:
        now = self._clock.now()
        test = due.row.event_id is None
        # After the clock was set forward ages mean nothing for a while: nothing is given up, nobody is judged.
        jumped = self._steps.within(self._config.webhooks.alarm_seconds)
        again = None if test else self._again(due, posted, now, ends=not jumped)

        async def bad(tx: Tx) -> tuple[str, float] | None:
            state = rows.FAILED if again is None else rows.WAITING
            await self._settle(tx, due, posted, state, now if again is None else again)
            # A test is its owner's trial; it raises no alarm.
            return None if test else await rows.mark_failing(tx, endpoint.id, now)

        health = await self._storage.write(bad)
        if health is not None and not jumped:
            await self._judge(endpoint, posted, health[0], now - health[1])

    def _again(self, due: Due, posted: Posted, now: float, *, ends: bool) -> float | None:
        """When to try again; None when time is over. The last try comes right before that."""
        w = self._config.webhooks
        if ends and now >= due.row.expires_at:
            return None
        wait = w.retry_seconds[min(due.row.attempts, len(w.retry_seconds) - 1)] if w.retry_seconds else w.poll_seconds
        wait *= 1 + self._rng.uniform(0, _JITTER)
        at = now + max(wait, posted.retry_after or 0)
        return at if now >= due.row.expires_at else min(at, due.row.expires_at)

    async def _settle(self, tx: Tx, due: Due, posted: Posted, state: str, next_at: float) -> None:
        await rows.settle(
            tx, due.row.id, state=state, next_at=next_at, tried_at=self._clock.now(), status=posted.status,
            seconds=posted.seconds, says=posted.says,
        )

    async def _judge(self, endpoint: EndpointRow, posted: Posted, state: str, failing_seconds: float) -> None:
        """Raise the alarm, or disable, when an endpoint has refused everything for too long."""
        w = self._config.webhooks
        said = f"it answered {posted.status}" if posted.status is not None else posted.says
        if posted.status == _GONE:
            await self._change(endpoint, DISABLED, "It answered 410 (gone).", (LIVE, FAILING))
        elif failing_seconds >= w.give_up_seconds:
            days = w.give_up_seconds / 86_400
            reason = f"It took nothing for {days:g} days; at the last try: {said}."
            await self._change(endpoint, DISABLED, reason, (LIVE, FAILING))
        elif failing_seconds >= w.alarm_seconds and state == LIVE:
            await self._change(endpoint, FAILING, f"It takes nothing; at the last try: {said}.", (LIVE,))

    async def _change(self, endpoint: EndpointRow, state: str, reason: str, was: tuple[str, ...]) -> None:
        async with self._storage.read() as tx:
            owner = await accounts.by_id(tx, endpoint.member_id)
        if owner is None:
            return
        words = texts.webhook_disabled if state == DISABLED else texts.webhook_fails
        try:
            notice = words(owner.handle, endpoint.url, reason, self._config)
            join = await self._notices.prepare(owner.email, notice, about="a webhook")
        except NoticeLater:
            # Change and notice belong together; the next refusal asks again.
            log.warning("webhook.notice_delayed", webhook=endpoint.public_id)
            return

        async def do(tx: Tx) -> None:
            if await rows.set_state(tx, endpoint.id, state, reason, was=was):
                await join(tx)

        await self._storage.write(do)
        log.warning("webhook." + state, webhook=endpoint.public_id)
