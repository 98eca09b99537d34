"""Where two things meet in a domain's life: the operator's hand, the clock's look, the owner's button."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from enroll.api.octeth.responses import dns_table
from enroll.domains.checking import hosts_of, look
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.storage import Storage, Tx
from relay.base.storage import domains as rows
from tests.kit.enrolling import Enrolling, enrolling


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    async with enrolling(sqlite_config) as made:
        yield made


async def test_a_domain_suspended_before_its_keys_were_made_gets_them_when_it_is_released(relay: Enrolling) -> None:
    alice = await relay.member()
    begun = await relay.domains.commit(lambda tx: relay.domains.begin(tx, alice.id, "example.test", {}))
    assert begun is not None
    await relay.operator.suspend("example.test", "a look at it first")
    domain = await relay.domains.get(alice.id, begun)
    assert (domain.state, domain.keys) == ("suspended", [])
    relay.publish(domain, only=["ownership"])
    domain = await relay.operator.release("example.test")
    assert (domain.state, [k.state for k in domain.keys]) == ("pending", ["pending"])
    relay.publish(domain, without=["ownership"])
    domain = await relay.look(domain)
    assert (domain.state, [k.state for k in domain.keys]) == ("verified", ["live"])


async def test_without_a_pair_nothing_is_proved(relay: Enrolling) -> None:
    domain = await relay.domains.enroll((await relay.member()).id, "example.test")
    relay.publish(domain)
    hosts = hosts_of(relay.services.config)
    assert (await look(relay.dns.resolver, domain, hosts)).proof is True
    assert (await look(relay.dns.resolver, replace(domain, keys=[]), hosts)).proof is None


async def test_the_owner_who_asks_right_after_a_failed_look_of_the_clock_is_told_at_once(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    relay.unpublish(domain, only=["ownership"])
    relay.clock.move(DAY)
    domain = await relay.domains.check(domain.id, by="clock")
    assert (domain.state, domain.failing) == ("verified", 1)
    relay.clock.move(1)
    assert (await relay.domains.check(domain.id, by="clock")).failing == 1, "the clock has its answer"
    domain = await relay.domains.check(domain.id)
    assert (domain.state, domain.failing) == ("pending", 0)


async def test_an_owner_whose_dns_can_not_be_asked_asks_once_a_minute(relay: Enrolling) -> None:
    domain = await relay.verified(await relay.member(), "example.test")
    relay.unpublish(domain, only=["ownership"])
    relay.clock.move(DAY)
    await relay.domains.check(domain.id, by="clock")
    relay.dns.faults.set("*", "servfail")
    relay.clock.move(1)
    domain = await relay.domains.check(domain.id)
    assert (domain.state, domain.failing, domain.checked_at) == ("verified", 1, relay.clock.now())
    relay.clock.move(1)
    again = await relay.domains.check(domain.id)
    assert (again.checked_at, again.asked_at) == (domain.checked_at, relay.clock.now())


async def test_options_set_while_a_name_is_proved_by_somebody_else_are_kept(
    relay: Enrolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await relay.member(), await relay.member("bob")
    held = await relay.verified(alice, "example.test")
    relay.unpublish(held, only=["ownership"])
    claimed = await relay.domains.enroll(bob.id, "example.test")
    relay.publish(claimed)
    notices = relay.world.core.notices
    prepare = notices.prepare

    async def meanwhile(to: str, notice: Any, **about: Any) -> Any:
        await relay.domains.update(alice.id, held.id, {"link_tracking": True})
        return await prepare(to, notice, **about)

    monkeypatch.setattr(notices, "prepare", meanwhile)
    assert (await relay.domains.check(claimed.id)).state == "verified"
    lost = await relay.domains.get(alice.id, held.id)
    assert (lost.state, lost.options.link_tracking) == ("pending", True)


@pytest.mark.parametrize("config", ["postgresql"], indirect=True)
async def test_options_set_while_another_domain_becomes_the_default_are_kept(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with enrolling(config) as relay:
        alice = await relay.member()
        one = await relay.domains.enroll(alice.id, "one.test", {"default_sender": True})
        two = await relay.domains.enroll(alice.id, "two.test")
        read, elsewhere = rows.all_of_member, await Storage.open(config)

        async def link_tracking(tx: Tx) -> None:
            row = await rows.get(tx, one.id, lock=True)
            assert row is not None
            await rows.change(tx, one.id, options=replace(Options.read(row.options), link_tracking=True).stored())

        async def meanwhile(tx: Tx, member_id: int) -> list[rows.Row]:
            found = await read(tx, member_id)
            await elsewhere.write(link_tracking)
            return found

        monkeypatch.setattr(rows, "all_of_member", meanwhile)
        try:
            await relay.domains.update(alice.id, two.id, {"default_sender": True})
        finally:
            await elsewhere.close()
        was, now = [(await relay.domains.get(alice.id, d.id)).options for d in (one, two)]
        assert (was.default_sender, was.link_tracking, now.default_sender) == (False, True, True)


@pytest.mark.parametrize(("missing", "state", "mx"), [("spf", "verified", True), ("mx", "pending", False)])
async def test_the_flag_of_a_name_is_that_of_the_record_the_state_depends_on(
    relay: Enrolling, missing: str, state: str, mx: bool
) -> None:
    """MX and SPF stand at the same name; only the first is shown where required records are."""
    domain = await relay.domains.enroll((await relay.member()).id, "example.test", {"replies": True})
    relay.publish(domain, without=[missing])
    domain = await relay.domains.check(domain.id)
    assert (domain.state, domain.flags["example.test"]) == (state, mx)
    shown = dns_table(domain, relay.domains.records(domain))["example.test"]
    assert (shown.Type, shown.IsVerified) == ("MX", mx)
