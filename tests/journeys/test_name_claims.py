"""One name and several members: what a claim may do, what only proof does, and what a parent's owner has to say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from enroll.errors import EnrollError
from relay.base.clock import DAY
from relay.base.config import Config
from tests.kit.enrolling import Enrolling, enrolling


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    """One relay on SQLite."""
    async with enrolling(sqlite_config) as made:
        yield made


@pytest.fixture
async def either(config: Config) -> AsyncIterator[Enrolling]:
    """The same on each engine, where transactions matter."""
    async with enrolling(config) as made:
        yield made


async def refused(call) -> EnrollError:
    with pytest.raises(EnrollError) as caught:
        await call
    return caught.value


async def test_an_unproved_claim_changes_nothing_for_the_owner(either: Enrolling) -> None:
    alice, mallory = await either.member("alice"), await either.member("mallory")
    owned = await either.verified(alice, "example.test")
    claim = await either.domains.enroll(mallory.id, "example.test")
    assert claim.ownership_token != owned.ownership_token
    assert claim.keys[0].stem != owned.keys[0].stem
    assert (await either.look(claim)).state == "pending"
    assert (await either.look(owned)).state == "verified"


async def test_proof_takes_the_name_from_its_former_holder_who_is_told(either: Enrolling) -> None:
    alice, bob = await either.member("alice"), await either.member("bob")
    old = await either.verified(alice, "example.test")
    new = await either.domains.enroll(bob.id, "example.test")
    either.publish(new, only=["ownership", "dkim_rsa", "dkim_ed25519"])
    new = await either.look(new)
    assert new.state == "verified"
    lost = await either.domains.get(alice.id, old.id)
    assert lost.state == "pending"
    assert "another member" in lost.reason
    assert await either.event_types(alice) == ["domain.created", "domain.verified", "domain.lost"]
    (mail,) = await either.mail_to("alice@mail.test")
    assert b"no longer verified for you" in mail
    # The old keys sign no more, and the new owner starts at the beginning of warming.
    assert (await either.world.submit(alice, sender="news@example.test")).reply.name == "domain_rests"
    assert new.first_verified_at > old.first_verified_at
    # What still stands in DNS for the former holder does not swing the name back.
    assert (await either.look(lost)).state == "pending"
    assert (await either.look(new)).state == "verified"


async def test_a_paused_domain_is_taken_by_proof_too(relay: Enrolling) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    old = await relay.verified(alice, "example.test")
    await relay.domains.pause(alice.id, old.id)
    new = await relay.domains.enroll(bob.id, "example.test")
    relay.publish(new, only=["ownership", "dkim_rsa", "dkim_ed25519"])
    assert (await relay.look(new)).state == "verified"
    error = await refused(relay.domains.resume(alice.id, old.id))
    assert error.status == 409


async def test_a_child_of_anothers_domain_needs_proof_at_the_parent_too(relay: Enrolling) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    await relay.verified(alice, "example.test")
    child = await relay.domains.enroll(bob.id, "shop.example.test")
    relay.publish(child, without=["ownership"])
    own, agreed = [r for r in relay.domains.records(child) if r.purpose == "ownership"]
    assert (own.name, agreed.name) == ("_posthouse-challenge.shop.example.test", "_posthouse-challenge.example.test")
    assert agreed.required
    assert own.value == agreed.value
    relay.zone(own.name).add(own.name, "TXT", own.value)
    assert (await relay.look(child)).state == "pending"
    relay.zone(agreed.name).add(agreed.name, "TXT", agreed.value)
    assert (await relay.look(child)).state == "verified"


async def test_a_members_own_child_needs_none(relay: Enrolling) -> None:
    alice = await relay.member()
    await relay.verified(alice, "example.test")
    assert (await relay.verified(alice, "shop.example.test")).consent == ()


async def test_a_parent_that_comes_later_takes_nothing_from_a_proved_child(relay: Enrolling) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    child = await relay.verified(bob, "shop.example.test")
    relay.clock.move(DAY)
    await relay.verified(alice, "example.test")
    assert (await relay.look(child)).state == "verified"


async def test_another_members_domain_is_not_there(relay: Enrolling) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    domain = await relay.domains.enroll(alice.id, "example.test")
    for key in (domain.id, str(domain.id), domain.uuid, domain.name, "9" * 30):
        calls = [
            relay.domains.get(bob.id, key), relay.domains.update(bob.id, key, {"replies": True}),
            relay.domains.pause(bob.id, key), relay.domains.delete(bob.id, key), relay.domains.rotate(bob.id, key),
            relay.domains.stats(bob.id, key), relay.domains.send_test(bob.id, key, "x@y.test"),
        ]
        for call in calls:
            assert (await refused(call)).status == 404
    assert (await relay.domains.get(alice.id, domain.id)) == domain
