"""What watches the relay asks: /healthz (alive), /readyz (can take mail now), /metrics (Prometheus).

Promises answers that say nothing of members, quickly, also when storage doesn't answer. Metrics and the doctor's
findings (`/healthz?full`) are for the configured networks only; for anybody else they are not there. What the doctor
looks at is put together above and handed in; what others count stands in `relay.base.metrics`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from platform import python_version
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.exposition import choose_encoder
from pydantic import ConfigDict, Field

from relay.base import metrics
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.config.delivery import named
from relay.base.storage import Storage, StorageError, events, incidents, reports, sites
from relay.base.web import answer, is_inside
from relay.base.web.calls import OPEN, Call, Calls, routes
from relay.base.web.models import Query
from relay.replies import NOT_FOUND, Refused

log = structlog.get_logger("monitor")
_SITES = 10_000

Doctor = Callable[[], Awaitable[dict[str, Any]]]
"""The operator's findings: `{"ok": bool, …}`."""
Check = Callable[[], bool]
"""Whether one part of the process can do its work now."""


TAG = ("Health", "For the operator's own programs.")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CHECKS = {
    "type": "object", "required": ["status", "checks"], "additionalProperties": False,
    "properties": {
        "status": {"enum": ["ready", "not ready"]},
        "checks": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
}
_HEALTH = {
    "oneOf": [
        {
            "type": "object", "required": ["status"], "additionalProperties": False,
            "properties": {"status": {"const": "ok"}},
        },
        {
            "type": "object", "required": ["ok", "findings"], "additionalProperties": False,
            "properties": {
                "ok": {"type": "boolean"},
                "findings": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {name: {"type": "string"} for name in ("name", "status", "saw", "fix")},
                    },
                },
            },
        },
    ]
}


class _Anything(Query):
    """Probes may ask as they like."""

    model_config = ConfigDict(extra="ignore")


class _Probe(_Anything):
    """What /healthz can be asked for."""

    full: str | None = Field(None, description="Operators get the doctor's findings.")


_calls = Calls(TAG[0], OPEN)


async def _anybody(_: web.Request, __: Call) -> None:
    """Who may see figures and findings is the operator's networks' matter: others get 404."""


@dataclass(frozen=True)
class MonitorServices:
    """What is watched. `checks` are asked by /readyz, each by name; a stopping process has one that says no."""

    config: Config
    clock: Clock
    storage: Storage
    checks: Mapping[str, Check] = field(default_factory=dict)
    doctor: Doctor | None = None
    answer_seconds: float = 3.0
    count_seconds: float = 5.0


class Monitor:
    """The three routes, and a middleware that counts requests."""

    def __init__(self, services: MonitorServices) -> None:
        self._services = services
        self._counted_at = float("-inf")
        engine = services.config.database.url.partition(":")[0].partition("+")[0]
        metrics.BUILD.info({"version": version("posthouse"), "python": python_version(), "database": engine})

    def routes(self) -> list[web.RouteDef]:
        """GET /healthz, /readyz, /metrics."""
        return routes(self, _anybody)

    @property
    def middleware(self) -> Middleware:
        """Counts requests by route pattern and status."""

        @web.middleware
        async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = self._services.clock.monotonic()
            status = 500
            try:
                response = await handler(request)
                status = response.status
                return response
            except Refused as e:
                status = e.verdict.reply.http or 500
                metrics.REFUSED.labels("http", e.verdict.reply.name).inc()
                raise
            except web.HTTPException as e:
                status = e.status
                raise
            finally:
                resource = request.match_info.route.resource
                route = resource.canonical if resource is not None else "(none)"
                # A client may invent methods; the label must stay small.
                method = request.method if request.method in _METHODS else "OTHER"
                metrics.REQUESTS.labels(method, route, str(status)).inc()
                metrics.REQUEST_SECONDS.labels(route).observe(max(0.0, self._services.clock.monotonic() - began))

        return counted

    @_calls.get(
        "/healthz", "Is the process alive?", gives=_HEALTH, asks=_Probe, also={503: "A finding fails."}, errors=(404,)
    )
    async def health(self, request: web.Request) -> web.Response:
        """200 while the process answers at all; with `?full` the doctor's findings, 503 when one of them fails."""
        if "full" not in request.query:
            return answer({"status": "ok"})
        self._for_operators(request)
        if self._services.doctor is None:
            raise Refused(NOT_FOUND)
        found = await self._services.doctor()
        return answer(found, 200 if found.get("ok") else 503)

    @_calls.get("/readyz", "Can mail be taken now?", gives=_CHECKS, asks=_Anything, also={503: "A part can't work."})
    async def ready(self) -> web.Response:
        """200 when mail can be taken now, else 503; names the parts, not their troubles."""
        checks = {name: check() for name, check in self._services.checks.items()}
        checks["storage"] = await self._storage_answers() and not self._services.storage.damage
        ready = all(checks.values())
        return answer({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)

    @_calls.get(
        "/metrics", "Figures for Prometheus, to operators", asks=_Anything, errors=(404,),
        gives_as={"text/plain": {"type": "string"}},
    )
    async def metrics(self, request: web.Request) -> web.Response:
        """The registry in Prometheus' text format, or as OpenMetrics where that is asked for."""
        if not self._services.config.metrics.enabled:
            raise Refused(NOT_FOUND)
        self._for_operators(request)
        await self._measure()
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):
            encode, content_type = choose_encoder("")  # RFC 9110 §12.5.1: what can't be read is no wish
        return web.Response(body=encode(metrics.REGISTRY), headers={"Content-Type": content_type})

    def _for_operators(self, request: web.Request) -> None:
        config = self._services.config
        if not is_inside(request, config.server.trusted_proxies, config.metrics.networks):
            raise Refused(NOT_FOUND)

    async def _storage_answers(self) -> bool:
        try:
            async with asyncio.timeout(self._services.answer_seconds), self._services.storage.read() as tx:
                await reports.answers(tx)
        except (StorageError, TimeoutError) as e:
            log.warning("storage.silent", cause=str(e))
            return False
        return True

    async def _measure(self) -> None:
        """Bring the gauges up to date; a count of the queue serves for some seconds."""
        s = self._services
        metrics.BACKLOG.set(s.storage.backlog)
        now = s.clock.monotonic()
        if now - self._counted_at < s.count_seconds:
            return
        try:
            async with asyncio.timeout(s.answer_seconds), s.storage.read() as tx:
                counts, oldest = await reports.waiting(tx, s.clock.now())
                opened = await incidents.open_now(tx)
                kept = await reports.population(tx)
                rows = await sites.listing(tx, _SITES)
                shares = await sites.shares(tx, s.clock.now(), _SITES)
                held = await events.longest_open(tx)
        except (StorageError, TimeoutError) as e:
            log.warning("storage.silent", cause=str(e))
            metrics.STORAGE_UP.set(0)
            return
        self._counted_at = now
        metrics.STORAGE_UP.set(1)
        metrics.STORAGE_OPEN.set(0.0 if held is None else held.seconds)
        metrics.OLDEST_DUE.set(oldest)
        metrics.INCIDENTS.set(sum(opened.values()))
        for state, count in counts.items():
            metrics.QUEUE.labels(state).set(count)
        for gauge, by in ((metrics.MEMBERS, kept.members), (metrics.DOMAINS, kept.domains)):
            gauge.clear()
            for state, count in by.items():
                gauge.labels(state).set(count)
        self._measure_sites(rows, shares)
        metrics.WEBHOOKS_WAITING.set(kept.webhooks_waiting)
        metrics.WEBHOOKS_FAILING.set(kept.webhooks_failing)


    def _measure_sites(self, rows: list[sites.Site], shares: list[sites.Share]) -> None:
        """Receiving sites: each that has a name of its own, the others together."""
        d, now = self._services.config.delivery, self._services.clock.now()
        known = named(d.sites)
        lanes = {name: float(d.connections_a_destination) for name in known} | {
            entry.name: float(entry.lanes) for entry in d.sites if entry.lanes is not None
        }
        states = {"paused": 0, "slowed": 0}
        until = dict.fromkeys(known, 0.0)
        for row in rows:
            paused = row.held or row.paused_until > now
            states["paused" if paused else "slowed"] += 1
            if row.name in known:
                lanes[row.name] = row.lanes
                until[row.name] = float("inf") if row.held else row.paused_until if paused else 0.0
            else:
                lanes["other"] = lanes.get("other", 0.0) + row.lanes
        for state, count in states.items():
            metrics.SITES.labels(state).set(count)
        for site, at in until.items():
            metrics.SITE_PAUSED.labels(site).set(at)
        metrics.SITE_LANES.clear()
        for site, limit in lanes.items():
            metrics.SITE_LANES.labels(site, "limit").set(limit)
        for share in shares:
            site = share.site if share.site in known else "other"
            metrics.SITE_LANES.labels(site, "used").inc(share.lanes)
            metrics.SITE_LANES.labels(site, "waiting").inc(share.waiting)
