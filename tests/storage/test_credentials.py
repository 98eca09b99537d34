"""Keys of one domain, and their user names, on both engines."""

from __future__ import annotations

import pytest

from enroll.api_keys import Credentials
from enroll.errors import EnrollError
from relay.directory import Login
from relay.replies import Verdict
from tests.kit.world import World


async def test_keys_of_a_domain_and_their_user_names(world: World) -> None:
    alice = await world.member("alice")
    for name in ("example.test", "second.test"):
        await world.domain(alice, name)
    keys = Credentials(world.storage, world.config, world.clock, world.vault, changed=world.directory.refresh)

    async def issue(*domains: str, **more: object) -> tuple[str, int]:
        text, key = await keys.issue(alice.id, domains=domains or None, **more)  # type: ignore[arg-type]
        return text, key.id

    text, one = await issue("example.test", smtp_user="printer")
    _, two = await issue("example.test")
    _, both = await issue("example.test", "second.test")
    _, all_of_them = await issue()
    assert [key.id for key in await keys.of_domain(alice.id, "example.test")] == [one, two]
    with pytest.raises(EnrollError, match="user name"):
        await issue("second.test", smtp_user="Printer")

    # Another secret: the key goes on, what was opened with the old one doesn't.
    before = world.directory.login("printer", text, "127.0.0.1")
    assert isinstance(before, Login)
    assert world.directory.recheck(before) is None
    again, key = await keys.renew(alice.id, one)
    assert (key.id, key.smtp_user) == (one, "printer")
    assert world.directory.recheck(before) is not None
    assert isinstance(world.directory.login("printer", text, "127.0.0.1"), Verdict)
    assert isinstance(world.directory.login("printer", again, "127.0.0.1"), Login)

    _, third = await issue("example.test", smtp_user="scanner", replaces=lambda key: key.smtp_user == "printer")
    assert [key.id for key in await keys.of_domain(alice.id, "example.test")] == [two, third]
    with pytest.raises(EnrollError, match="revoked"):
        await keys.renew(alice.id, one)
    assert {(await keys.get(alice.id, id)).state(0) for id in (both, all_of_them)} == {"live"}
    # A name of a key that has ended is free.
    await issue("second.test", smtp_user="printer")
