"""Mail exchangers that misbehave at every step, through the whole relay: temporary unless they said 5xx, bounded in
time and memory, and nobody else's mail waits for them."""

from __future__ import annotations

import asyncio
import resource
import ssl
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme
from sqlalchemy import select

from relay.base.config import Config
from relay.base.events import DEFERRED
from relay.base.storage.tables import events, recipients
from tests.kit.line import line, states
from tests.kit.sink import DROP, SILENCE, Endless, Rule, Sink, Slow


@dataclass(frozen=True)
class Case:
    """One exchanger: what it does at which stage, and what becomes of its mail."""

    name: str
    rules: dict[str, tuple[Rule, ...]]
    state: str = "deferred"
    more: dict[str, Any] = field(default_factory=dict)


STAGES = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT")
CASES = [
    *(Case(f"4xx {s}", {s: ("451 4.3.0 later",)}) for s in STAGES if s != "EHLO"),
    *(Case(f"421 {s}", {s: ("421 4.3.2 going away",)}) for s in STAGES),
    *(Case(f"drop {s}", {s: (DROP,)}) for s in STAGES),
    *(Case(f"silent {s}", {s: (SILENCE,)}) for s in STAGES),
    *(Case(f"unknown code {s}", {s: ("799 9.9.9 hm",)}) for s in STAGES),
    *(Case(f"not a reply {s}", {s: (b"hello there\r\n",)}) for s in STAGES),
    *(Case(f"no end of line {s}", {s: (b"250",)}) for s in STAGES),
    *(Case(f"endless line {s}", {s: (Endless(b"250-" + b"x" * 4096),)}) for s in STAGES),
    *(Case(f"endless lines {s}", {s: (Endless(b"250-again\r\n"),)}) for s in STAGES),
    *(Case(f"a byte at a time {s}", {s: (Slow(b"250 ok" + b"." * 100 + b"\r\n", 0.3),)}) for s in STAGES),
    *(Case(f"5xx {s}", {s: ("550 5.7.1 no",)}, "bounced") for s in ("MAIL", "RCPT", "DATA", "DOT")),
    Case("2xx to DATA", {"DATA": ("250 2.0.0 ok",)}),
    Case("354 to the dot", {"DOT": ("354 more",)}),
    Case("mailbox full", {"RCPT": ("552 5.2.2 full",)}, "bounced"),
    Case("NUL and high octets", {"DOT": (b"250 \x00\xff\xfe\x1b[2J\r\n",)}, "sent"),
    Case("many lines", {"DOT": (b"250-one\r\n" * 20 + b"250 end\r\n",)}, "sent"),
    Case("two codes in one reply", {"DOT": (b"250-one\r\n550 two\r\n",)}),
]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_bad_hosts_defer_their_own_mail_and_nobody_elses(config: Config) -> None:
    sinks = []
    for case in CASES:
        sink = Sink()
        for stage, rules in case.rules.items():
            sink.on(stage, *rules)
        sinks.append(sink)
    limits = {"command_timeout_seconds": 1.0, "connect_timeout_seconds": 1.0, "conversation_seconds": 2.0}
    async with line(config, sinks=sinks, **limits) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i, _ in enumerate(CASES):
            await way.world.submit(alice, f"a@bad{i}.test")
        for i in range(10):
            await way.world.submit(alice, f"good{i}@sink.test")
        await way.sink.wait_for(10)
        # While the slowest of the bad ones are still talking.
        assert any(sink.open_now for sink in sinks)
        loop = asyncio.get_running_loop()
        since = loop.time()
        await asyncio.gather(way.settle(len(CASES) + 10))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        found = await states(way.world)
        wrong = {
            case.name: found[f"a@bad{i}.test"] for i, case in enumerate(CASES) if found[f"a@bad{i}.test"] != case.state
        }
        assert not wrong
        assert all(found[f"good{i}@sink.test"] == "sent" for i in range(10))
        # Bounds: some conversations long, and no reply kept whole.
        assert loop.time() - since < 30
        assert grown < 64 * 1024  # KiB, both sides of every conversation together
        for i, (case, sink) in enumerate(zip(CASES, sinks, strict=True)):
            if case.state == "bounced":
                assert not any(t.raw for t in sink.messages), (i, case.name)


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_bad_tls_at_any_step_is_not_worse_than_none(config: Config) -> None:
    """Opportunistic: a host whose TLS is broken gets its mail in the clear or later, never a bounce."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.example").configure_cert(context)
    sinks = [
        Sink(tls=context),  # another name's certificate, an unknown authority
        Sink(tls=context, broken_tls=b"\x16\x03\x01\x00\x05hello"),
        Sink(tls=context, broken_tls=b""),
        Sink(tls=context, broken_tls=b"\x15\x03\x03\x00\x02\x02\x28"),  # RFC 8446 §6.2: handshake_failure
        Sink(tls=context, broken_tls=b"550 5.7.0 no\r\n"),
    ]
    for answer in ("454 4.7.0 not now", "554 5.7.3 no", DROP, b"220 go\r\n250 injected\r\n"):
        sinks.append(Sink(tls=context))
        sinks[-1].on("STARTTLS", answer)
    limits = {"command_timeout_seconds": 1.0, "connect_timeout_seconds": 1.0, "conversation_seconds": 4.0}
    async with line(config, sinks=sinks, **limits) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i in range(len(sinks)):
            await way.world.submit(alice, f"a@bad{i}.test")
        await way.settle(len(sinks))
        found = await states(way.world)
        assert found["a@bad0.test"] == "sent"
        assert sinks[0].messages[0].tls
        assert set(found.values()) <= {"sent", "deferred"}, found
        assert not sinks[-1].messages or not sinks[-1].messages[0].tls


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_what_our_missing_tls_provoked_is_tried_again_and_is_our_own_fault(config: Config) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.bad0.test").configure_cert(context)
    sinks = [Sink(tls=context, broken_tls=b"\x15\x03\x03\x00\x02\x02\x28") for _ in range(2)]
    sinks[0].on("MAIL", "530 5.7.0 Must issue a STARTTLS command first")
    sinks[1].on("RCPT", "550 5.1.1 No such user, says who insists on TLS")
    async with line(config, sinks=sinks) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i in range(2):
            await way.world.submit(alice, f"a@bad{i}.test")
        assert await way.settle(2) == ["deferred", "deferred"]
        async with way.world.storage.read() as tx:
            shown = [e.data for e in await tx.execute(select(events.c.data).where(events.c.type == DEFERRED))]
    # By these an incident of the relay's own is opened, and no member judged.
    assert [(t["class"], t["ownFault"], t["reply"][:3]) for t in sorted(shown, key=lambda t: str(t["recipient"]))] == [
        ("tls", True, "530"), ("tls", True, "550")
    ]  # fmt: skip


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_host_that_may_have_the_message_is_left_alone_for_hours(config: Config) -> None:
    sinks = [Sink() for _ in range(4)]
    for sink, answer in zip(sinks, (DROP, b"250 ok\r\n250 ok\r\n", "451 4.3.0 no room", "250 ok"), strict=True):
        sink.on("DOT", answer)
    sinks[3].on("DATA", DROP)
    async with line(config, sinks=sinks, jitter=0) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i in range(4):
            await way.world.submit(alice, f"a@bad{i}.test")
        assert set(await way.settle(4)) == {"deferred"}
        async with way.world.storage.read() as tx:
            rows = await tx.execute(select(recipients.c.next_at).order_by(recipients.c.address))
            waits = [r.next_at - way.world.clock.now() for r in rows]
    assert [round(w / 60) for w in waits] == [120, 120, 5, 1]
