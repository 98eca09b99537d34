"""What the operator's pages ask, on both engines: the queue counted and by site, refusals by code, the audit log."""

from __future__ import annotations

from relay.base.config import Config
from relay.base.storage import Storage, audit, domains, operator_queries, refusals, sites
from relay.base.storage.audit import OPERATOR, Entry
from relay.base.storage.operator_queries import SiteQueue
from relay.base.storage.refusals import RefusalRow
from tests.kit.world import World, letter

NOW = 1_800_000_000.0


async def test_the_queue_is_counted_as_it_is_found_and_by_receiving_site(config: Config) -> None:
    world = await World.make(config)
    try:
        alice = await world.member("alice")
        await world.domain(alice)
        for to in ("bob@one.test", "eve@two.test", "joe@far.test"):
            await world.submit(alice, to, raw=letter())
        now = world.clock.now()
        served = {"one.test": "mx.big.test", "two.test": "mx.big.test"}
        await world.storage.write(lambda tx: sites.seen(tx, served, now))
        async with world.storage.read() as tx:
            (far,) = await operator_queries.find(tx, to="far.test")
        await world.queue.change("hold", [far.id])
        async with world.storage.read() as tx:
            assert await operator_queries.waiting_by_site(tx, 10) == [
                SiteQueue("mx.big.test", 2, 0, now), SiteQueue("far.test", 1, 1, now)
            ]
            assert await operator_queries.waiting_by_site(tx, 1) == [SiteQueue("mx.big.test", 2, 0, now)]
            for given in ({"held": True}, {"member_id": alice.id}, {"domain": "example.test"}, {"to": "eve@two.test"}):
                assert await operator_queries.count(tx, **given) == len(await operator_queries.find(tx, **given))
            newest = await operator_queries.find(tx, newest=True, limit=2)
            assert [q.address for q in newest] == ["joe@far.test", "eve@two.test"]
            (last,) = await operator_queries.find(tx, newest=True, before=newest[-1].id)
            assert last.address == "bob@one.test"
            assert [d.name for d in await domains.search(tx, "MPLE.", state="verified")] == ["example.test"]
            assert await domains.search(tx, "_") == []
    finally:
        await world.close()


async def test_refusals_are_counted_by_listener_and_rule(storage: Storage) -> None:
    rows = [
        RefusalRow(str(n), NOW + n, None, door, "domain_mismatch", {}, None)
        for n, door in enumerate(("smtp", "http", "http", "http"))
    ]
    await storage.write(lambda tx: refusals.add(tx, rows))
    async with storage.read() as tx:
        assert await refusals.counted(tx, NOW + 1) == [("http", "domain_mismatch", 3)]
        assert (await refusals.counted(tx, NOW))[1] == ("smtp", "domain_mismatch", 1)


async def test_the_audit_log_is_searched_newest_first_and_purged(storage: Storage) -> None:
    for n in range(3):
        entry = Entry(NOW + n, OPERATOR, "olga", "192.0.2.1", "member.note", f"m{n}", after={"note": "é%"}, member_id=n)
        await storage.write(lambda tx, entry=entry: audit.add(tx, entry))
    async with storage.read() as tx:
        found = await audit.search(tx, "OLGA", limit=2)
        assert [(e.subject, e.after) for e in found] == [("m2", {"note": "é%"}), ("m1", {"note": "é%"})]
        assert [e.subject for e in await audit.search(tx, "", before=found[-1].id)] == ["m0"]
        assert await audit.search(tx, "%") == []
    assert await storage.write(lambda tx: audit.purge(tx, NOW + 2, 100)) == 2
