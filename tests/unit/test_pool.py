"""Connections are kept, bounded and replaced; a route is walked to its end."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trustme

from relay.delivery.client import Connection, Limits, Transaction
from relay.delivery.pool import Pool, PoolSettings, Session
from relay.delivery.route import Host, Route
from relay.delivery.tls_policy import OPPORTUNISTIC, Contexts, TlsLevel, TlsPolicy
from relay.outcome import Outcome
from tests.kit.sink import DROP, Sink

BODY = (b"From: a@a.test\r\n\r\nhello\r\n",)
LIMITS = Limits(command_seconds=0.5, dot_seconds=0.5, greeting_seconds=0.5, quit_seconds=0.2)


CONTEXTS = Contexts()


class Pools:
    """Makes pools and closes them."""

    def __init__(self) -> None:
        self._made: list[Pool] = []

    def __call__(self, **settings: Any) -> Pool:
        chosen = PoolSettings(**({"helo": "relay.test"} | settings))
        self._made.append(Pool(chosen, CONTEXTS, monotonic=time.monotonic, limits=LIMITS))
        return self._made[-1]

    async def close(self) -> None:
        for pool in self._made:
            await pool.close()
            assert pool.open == 0


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    pools = Pools()
    yield pools
    await pools.close()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as sink:
        yield sink


CLEAR = TlsPolicy(TlsLevel.NONE)


def to(*sinks: Sink, policy: TlsPolicy = CLEAR) -> Route:
    hosts = (Host(f"mx{i}.test", (s.host,), s.port, i, policy) for i, s in enumerate(sinks))
    return Route("b.test", tuple(hosts))


async def send(pool: Pool, route: Route, recipient: str = "x@b.test", **more: Any) -> Outcome:
    return await pool.deliver(route, Transaction("a@a.test", recipient, BODY, **more))


async def take(pool: Pool, sink: Sink) -> Connection:
    connection = await pool.take(to(sink).hosts[0], sink.host)
    assert isinstance(connection, Connection)
    return connection


async def test_one_connection_for_many_messages(sink: Sink, pools: Pools) -> None:
    pool = pools()
    for _ in range(5):
        assert (await send(pool, to(sink))).kind == "delivered"
    assert (sink.connections, pool.idle, pool.open) == (1, 1, 1)


async def test_a_connection_is_not_used_for_ever(sink: Sink, pools: Pools) -> None:
    pool = pools(messages_a_connection=2)
    for _ in range(5):
        await send(pool, to(sink))
    assert sink.connections == 3


async def test_idle_connections_are_closed(sink: Sink, pools: Pools) -> None:
    pool = pools(idle_seconds=0.05)
    await send(pool, to(sink))
    await sink.wait_closed()
    assert (pool.idle, sink.verbs()[-1]) == (0, "QUIT")


async def test_a_handshake_that_failed_once_is_tried_again_for_the_next_message(sink: Sink, pools: Pools) -> None:
    """What went in plaintext because TLS failed leaves no open plaintext connection for other mail."""
    pool, route = pools(), to(sink, policy=OPPORTUNISTIC)
    sink.tls, sink.broken_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), b"this is no ServerHello"
    trustme.CA().issue_cert("mx0.test").configure_cert(sink.tls)
    outcome = await send(pool, route)
    assert (outcome.kind, outcome.tls, pool.idle) == ("delivered", None, 0)
    sink.broken_tls = None
    outcome = await send(pool, route)
    assert outcome.kind == "delivered"
    assert outcome.tls
    assert pool.idle == 1


async def test_a_connection_serves_one_policy_only(sink: Sink, pools: Pools) -> None:
    """What was opened in the clear never carries mail for which TLS is required, and the outcome names the policy."""
    pool = pools()
    assert (await send(pool, to(sink))).policy == "none"
    outcome = await send(pool, to(sink, policy=TlsPolicy(TlsLevel.REQUIRED)))
    assert (outcome.kind, outcome.enhanced, outcome.policy) == ("later", "4.7.10", "required")
    assert (len(sink.messages), sink.connections) == (1, 2)


async def test_idle_connections_are_few(pools: Pools) -> None:
    async with Sink() as one, Sink() as two:
        pool = pools(max_idle=1)
        await send(pool, to(one))
        await send(pool, to(two))
        await one.wait_closed()
        assert pool.idle == 1


@pytest.mark.parametrize("shown", [True, False], ids=["421", "silently"])
async def test_a_connection_that_died_costs_no_deferral(sink: Sink, pools: Pools, shown: bool) -> None:
    pool = pools()
    if shown:
        sink.on("DOT", b"250 2.0.0 ok\r\n421 4.4.2 too long idle\r\n", "250 2.0.0 ok")
    else:
        sink.on("MAIL", "250 2.1.0 ok", DROP, "250 2.1.0 ok")
    for _ in range(2):
        assert (await send(pool, to(sink))).kind == "delivered"
    assert sink.connections == 2


async def test_what_a_host_says_is_not_said_to_it_again_on_a_new_connection(sink: Sink, pools: Pools) -> None:
    pool = pools()
    assert (await send(pool, to(sink))).kind == "delivered"
    sink.on("MAIL", "421 4.7.28 an unusual rate of mail")
    assert (await send(pool, to(sink))).text == "421 4.7.28 an unusual rate of mail"
    assert sink.connections == 1


async def test_no_more_connections_than_allowed(sink: Sink, pools: Pools) -> None:
    pool = pools(connections_an_address=3)
    found = await asyncio.gather(*(send(pool, to(sink), f"{i}@b.test") for i in range(30)))
    assert {outcome.kind for outcome in found} == {"delivered"}
    assert len(sink.messages) == 30
    assert sink.connections <= 3


async def test_waiting_for_a_connection_ends(sink: Sink, pools: Pools) -> None:
    pool = pools(connections_an_address=1, busy_seconds=0.05)
    held = await take(pool, sink)
    outcome = await send(pool, to(sink))
    assert (outcome.kind, outcome.scope, outcome.enhanced) == ("later", "host", "4.4.5")
    pool.give(held)
    assert (await send(pool, to(sink))).kind == "delivered"


async def test_a_cancelled_wait_takes_nobodys_place(sink: Sink, pools: Pools) -> None:
    pool = pools(connections_an_address=1)
    held = await take(pool, sink)
    first, second = (asyncio.create_task(send(pool, to(sink))) for _ in range(2))
    await asyncio.sleep(0)
    pool.give(held)
    first.cancel()
    async with asyncio.timeout(2):
        assert (await second).kind == "delivered"
    await asyncio.gather(first, return_exceptions=True)


async def test_the_next_exchanger_takes_over(pools: Pools) -> None:
    async with Sink() as gone:
        pass
    async with Sink() as closing, Sink() as well:
        closing.on("MAIL", "421 4.3.2 closing")
        outcome = await send(pools(), to(gone, closing, well))
        assert (outcome.kind, outcome.host) == ("delivered", "mx2.test")


async def test_what_the_next_exchanger_is_told_is_the_same(pools: Pools) -> None:
    async with Sink() as first, Sink() as second:
        first.on("RCPT", "421 4.3.2 closing")
        outcome = await send(pools(), to(first, second), "y@b.test", notify="SUCCESS")
        assert (outcome.kind, outcome.host) == ("delivered", "mx1.test")
        assert second.messages[0].rcpts == [b"RCPT TO:<y@b.test> NOTIFY=SUCCESS"]


async def test_refusals_and_lost_answers_stay_with_their_host(pools: Pools) -> None:
    for stage, answer, kind in (("RCPT", "550 5.1.1 nobody", "never"), ("DOT", DROP, "later")):
        async with Sink() as first, Sink() as second:
            first.on(stage, answer)
            outcome = await send(pools(), to(first, second))
            assert (outcome.kind, outcome.host) == (kind, "mx0.test")
            assert second.connections == 0


async def test_the_words_of_a_host_are_shown_rather_than_silence(pools: Pools) -> None:
    async with Sink() as gone:
        pass
    async with Sink() as closing:
        closing.on("CONNECT", "554 5.7.1 blocked, see https://mx.test/why")
        outcome = await send(pools(), to(closing, gone))
        assert outcome.text == "554 5.7.1 blocked, see https://mx.test/why"
        assert outcome.kind == "later"


async def test_a_connection_closed_by_its_user_frees_its_place(sink: Sink, pools: Pools) -> None:
    pool = pools(connections_an_address=1)
    held = await take(pool, sink)
    held.leave()
    assert (await send(pool, to(sink))).kind == "delivered"
    pool.give(held)
    assert pool.idle == 1


async def test_other_mail_to_the_same_address_gets_a_place(sink: Sink, pools: Pools) -> None:
    pool = pools(connections_an_address=1)
    assert (await send(pool, to(sink))).kind == "delivered"
    other = Route("c.test", (Host("other.test", (sink.host,), sink.port),))
    assert (await send(pool, other)).host == "other.test"
    assert sink.connections == 2


async def test_source_address_of_the_same_family(sink: Sink, pools: Pools) -> None:
    pool = pools(source_addresses=("::1", "127.0.0.1"))
    assert (await send(pool, to(sink))).kind == "delivered"


async def test_a_host_that_may_not_be_used_is_one_try_and_the_next_takes_the_mail(sink: Sink) -> None:
    blocked = TlsPolicy(TlsLevel.VERIFIED, "mta-sts", blocked="its policy does not name it", noted="validation-failure")
    hosts = (
        Host("bad.test", ("127.0.0.9", "127.0.0.8"), sink.port, 0, blocked),
        Host("mx.test", (sink.host,), sink.port, 1, OPPORTUNISTIC),
    )
    sessions: list[Session] = []
    mail = Transaction("a@a.test", "b@b.test", BODY)
    pool = Pool(
        PoolSettings(helo="relay.test"), CONTEXTS, monotonic=time.monotonic, limits=LIMITS, on_session=sessions.append
    )
    try:
        found = await pool.deliver(Route("b.test", hosts, "b.test"), mail)
        assert found is not None
        assert (found.kind, found.policy) == ("delivered", "opportunistic")
        assert [(one.host, one.result) for one in sessions] == [
            ("bad.test", "validation-failure"), ("mx.test", "starttls-not-supported"),
        ]
        # With the sender's word that TLS doesn't matter, it is a host like any other; nobody counts that.
        route = Route("b.test", (replace(hosts[0], ips=(sink.host,)),), "b.test").for_tls(False)
        found = await pool.deliver(route, mail)
        assert found is not None
        assert (found.kind, found.policy, len(sessions)) == ("delivered", "tls-required-no", 2)
        mail.require_tls = True
        found = await pool.deliver(route.for_tls(True), mail)
        assert found is not None
        assert (found.kind, found.enhanced, found.policy, len(sessions)) == ("never", "5.7.30", "requiretls", 2)
    finally:
        await pool.close()
