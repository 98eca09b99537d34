"""The relay's own addresses in blocklists, asked of a real server: what is a listing, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from posthouse.doctor import examine
from relay.base.config import Config
from relay.base.config.standing import Blocklist, Reputation
from relay.base.storage import incidents
from relay.standing.blocklists import BlocklistWatch, look, query_name
from tests.kit.dns import make_zone
from tests.kit.dns import world as dns_world
from tests.kit.storage import make_config
from tests.kit.world import World

LIST = Blocklist(zone="bl.test", delisting="https://bl.test/remove", policy=["127.0.0.10", "127.0.0.11"])
OURS = ["192.0.2.25", "2001:db8::25"]


def test_names_are_in_reverse() -> None:
    assert query_name("192.0.2.25", "bl.test") == "25.2.0.192.bl.test"
    assert query_name("2001:db8::25", "bl.test") == f"5.2.{'0.' * 22}8.b.d.0.1.0.0.2.bl.test"


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([], "clear"), (["127.0.0.2"], "listed"), (["127.0.0.4", "127.0.0.10"], "listed"), (["127.0.0.10"], "policy"),
        (["127.0.0.10", "127.0.0.11"], "policy"), (["127.255.255.252"], "refused"), (["127.255.255.254"], "refused"),
        (["127.0.0.2", "127.255.255.255"], "refused"), (["198.51.100.7"], "unknown"), ("servfail", "unknown"),
    ],
)
async def test_answers_are_told_apart(tmp_path: Path, answers: list[str] | str, verdict: str) -> None:
    config = config_of(tmp_path)
    at = query_name(OURS[0], "bl.test")
    known = [(query_name("127.0.0.2", "bl.test"), "A", "127.0.0.2")]
    said = [(at, "A", a) for a in answers] if isinstance(answers, list) else []
    async with dns_world([make_zone("bl.test", known + said)]) as dns:
        if answers == "servfail":
            dns.faults.set(at, "servfail")
        first, second = await look(config, dns.resolver)
    assert (first.address, first.verdict) == (OURS[0], verdict)
    assert (second.address, second.verdict) == (OURS[1], "clear")


async def test_a_list_that_does_not_know_its_test_entry_says_nothing(tmp_path: Path) -> None:
    listed = [(query_name(OURS[0], "bl.test"), "A", "127.0.0.2")]
    async with dns_world([make_zone("bl.test", listed)]) as dns:
        assert {f.verdict for f in await look(config_of(tmp_path), dns.resolver)} == {"refused"}
        dns.faults.set(query_name("127.0.0.2", "bl.test"), "servfail")
        assert {f.verdict for f in await look(config_of(tmp_path), dns.other_resolver())} == {"unknown"}


async def test_a_listing_is_an_incident_once_a_day(tmp_path: Path) -> None:
    world = await World.make(config_of(tmp_path))
    entries = [(query_name(a, "bl.test"), "A", "127.0.0.2") for a in ("127.0.0.2", OURS[0])]
    try:
        async with dns_world([make_zone("bl.test", entries)]) as dns:
            watch = BlocklistWatch(world.storage, world.config, world.clock, dns.resolver, owner="me")
            for seconds in (0, 3600, 86_400):
                world.clock.move(seconds)  # type: ignore[attr-defined]
                await watch.tick()
            async with world.storage.read() as tx:
                (found,) = await incidents.listing(tx)
            assert (found.kind, found.count) == ("blocklist", 2)
            assert "https://bl.test/remove" in found.examples[0]["reply"]
            config = world.config.model_copy(
                update={"server": world.config.server.model_copy(update={"hostname": "relay.example.org"})}
            )
            examined = await examine(config, only=["blocklists"], storage=world.storage, resolver=dns.resolver)
            assert [(f.status, f.fix.rpartition(" ")[2]) for f in examined] == [
                ("fail", "https://bl.test/remove"), ("ok", ""),
            ]
    finally:
        await world.close()


def config_of(folder: Path) -> Config:
    config = make_config(
        folder, delivery={"source_addresses": OURS, "allow_private_networks": True},
    )
    return config.model_copy(update={"reputation": Reputation(blocklists=[LIST])})
