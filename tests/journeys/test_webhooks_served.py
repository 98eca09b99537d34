"""The role webhooks in a running process: events leave by themselves, and an alarm becomes a mail to the owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from enroll.accounts import Member
from posthouse.serve import Node
from relay.base.events import SENT, Event
from relay.base.storage import events
from relay.base.storage.tables import bodies, recipients
from tests.kit.hooks import Receiver, receiver
from tests.kit.storage import make_config


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    config = make_config(
        tmp_path, roles=["webhooks"], server={"hostname": "relay.test", "shutdown_seconds": 5},
        webhooks={"allow_private_networks": True, "poll_seconds": 0.02},
    )
    made = await Node.start(config)
    yield made
    await made.stop()


async def alice(node: Node) -> Member:
    return await node.core.enroll.accounts.create("alice", "alice@mail.test", None, by_operator=True)


async def happen(node: Node, member: Member) -> None:
    event = Event(SENT, member.id, node.clock.now())
    await node.core.storage.write(lambda tx: events.append(tx, [event]))


async def test_events_leave_by_themselves(node: Node, there: Receiver) -> None:
    member = await alice(node)
    secret, _ = await node.core.enroll.webhooks.add(member.id, there.url)
    await happen(node, member)
    await asyncio.wait_for(there.arrived.wait(), 10)
    assert there.came[0].verified(secret)["type"] == SENT
    assert node.tasks.troubles()["webhooks"] == ""


async def test_an_endpoint_that_is_gone_is_disabled_and_its_owner_gets_a_mail(node: Node, there: Receiver) -> None:
    there.answers = [410]
    member = await alice(node)
    _, made = await node.core.enroll.webhooks.add(member.id, there.url)
    await happen(node, member)
    async with asyncio.timeout(10):
        while (await node.core.enroll.webhooks.get(member.id, made.id)).state != "disabled":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with node.core.storage.read() as tx:
        (row,) = await tx.execute(
            select(bodies.c.body, recipients.c.address)
            .join(recipients, recipients.c.message_id == bodies.c.message_id)
        )
    assert row.address == "alice@mail.test"
    assert b"Subject: Your webhook has been disabled" in row.body
    assert there.url.encode() in row.body
    assert b"410" in row.body
