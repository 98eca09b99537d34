"""Counting TLS sessions: for the operator in all, and by domain for those that ask for reports (RFC 8460).

Sessions are counted in memory and written down every few seconds, off the way of mail: which domains want reports is
asked then. Promises a bounded memory, small transactions, and that nothing counted is lost but by a crash; what the
database can't take is written at the next time. Reports are made from it by `tls_reporting`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import structlog

from relay.base import metrics
from relay.base.clock import DAY, Clock, day_start, utc_day
from relay.base.config import Config
from relay.base.resolver import Answer, Later, Resolver
from relay.base.secrets import random_id
from relay.base.storage import Storage, StorageError
from relay.base.storage import outbound_tls as rows
from relay.base.storage.outbound_tls import SessionKey
from relay.delivery.pool import Session
from relay.verify.tls_records import report_addresses

log = structlog.get_logger()
_AT_ONCE = 200  # counts in one transaction
_ASKED_AT_ONCE = 20
_LAST_SECONDS = 5.0
Said = Mapping[str, Any]


class SessionCounts:
    """Counts of one process. Hand `record` to the pool; `close` writes the rest."""

    def __init__(self, storage: Storage, resolver: Resolver, config: Config, clock: Clock) -> None:
        self._storage, self._resolver, self._clock = storage, resolver, clock
        self._settings = config.tls_reports
        self._sessions: dict[SessionKey, tuple[Said, int]] = {}
        self._totals: Counter[tuple[str, str, str]] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    def record(self, session: Session) -> None:
        """Count a session."""
        policy = session.policy
        result = str(session.result)
        if policy.report_type == "no-policy-found" and result.startswith("certificate-"):
            result = ""  # RFC 7435: without a policy no certificate is asked for
        day = utc_day(self._clock.now())
        self._totals[day, policy.word, result] += 1
        metrics.TLS_SESSIONS.labels(policy.word, result or "success").inc()
        if self._settings.enabled:
            self._add(_key(session, day, result), _said(session), 1)
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._settings.flush_seconds, self._begin)

    async def close(self) -> None:
        """Write down what is counted, once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        # A DNS that is silent must not keep the process from ending.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self.flush()

    async def flush(self) -> None:
        """Write down what is counted."""
        sessions, self._sessions = self._sessions, {}
        totals, self._totals = self._totals, Counter()
        unknown: set[str] = set()
        try:
            wanted, unknown = await self._who_asks({key.domain for key in sessions})
            kept = sorted((key, held) for key, held in sessions.items() if key.domain in wanted)
            while kept or totals:
                part = dict(kept[:_AT_ONCE])
                await self._write(part, totals)
                for key in part:
                    del sessions[key]
                kept, totals = kept[_AT_ONCE:], Counter()
        except StorageError as e:
            log.warning("tls_sessions.wait", cause=str(e))
            self._totals.update(totals)
            unknown = {key.domain for key in sessions}
        for key, (said, n) in sessions.items():
            if key.domain in unknown:
                self._add(key, said, n)

    def _begin(self) -> None:
        self._timer = None
        self._flushing = asyncio.create_task(self._flush_again(), name="tls-sessions")

    async def _flush_again(self) -> None:
        await self.flush()
        if self._sessions and self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._settings.flush_seconds, self._begin)

    def _add(self, key: SessionKey, said: Said, n: int) -> None:
        known = self._sessions.get(key)
        if known is not None:
            self._sessions[key] = known[0], known[1] + n
        elif len(self._sessions) < self._settings.max_counts:
            self._sessions[key] = said, n

    async def _who_asks(self, domains: Collection[str]) -> tuple[set[str], set[str]]:
        """The domains that want reports, and those of which DNS can't say just now."""
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(domain: str) -> tuple[str, bool | None]:
            async with turn:
                found = await self._resolver.txt(f"_smtp._tls.{domain}")
            if isinstance(found, Later):
                return domain, None
            return domain, isinstance(found, Answer) and bool(report_addresses(found.texts()))

        said = await asyncio.gather(*(ask(domain) for domain in domains))
        return {d for d, wants in said if wants}, {d for d, wants in said if wants is None}

    async def _write(
        self, sessions: Mapping[SessionKey, tuple[Said, int]], totals: Mapping[tuple[str, str, str], int]
    ) -> None:
        owed = {(key.day, key.domain) for key in sessions}
        due = [(day, domain, _due(day, domain, self._settings.spread_seconds), random_id(10)) for day, domain in owed]

        async def do(tx: Any) -> None:
            kept = await rows.owe_reports(tx, due, self._settings.max_domains)
            counted = {key: held for key, held in sessions.items() if (key.day, key.domain) in kept}
            await rows.count(tx, counted, totals)

        await self._storage.write(do)


def _key(session: Session, day: str, result: str) -> SessionKey:
    policy = session.policy
    shown = "\n".join((*policy.shown, "", *policy.patterns))
    hashed = hashlib.sha256(shown.encode()).hexdigest()[:16] if policy.shown else ""
    where = (session.host[:253], session.ip[:45], session.source[:45]) if result else ("", "", "")
    return SessionKey(day, session.domain, policy.report_type, hashed, result, *where)


def _said(session: Session) -> Said:
    policy = session.policy
    said: dict[str, Any] = {}
    if policy.shown:
        said["policy-string"] = list(policy.shown)
    if policy.patterns:
        said["mx-host"] = list(policy.patterns)
    return said


def _due(day: str, domain: str, spread_seconds: float) -> float:
    """When the report of a day leaves: after midnight UTC, each domain's at a time of its own (RFC 8460 §4.1)."""
    share = int.from_bytes(hashlib.sha256(domain.encode()).digest()[:4], "big") / 2**32
    return day_start(day) + DAY + share * spread_seconds
