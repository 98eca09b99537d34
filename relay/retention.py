"""Clean-up, a duty of one process: bytes of finished messages, the logs, allowances, refusals, sign-ins, invites,
incidents, answers kept for idempotency, lists of members who are gone.

In slices: small transactions, each as large as takes some milliseconds here and now, with a pause as long as the slice
between them, and on SQLite in a thread. So accepting never waits for it, however much there is to remove, and a slice
costs what it removes, however much there is to keep.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from relay.base.clock import DAY, HOUR, Clock, Steps, utc_day
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.storage import (
    Storage,
    Tx,
    aggregate,
    allowances,
    audit,
    dns_links,
    events,
    idempotency,
    incidents,
    invites,
    mail,
    outbound_tls,
    refusals,
    sessions,
    sites,
    space,
    standing,
    stats,
    suppressions,
    transmissions,
    versions,
    webhooks,
)  # fmt: skip
from relay.standing.view import window_start

log = structlog.get_logger()
DUTY = "retention"
_SLICE_SECONDS = 0.010
_FIRST_ROWS = 50
_UNMARKED_EVERY = HOUR
Job = Callable[[Tx, int], Awaitable[tuple[int, bool]]]
"""Looks at so many rows; returns how many it has removed, and whether there may be more."""


class Retention:
    """Removes what is past its time."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, owner: str) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._steps = Steps(clock)
        self._duty = Duty(storage, clock, DUTY, owner, 3 * config.retention.purge_seconds)
        self._rows: dict[str, int] = {}
        self._unmarked_at = float("-inf")

    async def run(self) -> None:
        """Clean up until cancelled, every `purge_seconds`, while this process has the duty."""
        try:
            await self._duty.turns(self._turn, self._config.retention.purge_seconds)
        finally:
            await self._duty.leave()

    async def _turn(self) -> None:
        # Of a clock that was set wrong, somebody has an hour to set it right before anything counts as old.
        if not await self._duty.ours():
            return
        await self.look_for_open()
        if not self._steps.within(HOUR):
            await self.once()

    async def look_for_open(self) -> None:
        """Alarm for a transaction that somebody keeps open (PostgreSQL): readers of the event feed may wait for it,
        and what it has locked waits too. The relay's own end within `database.statement_timeout_seconds`."""
        async with self._storage.read() as tx:
            held = await events.longest_open(tx)
        if held is not None and held.seconds > self._config.database.open_transaction_seconds:
            log.error(
                "storage.transaction_open", pid=held.pid, application=held.application, state=held.state,
                seconds=round(held.seconds), advice="webhooks and /v1/events wait: end it (pg_terminate_backend)",
            )

    async def once(self) -> dict[str, int]:
        """One round, everything due; returns what was removed."""
        await self._mark_unmarked()
        removed = {}
        for name, job in (await self._jobs()).items():
            removed[name] = await self._sliced(name, job)
        return removed

    async def _jobs(self) -> dict[str, Job]:
        r, now = self._config.retention, self._clock.now()
        bodies_before = now - r.bodies_days * DAY
        log_before = now - r.log_days * DAY
        config = self._config
        keys_before = now - max(config.http.idempotency_hours, config.submission.idempotency_hours) * HOUR
        tls_before = now - self._config.tls_reports.keep_days * DAY
        counted_since = window_start(self._config, now) - HOUR
        async with self._storage.read() as tx:
            gone = await suppressions.of_deleted(tx)
        contents_before = now - r.transmission_content_days * DAY
        jobs: dict[str, Job] = {
            "contents": _simply(lambda tx, n: transmissions.purge_contents(tx, contents_before, n)),
            # Before the messages that they are told from.
            "transmissions": _simply(lambda tx, n: transmissions.purge(tx, log_before, n)),
            "bodies": _onwards(lambda tx, n, after: mail.purge_bodies(tx, bodies_before, n, after)),
            # What keeps its bytes for longer keeps its log for so long.
            "messages": _onwards(lambda tx, n, after: mail.purge_log(tx, min(log_before, bodies_before), n, after)),
            "events": _simply(lambda tx, n: events.purge(tx, log_before, n)),
            "webhooks": _simply(lambda tx, n: webhooks.purge(tx, log_before, n)),
            "refusals": _simply(lambda tx, n: refusals.purge(tx, now - r.refusals_days * DAY, n)),
            "audit": _simply(lambda tx, n: audit.purge(tx, now - r.audit_days * DAY, n)),
            "idempotency": _simply(lambda tx, n: idempotency.purge(tx, keys_before, n)),
            "counted": _simply(stats.fold),
            "allowances": _simply(lambda tx, n: allowances.purge(tx, now - DAY - HOUR, n)),
            "standing": _simply(lambda tx, n: standing.purge(tx, counted_since, n)),
            "failures": _simply(lambda tx, n: standing.purge_failures(tx, counted_since, n)),
            "sessions": _simply(lambda tx, n: sessions.purge(tx, now, n)),
            # An expired one is shown to the operator for as long as the log is kept.
            "invites": _simply(lambda tx, n: invites.purge(tx, log_before, n)),
            "dns_links": _simply(lambda tx, n: dns_links.purge(tx, log_before, n)),
            "sts_policies": _simply(lambda tx, n: outbound_tls.purge_policies(tx, now, n)),
            "tls_sessions": _simply(lambda tx, n: outbound_tls.purge_sessions(tx, utc_day(tls_before), n)),
            "tls_reports": _simply(lambda tx, n: outbound_tls.purge_reports(tx, utc_day(tls_before), n)),
            "aggregate": _simply(lambda tx, n: aggregate.purge(tx, utc_day(log_before), n)),
            "incidents": _simply(lambda tx, n: incidents.purge(tx, log_before, n)),
            "changes": _simply(versions.purge),
            "sites": _simply(lambda tx, n: sites.purge(tx, now - r.sites_days * DAY, now, n)),
            "pages": _simply(space.give_back),
        }
        if gone:
            # Kept as long as the member (and what still comes in for one that is gone goes with it).
            jobs["suppressions"] = _simply(lambda tx, n: suppressions.purge(tx, gone, n))
        return jobs

    async def _sliced(self, name: str, job: Job) -> int:
        """`job` until nothing is left, in slices that take about `_SLICE_SECONDS`; returns how many rows."""
        done, most = 0, self._config.retention.purge_rows
        rows = min(most, self._rows.get(name, _FIRST_ROWS))
        took = 0.0

        async def timed(tx: Tx) -> tuple[int, bool]:
            nonlocal took
            # Not by the relay's clock: this is about the machine, and nothing is decided by it but how much at once.
            began = time.perf_counter()
            found = await job(tx, rows)
            took = time.perf_counter() - began
            return found

        while True:
            n, more = await self._storage.aside(timed)
            done += n
            if not more:
                break
            # At most twice as many: the next rows may be larger.
            wanted = int(rows * min(2.0, _SLICE_SECONDS / max(took, 1e-6)))
            rows = self._rows[name] = max(1, min(most, wanted))
            await asyncio.sleep(took)
            if not await self._duty.ours():
                break
        return done

    async def _mark_unmarked(self) -> None:
        """What a program of an older version finishes, which may run beside this one, it doesn't mark."""
        if self._clock.monotonic() < self._unmarked_at + _UNMARKED_EVERY:
            return
        most = self._config.retention.purge_rows
        since = self._clock.now() - 2 * _UNMARKED_EVERY
        place: mail.Place | None = None
        while True:
            began = time.perf_counter()
            async with self._storage.read() as tx:
                ids, place = await mail.unmarked(tx, since, most, place)
            if ids:
                log.warning("retention.unmarked", messages=len(ids))
                await self._storage.aside(lambda tx, ids=ids: mail.mark(tx, ids))  # type: ignore[misc]
            if place is None:
                break
            await asyncio.sleep(time.perf_counter() - began)
        self._unmarked_at = self._clock.monotonic()


def _onwards(purge: Callable[[Tx, int, mail.Place | None], Awaitable[mail.Purged]]) -> Job:
    """A job of a walk: each slice begins where the one before has ended."""
    place: mail.Place | None = None

    async def job(tx: Tx, n: int) -> tuple[int, bool]:
        nonlocal place
        removed, place = await purge(tx, n, place)
        return removed, place is not None

    return job


def _simply(purge: Callable[[Tx, int], Awaitable[int]]) -> Job:
    """A job that removes what it finds, from the front."""

    async def job(tx: Tx, n: int) -> tuple[int, bool]:
        removed = await purge(tx, n)
        return removed, removed >= n

    return job
