"""What watches the relay is told the truth, and strangers are told nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from relay.base import metrics
from relay.base.storage import sites
from relay.base.web import Listener, application
from relay.monitor import Monitor, MonitorServices
from tests.kit.storage import make_config
from tests.kit.world import World

STRANGER = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(make_config(tmp_path))
    yield made
    await made.close()


class Watched:
    """A running monitor whose parts a test can break."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stopping = False
        self.findings: dict[str, Any] = {"ok": True, "findings": []}

    async def doctor(self) -> dict[str, Any]:
        return self.findings


@pytest.fixture
async def watched(world: World) -> AsyncIterator[tuple[Watched, ClientSession]]:
    it = Watched(world)
    monitor = Monitor(
        MonitorServices(
            config=world.config,
            clock=world.clock,
            storage=world.storage,
            checks={"running": lambda: not it.stopping},
            doctor=it.doctor,
        )
    )
    app = application(
        world.config, world.clock, world.storage, routes=monitor.routes(), middlewares=[monitor.middleware]
    )
    listener = Listener(app, world.config, ["127.0.0.1:0"])
    await listener.start()
    async with ClientSession(f"http://127.0.0.1:{listener.ports[0]}") as http:
        yield it, http
    await listener.stop()


async def test_alive_and_ready(watched: tuple[Watched, ClientSession]) -> None:
    it, http = watched
    async with http.get("/healthz", headers=STRANGER) as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
    async with http.get("/readyz") as response:
        assert (response.status, (await response.json())["checks"]) == (200, {"running": True, "storage": True})
    it.stopping = True
    async with http.get("/readyz") as response:
        assert (response.status, (await response.json())["checks"]["running"]) == (503, False)


async def test_the_doctors_findings_are_for_operators(watched: tuple[Watched, ClientSession]) -> None:
    it, http = watched
    async with http.get("/healthz?full") as response:
        assert (response.status, await response.json()) == (200, it.findings)
    it.findings = {"ok": False}
    async with http.get("/healthz?full") as response:
        assert response.status == 503
    for path in ("/healthz?full", "/metrics"):
        async with http.get(path, headers=STRANGER) as response:
            assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")


async def test_metrics_count_the_queue_and_the_requests(watched: tuple[Watched, ClientSession]) -> None:
    it, http = watched
    alice = await it.world.member()
    await it.world.domain(alice)
    await it.world.submit(alice, "a@sink.test", "b@sink.test")
    it.world.clock.move(7)  # type: ignore[attr-defined]
    before = metrics.REQUESTS.labels("GET", "(none)", "404")._value.get()
    async with http.get("/nowhere"):
        pass
    async with http.get("/metrics") as response:
        text = await response.text()
    assert 'posthouse_queue_recipients{state="queued"} 2.0' in text
    assert "posthouse_queue_oldest_due_seconds 7.0" in text
    assert f'posthouse_http_requests_total{{method="GET",route="(none)",status="404"}} {before + 1}' in text
    assert "posthouse_storage_up 1.0" in text


async def test_metrics_tell_of_receiving_sites_and_name_only_known_ones(
    watched: tuple[Watched, ClientSession]
) -> None:
    it, http = watched
    now, limits = it.world.clock.now(), sites.Limits(60.0, 600.0, 10.0, 0.1, 0.05, 100.0)
    for name in ("google", "mx.far.test"):
        sign = sites.Sign(name, 20, None, 0.0, "421 no", name)
        await it.world.storage.write(lambda tx, sign=sign: sites.sign(tx, sign, limits, now))
    want = {"yahoo": sites.Want(30, 0, 20)}
    await it.world.storage.write(
        lambda tx: sites.share(tx, "me", want, limits, now=now, seconds=10.0, is_dead=lambda owner: False)
    )
    async with http.get("/metrics") as response:
        text = await response.text()
    for line in (
        'posthouse_sites{state="paused"} 2.0', 'posthouse_site_lanes{lanes="limit",site="google"} 10.0',
        'posthouse_site_lanes{lanes="limit",site="other"} 10.0', 'posthouse_site_lanes{lanes="used",site="yahoo"} 20.0',
        'posthouse_site_lanes{lanes="waiting",site="yahoo"} 10.0',
        'posthouse_site_paused_until_seconds{site="apple"} 0.0',
    ):
        assert line in text
    assert metrics.SITE_PAUSED.labels("google")._value.get() == now + 60
    assert "mx.far.test" not in text


async def test_a_dead_database_is_not_ready_but_answers(watched: tuple[Watched, ClientSession]) -> None:
    it, http = watched
    path = it.world.config.server.data_dir / "posthouse.db"
    await it.world.storage._reader.dispose()
    path.rename(path.with_suffix(".gone"))
    path.mkdir()
    async with http.get("/readyz") as response:
        assert (response.status, (await response.json())["checks"]["storage"]) == (503, False)
    async with http.get("/metrics") as response:
        assert "posthouse_storage_up 0.0" in await response.text()
    async with http.get("/healthz") as response:
        assert response.status == 200
    path.rmdir()
    path.with_suffix(".gone").rename(path)
    async with http.get("/readyz") as response:
        assert response.status == 200


async def test_an_accept_field_that_cannot_be_read_gets_the_usual_form(
    watched: tuple[Watched, ClientSession],
) -> None:
    _, http = watched
    asked = "application/openmetrics-text; version="
    for accept, form in ((f"{asked}1e309", "text/plain"), (f"{asked}1.0.0", "application/openmetrics-text")):
        async with http.get("/metrics", headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (200, form)
