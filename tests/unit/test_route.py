"""Where mail goes, and for which domains nowhere."""

import random
from typing import Any

import pytest

from relay.base.config import Config
from relay.base.config.model import Inbound
from relay.base.netguard import EVERYWHERE, is_public
from relay.base.resolver import Answer, Later, Nothing, Result
from relay.delivery.client import Credentials
from relay.delivery.courier import own_addresses
from relay.delivery.route import Host, OwnAddresses, Route, RouteSettings, Smarthost, route
from relay.delivery.tls_policy import TlsLevel, TlsPolicy
from relay.outcome import Outcome

V4, V6 = "93.184.216.34", "2606:2800:220:1::1"
NOT_THERE, NO_DATA, TROUBLE = Nothing("nxdomain", 60), Nothing("nodata", 60), Later("timeout")


class Table:
    """The DNS as two tables; counts what it is asked."""

    def __init__(self, mx: dict[str, Result | list[tuple[int, str]]], addresses: dict[str, Result | list[str]]) -> None:
        self._mx, self._addresses = mx, addresses
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Result:
        found = self._mx.get(domain, NOT_THERE)
        return Answer(tuple(sorted(found)), 60) if isinstance(found, list) else found

    async def addresses(self, host: str) -> Result:
        self.asked.append(host)
        found = self._addresses.get(host, NOT_THERE)
        return Answer(tuple(found), 60) if isinstance(found, list) else found


PLAIN = RouteSettings()


async def go(table: Table, settings: RouteSettings = PLAIN, domain: str = "b.test", seed: int = 1) -> Route | Outcome:
    return await route(domain, resolver=table, settings=settings, rng=random.Random(seed))


def names(found: Route | Outcome) -> list[str]:
    assert isinstance(found, Route), found
    return [host.name for host in found.hosts]


def fault(found: Route | Outcome) -> tuple[str, str | None, int | None]:
    assert isinstance(found, Outcome), found
    assert (found.stage, found.scope) == ("route", "destination")
    return found.kind, found.enhanced, found.code


async def test_exchangers_in_order_of_preference() -> None:
    mx: list[tuple[int, str]] = [(20, "c.b.test"), (5, "a.b.test"), (10, "b.b.test")]
    table = Table({"b.test": mx}, {name: [V4] for _, name in mx})
    found = await go(table)
    assert names(found) == ["a.b.test", "b.b.test", "c.b.test"]
    assert isinstance(found, Route)
    assert found.hosts[0] == Host("a.b.test", (V4,), 25, 5)


async def test_equal_exchangers_share_the_load() -> None:
    mx: list[tuple[int, str]] = [(10, "a.test"), (10, "b.test"), (10, "c.test")]
    table = Table({"b.test": list(mx)}, {name: [V4] for _, name in mx})
    firsts = {names(await go(table, seed=seed))[0] for seed in range(50)}
    assert firsts == {"a.test", "b.test", "c.test"}


@pytest.mark.parametrize(
    ("mx", "addresses", "expected"),
    [
        ([(0, ".")], {}, ("never", "5.1.10", 556)),
        (NOT_THERE, {}, ("never", "5.1.2", 550)),
        (TROUBLE, {}, ("later", "4.4.3", None)),
        (NO_DATA, {"b.test": NO_DATA}, ("never", "5.4.4", 550)),
        # An MX that leads nowhere, be it to the domain itself, is a slip in a zone more often than an end.
        ([(0, "b.test")], {"b.test": NO_DATA}, ("later", "4.4.4", None)),
        ([(10, "mx.test")], {"mx.test": NOT_THERE}, ("later", "4.4.4", None)),
        ([(10, "192.0.2.7")], {}, ("later", "4.4.4", None)),
        (NO_DATA, {"b.test": TROUBLE}, ("later", "4.4.3", None)),
        ([(1, "mx.test")], {}, ("later", "4.4.4", None)),
        ([(1, "mx.test"), (2, "mx2.test")], {"mx.test": ["10.0.0.1"], "mx2.test": TROUBLE}, ("later", "4.4.3", None)),
        ([(1, "mx.test")], {"mx.test": ["127.0.0.1", "::1"]}, ("never", "5.4.4", 550)),
        ([(1, "mx.test")], {"mx.test": ["10.1.2.3", "fd00::1", "169.254.169.254"]}, ("never", "5.4.4", 550)),
        ([(1, "not a host name"), (2, "x\r\ny")], {}, ("later", "4.4.4", None)),
    ],
)
async def test_domains_without_a_way(mx: object, addresses: dict[str, Result | list[str]], expected: object) -> None:
    assert fault(await go(Table({"b.test": mx}, addresses))) == expected  # type: ignore[dict-item]


async def test_a_null_mx_beside_a_real_one_says_nothing() -> None:
    table = Table({"b.test": [(0, "."), (10, "mx.test")]}, {"mx.test": [V4]})
    assert names(await go(table)) == ["mx.test"]


async def test_the_domain_itself_without_mx() -> None:
    found = await go(Table({"b.test": NO_DATA}, {"b.test": [V4]}))
    assert isinstance(found, Route)
    assert found.hosts == (Host("b.test", (V4,), 25, 0),)


async def test_both_families_get_a_turn() -> None:
    table = Table({"b.test": [(1, "mx.test")]}, {"mx.test": [V4, "93.184.216.35", V6, "2606:2800:220:1::2"]})
    found = await go(table)
    assert isinstance(found, Route)
    assert found.hosts[0].ips == (V4, V6, "93.184.216.35", "2606:2800:220:1::2")
    found = await go(table, RouteSettings(ipv6=False, max_addresses=1))
    assert isinstance(found, Route)
    assert found.hosts[0].ips == (V4,)


async def test_one_private_address_does_not_spoil_the_rest() -> None:
    found = await go(Table({"b.test": [(1, "mx.test")]}, {"mx.test": ["127.0.0.1", V6]}))
    assert isinstance(found, Route)
    assert found.hosts[0].ips == (V6,)


MX3: list[tuple[int, str]] = [(10, "best.test"), (20, "us.test"), (20, "equal.test"), (30, "worse.test")]
THERE: dict[str, Result | list[str]] = {
    "best.test": [V4], "us.test": ["93.184.216.99"], "equal.test": [V4], "worse.test": [V4]
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RouteSettings(own_names=frozenset({"us.test"})), ("never", "5.4.6", 550)),
        # A name that isn't ours leads to us: its owner may notice, so the mail waits.
        (RouteSettings(own_addresses=OwnAddresses(named=frozenset({"93.184.216.99"}))), ("later", "4.4.6", None)),
    ],
)
async def test_not_to_ourselves_or_what_is_no_better(
    settings: RouteSettings, expected: tuple[str, str, int | None]
) -> None:
    assert names(await go(Table({"b.test": list(MX3)}, THERE), settings)) == ["best.test"]
    assert fault(await go(Table({"b.test": list(MX3[1:])}, THERE), settings)) == expected


@pytest.mark.parametrize(("versions", "ours"), [({4}, True), ({6}, False), (set(), False)])
async def test_a_wildcard_means_every_address_of_this_machine(versions: set[int], ours: bool) -> None:
    own = OwnAddresses(versions=frozenset(versions))
    settings = RouteSettings(private_networks=EVERYWHERE, own_addresses=own)
    found = await go(Table({"b.test": [(1, "mx.test")]}, {"mx.test": ["127.0.0.7"]}), settings)
    assert isinstance(found, Outcome) is ours
    # Loopback in a stranger's zone is a mistake that waiting does not fix, also where this machine listens on it.
    strange = RouteSettings(own_addresses=own)
    assert fault(await go(Table({"b.test": [(1, "mx.test")]}, {"mx.test": ["127.0.0.7"]}), strange))[1] == "5.4.4"
    assert fault(await go(Table({}, {}), strange, "[127.0.0.7]"))[1] == "5.4.4"
    # An address that is somebody else's is never taken for ours.
    assert names(await go(Table({"b.test": [(1, "mx.test")]}, {"mx.test": [V4]}), settings)) == ["mx.test"]


@pytest.mark.parametrize(
    ("listen", "roles", "own"),
    [
        (["0.0.0.0:25", "[::]:25"], ["inbound"], OwnAddresses(versions=frozenset({4, 6}))),
        (["0.0.0.0:25"], ["submission"], OwnAddresses()),  # whoever listens there, it isn't this relay
        ([f"{V4}:25", f"[{V6}]:25", "10.0.0.1:2525"], ["delivery"], OwnAddresses(named=frozenset({V4, V6}))),
    ],
)
def test_our_own_addresses_are_those_at_the_delivery_port(listen: list[str], roles: Any, own: OwnAddresses) -> None:
    assert own_addresses(Config(roles=roles, inbound=Inbound(listen=listen))) == own


async def test_a_hundred_exchangers_are_not_all_asked() -> None:
    mx: list[tuple[int, str]] = [(i, f"mx{i}.test") for i in range(100)]
    table = Table({"b.test": mx}, {"mx19.test": [V4], "mx50.test": [V4]})
    assert names(await go(table)) == ["mx19.test"]
    assert len(table.asked) == 20
    table = Table({"b.test": mx}, {name: [V4] for _, name in mx})
    assert len(names(await go(table))) == 5
    assert len(table.asked) == 5


async def test_loopback_and_a_port_where_allowed() -> None:
    settings = RouteSettings(port=2525, private_networks=EVERYWHERE)
    found = await go(Table({"b.test": [(1, "mx.test")]}, {"mx.test": ["127.0.0.1"]}), settings)
    assert isinstance(found, Route)
    assert found.hosts == (Host("mx.test", ("127.0.0.1",), 2525, 1),)


async def test_smarthost_for_everything_and_for_one_domain() -> None:
    verified, clear = TlsPolicy(TlsLevel.VERIFIED), TlsPolicy(TlsLevel.NONE)
    login = Credentials("user", "s3cret")
    every, single = Smarthost("out.test", 465, verified, True, login), Smarthost("127.0.0.1", 2500, clear)
    settings = RouteSettings(smarthosts={"*": every, "single.test": single})
    table = Table({}, {"out.test": [V4]})
    found = await go(table, settings)
    assert found == Route(
        "out.test:465", (Host("out.test", (V4,), 465, 0, verified, True, login, secure=True),), best=("out.test:465",)
    )
    found = await go(table, settings, "single.test")
    assert isinstance(found, Route)
    assert found.hosts == (Host("127.0.0.1", ("127.0.0.1",), 2500, 0, clear, secure=True),)
    # The operator's mistake is nobody's bounce.
    assert fault(await go(Table({}, {}), settings)) == ("later", "4.4.4", None)
    assert fault(await go(Table({}, {"out.test": TROUBLE}), settings)) == ("later", "4.4.3", None)


async def test_the_best_exchangers_are_named_whether_they_have_addresses_or_not() -> None:
    table = Table({"b.test": [(20, "mx3.b.test"), (10, "MX2.b.test"), (10, "mx1.b.test")]}, {"mx3.b.test": [V4]})
    found = await go(table)
    assert isinstance(found, Route)
    assert (found.best, names(found)) == (("mx1.b.test", "mx2.b.test"), ["mx3.b.test"])


async def test_address_literals() -> None:
    table = Table({}, {})
    assert names(await go(table, domain=f"[{V4}]")) == [f"[{V4}]"]
    assert names(await go(table, domain=f"[IPv6:{V6}]")) == [f"[{V6}]"]
    assert fault(await go(table, domain="[127.0.0.1]"))[1] == "5.4.4"
    assert fault(await go(table, domain="[tag:junk]"))[1] == "5.1.2"


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::", "::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
     "2002:7f00:1::", "192.0.2.1", "not an address", "::127.0.0.1", "::10.0.0.1", "::93.184.216.34",
     "::ffff:0:10.0.0.1", "::ffff:0:93.184.216.34", "64:ff9b:1::a00:1", "64:ff9b:1::5db8:d822", "192.88.99.1",
     "::ffff:192.88.99.1", "2002:c058:6301::", "fec0::1", "100::1", "5f00::1", "4000::1"],
)
def test_private_addresses_in_every_dress(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize("ip", [V4, V6, "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_public_addresses(ip: str) -> None:
    assert is_public(ip)
