"""An upgrade tried on a copy: what of the newest day would not be taken now, and nothing is changed by asking."""

from __future__ import annotations

from sqlalchemy import func, select

from posthouse.upgrading import check
from relay.base.storage import migrate
from relay.base.storage.migrate import REVISION
from relay.base.storage.tables import events, messages
from relay.intake import Accepted
from tests.kit.world import World


async def test_the_last_days_submissions_are_decided_again_on_a_copy(world: World) -> None:
    alice, bob = await world.member(), await world.member("bob")
    await world.domain(alice)
    other = await world.domain(bob, "other.test")
    assert isinstance(await world.submit(alice, "u@sink.test", "v@sink.test"), Accepted)
    assert isinstance(await world.submit(bob, "u@sink.test", sender="news@other.test"), Accepted)
    trial = await check(world.config, world.clock)
    assert (trial.schema, trial.wanted, trial.decided, trial.differ) == (REVISION, REVISION, 2, 0)

    await world.change("domains", other, state="disabled")
    trial = await check(world.config, world.clock)
    assert (trial.decided, trial.differ) == (2, 1)
    (difference,) = trial.differences
    assert (difference.sender, difference.rule) == ("news@other.test", "domain_rests")
    assert "other.test" in difference.says
    # Asked of a copy: nothing was written, and the database is as it was.
    async with world.storage.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(messages)) == 2
        assert await tx.scalar(select(func.count()).select_from(events).where(events.c.type == "rejected")) == 0
    assert await migrate(world.config) is False

    await world.pass_time(2 * 86_400)
    assert (await check(world.config, world.clock)).decided == 0
