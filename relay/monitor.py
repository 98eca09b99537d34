"""What watches the relay asks: /healthz (alive), /readyz (can take mail now), /metrics (Prometheus).

Promises answers that say nothing of members, quickly, also when storage doesn't answer. Metrics and the doctor's
findings (`/healthz?full`) are for the configured networks only; for anybody else they are not there. What the doctor
looks at is put together above and handed in; counters of other rooms live in the registry that is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ConfigDict, Field

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.log import lines_dropped
from relay.base.storage import Storage, StorageError, incidents, reports
from relay.base.web import answer, is_inside
from relay.base.web.calls import OPEN, Call, Calls, routes
from relay.base.web.models import Query
from relay.replies import NOT_FOUND, Refused

log = structlog.get_logger("monitor")

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
    """What is watched. `checks` are asked by /readyz, each by name; a stopping process has one that says no. `repeats`
    counts the messages that came again."""

    config: Config
    clock: Clock
    storage: Storage
    registry: CollectorRegistry
    checks: Mapping[str, Check] = field(default_factory=dict)
    doctor: Doctor | None = None
    repeats: Callable[[], int] = int
    answer_seconds: float = 3.0
    count_seconds: float = 5.0


class Monitor:
    """The three routes, and a middleware that counts requests."""

    def __init__(self, services: MonitorServices) -> None:
        self._services = services
        registry = services.registry
        self._queue = Gauge("posthouse_queue_recipients", "Recipients waiting.", ["state"], registry=registry)
        self._oldest = Gauge(
            "posthouse_queue_oldest_due_seconds", "How long the oldest due recipient has been due.", registry=registry
        )
        self._backlog = Gauge("posthouse_storage_backlog", "Writes waiting for a transaction.", registry=registry)
        self._incidents = Gauge(
            "posthouse_incidents_open", "Faults of the relay itself, as other hosts told it, that are open.",
            registry=registry,
        )
        self._up = Gauge("posthouse_storage_up", "1 when storage answers.", registry=registry)
        self._requests = Counter(
            "posthouse_http_requests", "HTTP requests.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram("posthouse_http_seconds", "Duration of HTTP requests.", ["route"], registry=registry)
        self._counted_at = float("-inf")
        for name, says, count in (
            ("log_dropped_lines", "Lines of the log that were dropped because nobody read it.", lines_dropped),
            ("messages_repeated", "Messages that came again, of which nothing was new.", services.repeats),
        ):
            registry.register(_Count(f"posthouse_{name}", says, count))

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
                raise
            except web.HTTPException as e:
                status = e.status
                raise
            finally:
                resource = request.match_info.route.resource
                route = resource.canonical if resource is not None else "(none)"
                # A client may invent methods; the label must stay small.
                method = request.method if request.method in _METHODS else "OTHER"
                self._requests.labels(method, route, str(status)).inc()
                self._seconds.labels(route).observe(max(0.0, self._services.clock.monotonic() - began))

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
        """The registry in Prometheus' text format."""
        if not self._services.config.metrics.enabled:
            raise Refused(NOT_FOUND)
        self._for_operators(request)
        await self._measure()
        return web.Response(
            body=generate_latest(self._services.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

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
        self._backlog.set(s.storage.backlog)
        now = s.clock.monotonic()
        if now - self._counted_at < s.count_seconds:
            return
        try:
            async with asyncio.timeout(s.answer_seconds), s.storage.read() as tx:
                counts, oldest = await reports.waiting(tx, s.clock.now())
                opened = await incidents.open_now(tx)
        except (StorageError, TimeoutError) as e:
            log.warning("storage.silent", cause=str(e))
            self._up.set(0)
            return
        self._counted_at = now
        self._up.set(1)
        self._oldest.set(oldest)
        self._incidents.set(sum(opened.values()))
        for state, count in counts.items():
            self._queue.labels(state).set(count)


class _Count:
    """A counter that stands elsewhere, asked when somebody reads the metrics."""

    def __init__(self, name: str, says: str, count: Callable[[], int]) -> None:
        self._name, self._says, self._count = name, says, count

    def collect(self) -> Iterable[CounterMetricFamily]:
        """As Prometheus' registry asks."""
        yield CounterMetricFamily(self._name, self._says, value=self._count())
