"""Searching, counting and shortening a suppression list, on both engines."""

from __future__ import annotations

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage
from relay.suppression import Lists, New


async def test_a_list_is_searched_counted_and_shortened(storage: Storage, config: Config) -> None:
    lists, member = Lists(storage, config, Clock()), 1
    given = [
        ("Ben@x.example", "manual"), ("a_b@x.example", "complaint"), ("axb@x.example", "manual"),
        ("c@y.example", "manual"),
    ]
    await lists.put_many(member, [New(address, reason) for address, reason in given])

    async def found(pattern: str, *reasons: str, start: int = 0, limit: int = 9) -> list[str]:
        return [s.original for s in await lists.matching(member, reasons, pattern, start=start, limit=limit)]

    both = ("manual", "complaint")
    assert await found("", *both) == [address for address, _ in given]
    assert await found("", *both, start=1, limit=2) == ["a_b@x.example", "axb@x.example"]
    assert await found("B*@X.example", *both) == ["Ben@x.example"]
    assert await found("a_b@*", *both) == ["a_b@x.example"]
    assert await found("%", *both) == await found("x.example", *both) == await found("\\*", *both) == []
    assert await lists.by_reason(member, both, "*@x.example") == {"manual": 2, "complaint": 1}
    assert await lists.by_reason(member, ["complaint"], "c@*") == {}
    gone = ["BEN@x.example", "ben@x.example"]
    assert await lists.remove_many(member, [*gone, "c@z.example", "?"]) == ["c@z.example", "?"]
    assert await found("", *both) == ["a_b@x.example", "axb@x.example", "c@y.example"]
