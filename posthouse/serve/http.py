"""The one HTTP application: each package's routes inside one frame, and the doctor handed to the monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from enroll import app as enrollment
from enroll.api.native import Mail
from enroll.pages import PageServices, pages
from posthouse.operating.pages import operator_routes
from posthouse.serve.openapi import described
from posthouse.serve.sandbox import Mailbox, sandbox_routes
from posthouse.wiring import Core
from relay import sendapi
from relay.base.web import application
from relay.base.web.schema import document_route
from relay.monitor import Monitor, MonitorServices
from relay.sendapi import Copies, SendServices

_DOCTOR_SECONDS = 30.0


def http_application(
    core: Core, *, checks: Mapping[str, Callable[[], bool]],
    tasks: Callable[[], Mapping[str, str]], mailbox: Mailbox | None,
) -> web.Application:
    """The application of this process. `mailbox` is the sandbox's, where it runs here."""
    config = core.config
    doctor = Doctor(core, tasks)
    monitor = Monitor(
        MonitorServices(
            config, core.clock, core.storage, checks, doctor.findings
        )
    )
    send = SendServices(
        config=config, clock=core.clock, storage=core.storage, directory=core.directory, policy=core.policy,
        intake=core.intake, refusals=core.refusals, resolver=core.resolver,
    )
    documents = described(config)
    shown = pages(PageServices.of(core.enroll, core.intake, core.queue), documents)
    routes = [
        *sendapi.send_routes(send),
        *core.unsubscribe.routes(),
        *core.tracking.routes(),
        *monitor.routes(),
        *enrollment.routes(core.enroll, Mail(core.queue, core.handoff), copies=Copies(send, core.unsubscribe)),
        *shown.routes,
        *operator_routes(core, shown.guard, shown.renderer, doctor.findings),
        *(document_route(one.described, one.path) for one in documents),
    ]
    if mailbox is not None:
        routes += sandbox_routes(mailbox, config, shown.renderer)
    return application(
        config, core.clock, core.storage, routes=routes, middlewares=[monitor.middleware, core.tracking.middleware],
        translate=[enrollment.translate], error_page=shown.error_page,
    )


class Doctor:
    """The doctor's findings for /healthz?full and /operator; asked often, it examines once in half a minute."""

    def __init__(self, core: Core, tasks: Callable[[], Mapping[str, str]]) -> None:
        self._core, self._tasks = core, tasks
        self._turn = asyncio.Lock()
        self._found: dict[str, Any] = {}
        self._at = float("-inf")

    async def findings(self) -> dict[str, Any]:
        """`{"ok", "findings": [{"name", "status", "saw", "fix"}]}`."""
        from posthouse.doctor import FAIL, examine

        async with self._turn:
            now = self._core.clock.monotonic()
            if now - self._at > _DOCTOR_SECONDS:
                found = await examine(
                    self._core.config, clock=self._core.clock, storage=self._core.storage,
                    resolver=self._core.resolver, tasks=self._tasks(),
                )
                ok = all(f.status != FAIL for f in found)
                self._found, self._at = {"ok": ok, "findings": [asdict(f) for f in found]}, now
            return self._found
