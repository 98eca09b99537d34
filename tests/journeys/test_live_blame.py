"""What a host says in the conversation is judged as what a report says later: by its words, and at which command."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from relay.base.config import Config
from relay.base.events import BOUNCED
from relay.base.storage.tables import events, suppressions
from relay.bounces.parse import Fate
from relay.bounces.record import judge
from tests.kit.line import line
from tests.kit.sink import Sink

# Stage and reply → class, and whether the address goes on the member's list.
SAID = [
    ("RCPT", "550 5.1.1 user unknown", "mailbox_unknown", True),
    ("DOT", "550 5.1.1 no such mailbox", "mailbox_unknown", True),
    ("RCPT", "550 Recipient address rejected: User unknown in local recipient table", "mailbox_unknown", True),
    ("MAIL", "550 5.1.1 user unknown", "sender", False),
    ("MAIL", "553 member.example does not exist", "sender", False),
    ("RCPT", "553 5.1.0 member.example does not exist", "sender", False),
    ("RCPT", "501 5.0.0 Invalid domain name", "unknown", False),
    ("RCPT", "550 <bob@far.example>: Recipient address rejected: Come back in 5 minutes", "unknown", False),
    ("RCPT", "550 5.1.1 Message refused by recipient's settings", "policy", False),
    ("RCPT", "550 The group does not exist or you may not have permission to post", "policy", False),
    ("DATA", "554 5.7.1 upstream said: 550 5.7.1 Message refused as spam", "content", False),
]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_reply_is_judged_by_its_stage_and_its_innermost_words(config: Config) -> None:
    sinks = [Sink() for _ in SAID]
    for sink, (stage, said, _, _) in zip(sinks, SAID, strict=True):
        sink.on(stage, said)
    async with line(config, sinks=sinks) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i, _ in enumerate(SAID):
            await way.world.submit(alice, f"a{i}@bad{i}.test")
        await asyncio.gather(way.settle(len(SAID)))
        async with way.world.storage.read() as tx:
            shown = {e.data["recipient"]: e.data for e in await tx.execute(
                select(events.c.data).where(events.c.type == BOUNCED))}  # fmt: skip
            listed = {r[0] for r in await tx.execute(select(suppressions.c.original))}
    for i, (stage, said, class_, gone) in enumerate(SAID):
        address = f"a{i}@bad{i}.test"
        assert (shown[address]["class"], address in listed) == (class_, gone), said
        # A report that says the same says the same.
        _, why = judge(Fate("failed", "", said, address, stage=stage.lower()), address)
        assert (why.class_, why.address_fault) == (class_, gone), said
