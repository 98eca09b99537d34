"""The sandbox answers as the address says, tried with our own client over real sockets."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from relay.base.clock import Clock
from relay.delivery.client import Connection, Limits, Target, Transaction
from relay.delivery.tls_policy import OPPORTUNISTIC, Contexts, TlsClient, TlsLevel, TlsPolicy
from relay.outcome import Outcome
from relay.sandbox import Received, Sandbox, SandboxSettings, Scenario, Store, scenario

BODY = b"From: a@a.test\r\nSubject: x\r\n\r\n.dots\r\n..\r\nend\r\n"


class Hands(Clock):
    """A clock whose hands the test moves."""

    at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Place:
    """A sandbox, its store, and a way to send there."""

    def __init__(self, **options: Any) -> None:
        self.store, self.clock = Store(), Hands()
        settings = SandboxSettings(**options.pop("settings", {}))
        self.sandbox = Sandbox(self.store.keep, clock=self.clock, settings=settings, **options)
        self.port = 0

    async def send(
        self, *to: str, sender: str = "b-1@a.test", body: bytes = BODY, policy: TlsPolicy = OPPORTUNISTIC
    ) -> list[Outcome]:
        connection = await Connection.open(
            Target("mx.test", "127.0.0.1", self.port, "relay.test", policy=policy),
            TlsClient(CONTEXTS, monotonic=time.monotonic), Limits(quit_seconds=0.5),
        )
        if isinstance(connection, Outcome):
            return [connection] * len(to)
        try:
            return [await connection.deliver(Transaction(sender, one, (body,))) for one in to]
        finally:
            await connection.close()


CONTEXTS = Contexts()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    place.port = await place.sandbox.start()
    yield place
    await place.sandbox.close()


@pytest.fixture
async def with_tls() -> AsyncIterator[Place]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.test").configure_cert(context)
    place = Place(tls=context)
    place.port = await place.sandbox.start()
    yield place
    await place.sandbox.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ok@s.test", Scenario("ok")),
        ("anybody@s.test", Scenario("ok")),
        ("bounce+5.1.1@s.test", Scenario("bounce", "5.1.1")),
        ("BOUNCE@s.test", Scenario("bounce", "5.1.1")),
        ("bounce+nonsense@s.test", Scenario("ok")),
        ("bounce+2.0.0@s.test", Scenario("ok")),
        ("defer+3@s.test", Scenario("defer", count=3)),
        ("defer@s.test", Scenario("defer", count=1)),
        ("defer+999@s.test", Scenario("defer", count=100)),
        ("greylist+90s@s.test", Scenario("greylist", seconds=90.0)),
        ("greylist+2m@s.test", Scenario("greylist", seconds=120.0)),
        ("slow+5s@s.test", Scenario("slow", seconds=5.0)),
        ("slow+99999h@s.test", Scenario("slow", seconds=86400.0)),
        ("tlsfail@s.test", Scenario("tlsfail")),
        ("complain@s.test", Scenario("complain")),
        ("complain.2@s.test", Scenario("complain")),
        ("bounce.a.b+5.2.2@s.test", Scenario("bounce", "5.2.2")),
        ("late-bounce@s.test", Scenario("late-bounce", "5.1.1")),
        ("late-bounce+4.2.2@s.test", Scenario("late-bounce", "4.2.2")),
        ("delayed+5.1.1@s.test", Scenario("ok")),
        ("unsubscribe-mailto+x@s.test", Scenario("unsubscribe-mailto")),
    ],
)
def test_addresses_say_what_they_want(address: str, expected: Scenario) -> None:
    assert scenario(address) == expected


async def test_everything_is_taken_and_kept_as_sent(place: Place) -> None:
    outcomes = await place.send("ok@s.test", "complain@anywhere.test", "someone@else.test")
    assert {outcome.kind for outcome in outcomes} == {"delivered"}
    assert [kept for _, kept in reversed(place.store.newest())] == [
        Received("b-1@a.test", (to,), BODY, "127.0.0.1", "relay.test", None, 1000.0)
        for to in ("ok@s.test", "complain@anywhere.test", "someone@else.test")
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b".", b".\r\n", b"\r\n", b".\r\n.\r\n", b"x" * 20_000 + b"\r\n", (b"y" * 996 + b"\r\n") * 300],
    ids=len,
)
async def test_any_content_comes_through(place: Place, body: bytes) -> None:
    assert (await place.send("ok@s.test", body=body))[0].kind == "delivered"
    assert place.store.newest()[0][1].raw == (body if not body or body.endswith(b"\r\n") else body + b"\r\n")


async def test_bounces_with_the_status_asked_for(place: Place) -> None:
    outcomes = await place.send("bounce+5.1.1@s.test", "bounce+5.2.2@s.test", "bounce+4.2.2@s.test", "ok@s.test")
    assert [(o.kind, o.code, o.enhanced) for o in outcomes] == [
        ("never", 550, "5.1.1"), ("never", 552, "5.2.2"), ("later", 451, "4.2.2"), ("delivered", 250, "2.0.0"),
    ]


async def test_defers_as_often_as_asked_then_takes(place: Place) -> None:
    found = [(await place.send("defer+3@s.test"))[0].kind for _ in range(5)]
    assert found == ["later", "later", "later", "delivered", "later"]  # the fifth is a new message
    assert (await place.send("defer+3@s.test", sender="b-2@a.test"))[0].kind == "later"


async def test_greylists_until_the_time_is_up(place: Place) -> None:
    [first] = await place.send("greylist+90s@s.test")
    assert (first.kind, first.code) == ("later", 450)
    place.clock.at += 89
    assert (await place.send("greylist+90s@s.test"))[0].kind == "later"
    place.clock.at += 1
    assert (await place.send("greylist+90s@s.test"))[0].kind == "delivered"


async def test_slow_recipients_are_slow_but_bounded(place: Place) -> None:
    begun = time.monotonic()
    assert (await place.send("slow+0s@s.test"))[0].kind == "delivered"
    place.sandbox.settings = SandboxSettings(max_slow_seconds=0.2)
    task = asyncio.create_task(place.send("slow+9h@s.test"))
    assert (await task)[0].kind == "delivered"
    assert time.monotonic() - begun >= 0.2


async def test_tls_is_offered_and_recorded(with_tls: Place) -> None:
    [outcome] = await with_tls.send("ok@s.test")
    assert (outcome.tls, outcome.tls_verified) == ("TLSv1.3", False)
    assert with_tls.store.newest()[0][1].tls == "TLSv1.3"


async def test_tlsfail_breaks_the_next_handshake(with_tls: Place) -> None:
    [outcome] = await with_tls.send("tlsfail@s.test")
    assert (outcome.kind, outcome.enhanced) == ("later", "4.7.5")
    # Who insists on TLS never gets through; who does not falls back, and the host is well again.
    [outcome] = await with_tls.send("tlsfail@s.test", policy=TlsPolicy(TlsLevel.REQUIRED))
    assert (outcome.kind, outcome.stage) == ("later", "starttls")
    [outcome] = await with_tls.send("tlsfail@s.test")
    assert (outcome.kind, outcome.tls) == ("delivered", None)
    [outcome] = await with_tls.send("ok@s.test")
    assert (outcome.kind, outcome.tls) == ("delivered", "TLSv1.3")


async def test_broken_tls_mends_itself(with_tls: Place) -> None:
    await with_tls.send("tlsfail@s.test")
    with_tls.clock.at += 1000
    assert (await with_tls.send("ok@s.test"))[0].tls == "TLSv1.3"


async def raw(place: Place, *sent: bytes) -> bytes:
    """Send bytes as they are; everything that comes back until the server closes or QUIT is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    for data in sent:
        writer.write(data)
    async with asyncio.timeout(5):
        got = await reader.read(-1)
    writer.close()
    return got


async def test_a_message_too_large_is_refused_and_not_kept() -> None:
    place = Place(settings={"max_message_bytes": 1000})
    place.port = await place.sandbox.start()
    # The client knows the announced SIZE (RFC 1870), and another one that doesn't look at it is refused too.
    [outcome] = await place.send("ok@s.test", body=b"x" * 2000 + b"\r\n")
    assert outcome.kind == "never"
    got = await raw(
        place, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n", b"y" * 5000 + b"\r\n.\r\nQUIT\r\n"
    )
    assert b"\r\n552 " in got
    assert len(place.store) == 0
    await place.sandbox.close()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"MAIL FROM:<a@b.c>\r\nQUIT\r\n", b"503"),
        (b"EHLO x\r\nRCPT TO:<a@b.c>\r\nQUIT\r\n", b"503"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\nQUIT\r\n", b"503"),
        (b"GET / HTTP/1.1\r\nQUIT\r\n", b"500"),
        (b"STARTTLS\r\nQUIT\r\n", b"454"),
        (b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n", b"\r\n5"),
    ],
)
async def test_nonsense_is_refused(place: Place, sent: bytes, said: bytes) -> None:
    assert said in await raw(place, sent)


async def test_what_was_sent_before_the_handshake_counts_for_nothing(with_tls: Place) -> None:
    # RFC 3207 §4.2: a command that was slipped in between STARTTLS and the handshake is dropped.
    reader, writer = await asyncio.open_connection("127.0.0.1", with_tls.port)
    async with asyncio.timeout(10):
        await reader.readline()
        writer.write(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
        while not (await reader.readline()).startswith(b"220"):
            pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await writer.start_tls(context)
        writer.write(b"EHLO x\r\nRCPT TO:<a@b.c>\r\nQUIT\r\n")
        got = await reader.read(-1)
    writer.close()
    assert b"503" in got
    assert b"250 2.1." not in got


async def test_idle_clients_and_crowds_are_sent_away() -> None:
    place = Place(settings={"idle_seconds": 0.05, "max_connections": 1})
    place.port = await place.sandbox.start()
    assert (await raw(place)).startswith(b"220 ")  # and then the end
    await place.sandbox.close()
    place = Place(settings={"max_connections": 1})
    place.port = await place.sandbox.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    await reader.readline()
    assert (await raw(place)).startswith(b"421 4.7.0")
    writer.close()
    await place.sandbox.close()


async def test_a_keeper_that_fails_says_nothing_of_why() -> None:
    def broken(received: Received) -> None:
        raise RuntimeError("secret")

    sandbox = Sandbox(broken, clock=Hands())
    place = Place()
    place.port = await sandbox.start()
    [outcome] = await place.send("ok@s.test")
    assert (outcome.kind, outcome.code) == ("later", 451)
    assert "secret" not in outcome.text
    await sandbox.close()


def test_the_shelf_holds_the_last_ones() -> None:
    store = Store(messages=3, octets=100)
    for i in range(5):
        store.keep(Received(f"{i}@a.test", (), b"x" * 10, "", "", None, 0.0))
    assert [(n, r.mail_from) for n, r in store.newest()] == [(5, "4@a.test"), (4, "3@a.test"), (3, "2@a.test")]
    store.keep(Received("big@a.test", (), b"x" * 95, "", "", None, 0.0))
    assert [r.mail_from for _, r in store.newest()] == ["big@a.test"]
    store.keep(Received("huge@a.test", (), b"x" * 101, "", "", None, 0.0))
    assert len(store) == 1
    assert store.find(6) is not None
    assert store.find(1) is None


async def test_deferrals_remembered_are_bounded() -> None:
    place = Place(settings={"remembered": 10})
    for i in range(50):
        place.sandbox.memory.answer(scenario("defer+3@s.test"), f"{i}@a.test", "defer+3@s.test")
    assert len(place.sandbox.memory) == 10
