"""A domain's own name in tracked links: from when it answers with a good certificate until it does not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.storage import make_config

HOST = "track-sl.example.test"


@asynccontextmanager
async def answering(relay: Enrolling | None, ca: trustme.CA, name: str, port: int = 0) -> AsyncIterator[int]:
    """A TLS server for `name` on loopback that serves the relay's tracking routes, or nothing. Gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    app = web.Application()
    if relay is not None:
        app.add_routes(relay.world.tracking.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_the_name_is_used_while_it_answers_and_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with answering(None, ca, HOST) as port:
        config = make_config(
            tmp_path, tracking={"check_port": port}, delivery={"allow_private_networks": True},
            dns={"tracking_host": "edge.other.test"},
        )
        async with enrolling(config) as relay:
            alice = await relay.member()
            relay.zone("edge.other.test").add("edge.other.test", "A", "127.0.0.1")
            # Somebody's server with a good certificate for the name, but not this relay's.
            domain = await relay.verified(alice, "example.test", tracking=True)
            assert (domain.tracking_ok, domain.state) == (False, "verified")
            assert relay.world.directory.is_tracking_host(HOST)  # a proxy may fetch a certificate by now
            assert domain.next_check_at is not None
            assert domain.next_check_at - relay.clock.now() <= config.enrollment.recheck_pending_seconds
    async with enrolling(config) as relay:
        relay.zone("edge.other.test").add("edge.other.test", "A", "127.0.0.1")
        relay.publish(domain)

        def used() -> str:
            found = relay.world.directory.domain_of_member(alice.id, "example.test")
            assert found is not None
            return found.tracking_host

        async with answering(relay, ca, "other.example.test", port):
            assert not (await relay.look(domain)).tracking_ok
        async with answering(relay, ca, HOST, port):
            domain = await relay.look(domain)
            assert (domain.tracking_ok, used()) == (True, HOST)
        domain = await relay.look(domain)
        assert (domain.tracking_ok, domain.state, used()) == (False, "verified", "")
        async with answering(relay, ca, HOST, port):
            assert (await relay.look(domain)).tracking_ok
            relay.unpublish(domain, only=["tracking"])
            domain = await relay.look(domain)
            assert (domain.tracking_ok, domain.state, domain.notes.awaits) == (False, "verified", ("tracking",))
            assert not relay.world.directory.is_tracking_host(HOST)


async def test_a_private_address_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with answering(None, ca, HOST) as port:
        pass
    config = make_config(tmp_path, tracking={"check_port": port}, dns={"tracking_host": "edge.other.test"})
    async with enrolling(config) as relay, answering(relay, ca, HOST, port):
        alice = await relay.member()
        relay.zone("edge.other.test").add("edge.other.test", "A", "127.0.0.1")
        assert not (await relay.verified(alice, "example.test", tracking=True)).tracking_ok
