"""Which addresses are certainly on no list is known without a query, however the lists have grown."""

from __future__ import annotations

import pytest

from relay.suppression import New, Suppressions, snapshot
from tests.kit.world import World

_AT_ONCE = 400


async def test_a_list_that_grows_is_known_whole_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_FRESH_LEAST", _AT_ONCE)
    alice, bob = await world.member("alice"), await world.member("bob")
    lists = world.suppressions
    added: list[str] = []
    for turn in range(9):
        # The last ones again: an address is often reported twice.
        wanted = added[-50:] + [f"u{turn}-{i}@sink.test" for i in range(_AT_ONCE)]
        await lists.put_many(alice.id, [New(one, "hard_bounce", "550 no such user") for one in wanted])
        added += wanted[len(wanted) - _AT_ONCE :]
        assert all(lists.maybe(alice.id, one) for one in added)
    strangers = [f"v{i}@sink.test" for i in range(_AT_ONCE)]
    assert not any(lists.maybe(alice.id, one) for one in strangers)
    assert not any(lists.maybe(bob.id, one) for one in added)
    # One that starts now knows the same.
    other = Suppressions(world.storage, world.config, world.clock)
    await other.refresh()
    assert all(other.maybe(alice.id, one) for one in added)
    assert not any(other.maybe(alice.id, one) for one in strangers)
