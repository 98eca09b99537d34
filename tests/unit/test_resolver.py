"""The resolver, against a real server on loopback that also lies, fails and refers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from enroll.zone import DnsServer, ZoneRecord, Zones
from relay.base.resolver import Answer, Later, Nothing, Resolver, ServerAnswer
from tests.kit.clock import HandClock
from tests.kit.dns import IMPATIENT, make_resolver, make_zone, world

MAIL = [
    ("@", "MX", "20 b.mail.test."), ("@", "MX", "10 A.mail.test."), ("@", "TXT", "one"),
    ("a.mail.test", "A", "192.0.2.1"), ("a.mail.test", "AAAA", "2001:db8::1"), ("b.mail.test", "AAAA", "2001:db8::2"),
    ("null.mail.test", "MX", "0 ."), ("w.mail.test", "CNAME", "a.mail.test."),
    ("loop1.mail.test", "CNAME", "loop2.mail.test."), ("loop2.mail.test", "CNAME", "loop1.mail.test."),
    ("gone.mail.test", "CNAME", "nowhere.mail.test."), ("long.mail.test", "TXT", "x" * 700),
]  # fmt: skip


async def test_mail_exchanges_come_best_first_and_a_null_mx_is_shown() -> None:
    async with world({"mail.test": MAIL}) as w:
        assert await w.resolver.mx("mail.test") == Answer(((10, "a.mail.test"), (20, "b.mail.test")), 60)
        null = await w.resolver.mx("null.mail.test")
    assert isinstance(null, Answer)
    assert null.exchanges() == ((0, "."),)


async def test_addresses_of_both_families_and_of_one() -> None:
    async with world({"mail.test": MAIL}) as w:
        both = await w.resolver.addresses("a.mail.test")
        one = await w.resolver.addresses("b.mail.test")
        neither = await w.resolver.addresses("mail.test")
        none = await w.resolver.addresses("nowhere.mail.test")
    assert isinstance(both, Answer)
    assert both.texts() == ("192.0.2.1", "2001:db8::1")
    assert isinstance(one, Answer)
    assert isinstance(neither, Nothing)
    assert neither.kind == "nodata"
    assert isinstance(none, Nothing)
    assert none.kind == "nxdomain"


async def test_one_family_failing_hides_nothing_and_invents_nothing() -> None:
    async with world({"mail.test": MAIL}) as w:
        w.faults.set("a.mail.test", "servfail", "AAAA")
        w.faults.set("b.mail.test", "servfail", "AAAA")
        found = await w.resolver.addresses("a.mail.test")
        unknown = await w.resolver.addresses("b.mail.test")
    assert isinstance(found, Answer)
    assert found.texts() == ("192.0.2.1",)
    assert isinstance(unknown, Later)


async def test_long_texts_are_joined() -> None:
    async with world({"mail.test": MAIL}) as w:
        assert await w.resolver.txt("long.mail.test") == Answer(("x" * 700,), 60)


async def test_a_no_says_which_zone_said_it_and_for_how_long() -> None:
    async with world({"mail.test": MAIL}) as w:
        assert await w.resolver.txt("nowhere.mail.test") == Nothing("nxdomain", 60, "mail.test")
        assert await w.resolver.txt("a.mail.test") == Nothing("nodata", 60, "mail.test")


async def test_aliases_are_followed_and_shown_and_a_dead_end_is_a_no() -> None:
    async with world({"mail.test": MAIL}) as w:
        found = await w.resolver.addresses("w.mail.test")
        alias = await w.resolver.cname("w.mail.test")
        dead = await w.resolver.mx("gone.mail.test")
    assert isinstance(found, Answer)
    assert found.cname_chain == ("a.mail.test",)
    assert isinstance(alias, Answer)
    assert alias.texts() == ("a.mail.test",)
    assert dead == Nothing("nxdomain", 60, "mail.test", ("nowhere.mail.test",))


async def test_alias_loops_and_endless_chains_end_as_later() -> None:
    chain = [(f"c{n}.mail.test", "CNAME", f"c{n + 1}.mail.test.") for n in range(30)]
    async with world({"mail.test": MAIL + chain}) as w:
        assert isinstance(await w.resolver.addresses("loop1.mail.test"), Later)
        assert isinstance(await w.resolver.txt("c0.mail.test"), Later)
        assert len(w.faults.asked) < 20


@pytest.mark.parametrize("fault", ["servfail", "refused", "drop", "wrong_id", "junk"])
async def test_a_failing_or_lying_server_is_later_and_never_a_no(fault: str) -> None:
    async with world({"mail.test": MAIL}, **IMPATIENT) as w:
        w.faults.set("*", fault)  # type: ignore[arg-type]
        assert isinstance(await w.resolver.mx("mail.test"), Later)
        w.faults.set("*", None)
        assert isinstance(await w.resolver.mx("mail.test"), Answer), "trouble is not remembered"


async def test_a_closed_port_is_later_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    found = await Resolver([f"127.0.0.1:{port}"], timeout_seconds=30, lifetime_seconds=60).mx("mail.test")
    assert found == Later("connection refused")


async def test_the_next_server_is_asked_when_the_first_fails() -> None:
    async with world({"mail.test": MAIL}) as w, world({"mail.test": MAIL}) as bad:
        bad.faults.set("*", "servfail")
        ports = [bad.server.port, w.server.port]
        resolver = Resolver([f"127.0.0.1:{port}" for port in ports], timeout_seconds=1)
        assert isinstance(await resolver.mx("mail.test"), Answer)


async def test_a_hundred_exchanges_come_over_tcp_and_the_best_are_kept() -> None:
    many = [("@", "MX", f"{n} mx{n}.with-a-long-name-so-that-it-overflows.mail.test.") for n in range(100)]
    async with world({"mail.test": many}, max_mx=20) as w:
        found = await w.resolver.mx("mail.test")
    assert isinstance(found, Answer)
    assert [preference for preference, _ in found.exchanges()] == list(range(20))


async def test_a_giant_set_of_records_is_later() -> None:
    many = [("@", "TXT", f"text number {n}") for n in range(101)]
    async with world({"mail.test": many}) as w:
        assert await w.resolver.txt("mail.test") == Later("too many records")


async def test_answers_and_noes_are_kept_for_their_time_and_no_longer() -> None:
    clock = HandClock()
    async with world({"mail.test": MAIL}, now=clock.monotonic) as w:
        await w.resolver.txt("mail.test")
        await w.resolver.txt("nowhere.mail.test")
        clock.move(20)
        kept = await w.resolver.txt("mail.test")
        assert isinstance(kept, Answer)
        assert kept.ttl == 40
        assert isinstance(await w.resolver.txt("nowhere.mail.test"), Nothing)
        assert len(w.faults.asked) == 2
        w.zones.replace("mail.test", "TXT", "two")
        clock.move(41)
        assert await w.resolver.txt("mail.test") == Answer(("two",), 60)
        await w.resolver.txt("mail.test", fresh=True)
        assert len(w.faults.asked) == 4


async def test_the_memory_has_a_bound() -> None:
    async with world({"mail.test": MAIL}, cache_entries=2) as w:
        for name in ("a", "b", "c", "b", "a"):
            await w.resolver.txt(f"{name}.mail.test")
        assert [name[0] for name, _ in w.faults.asked] == ["a", "b", "c", "a"]


async def test_the_same_question_asked_by_many_is_asked_once_and_outlives_one_who_gives_up() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()
    questions = 0

    async def source(name: str, type: str) -> list[ZoneRecord]:
        nonlocal questions
        questions += 1
        arrived.set()
        await go.wait()
        return [ZoneRecord(name, "TXT", "yes")]

    async with world([make_zone("mail.test", source=source)], timeout_seconds=5, lifetime_seconds=5) as w:
        asking = [asyncio.create_task(w.resolver.txt("slow.mail.test")) for _ in range(50)]
        await arrived.wait()
        asking[0].cancel()
        go.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [Answer(("yes",), 60)] * 49
    assert questions == 1


async def test_closing_ends_what_is_under_way_as_later() -> None:
    arrived = asyncio.Event()

    async def source(name: str, type: str) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with world([make_zone("mail.test", source=source)], timeout_seconds=30, lifetime_seconds=30) as w:
        asking = asyncio.create_task(w.resolver.txt("slow.mail.test"))
        await arrived.wait()
        await w.resolver.close()
        assert await asking == Later("shutting down")


async def test_names_that_dns_cannot_hold() -> None:
    async with world({"mail.test": MAIL}) as w:
        assert await w.resolver.mx("x" * 64 + ".test") == Nothing("nxdomain", 0)
        assert await w.resolver.mx("a..test") == Nothing("nxdomain", 0)
        assert isinstance(await w.resolver.mx("bücher.test"), Later)
        assert isinstance(await w.resolver.ptr("not an ip"), Later)
        assert w.faults.asked == []


async def test_the_name_of_an_address() -> None:
    async with world({"2.0.192.in-addr.arpa": [("1.2.0.192.in-addr.arpa", "PTR", "a.mail.test.")]}) as w:
        assert await w.resolver.ptr("192.0.2.1") == Answer(("a.mail.test",), 60)


@pytest.mark.parametrize("text", ["dns.example", "1.2.3.4:0", "1.2.3.4:x", "", "[::1]:99999"])
def test_a_name_server_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Resolver([text])


def test_name_servers_may_name_their_port() -> None:
    Resolver(["192.0.2.1", "192.0.2.1:1053", "2001:db8::1", "[2001:db8::1]:1053"])


# -- what the zone's own servers say ---------------------------------------------------------------------------


async def test_each_authoritative_server_is_asked_itself() -> None:
    """Two servers of one zone disagree, a third is down; the resolver alone would have seen one answer."""
    names = ["ns1.mail.test", "ns2.mail.test", "ns3.mail.test"]
    hosts = [(name, "A", f"127.0.0.{n}") for n, name in enumerate(names, 1)]
    first = make_zone("mail.test", [*hosts, ("t.mail.test", "TXT", "yes")], ns=names)
    second = make_zone("mail.test", hosts, ns=names)
    async with world([first]) as w, DnsServer(Zones(second), "127.0.0.2", w.server.port):
        found = await w.resolver.authoritative("t.mail.test", "TXT")
    assert found == [
        ServerAnswer("ns1.mail.test", "127.0.0.1", "present", ("yes",)),
        ServerAnswer("ns2.mail.test", "127.0.0.2", "absent", negative_until_seconds=60),
        ServerAnswer("ns3.mail.test", "127.0.0.3", "unreachable", reason="connection refused"),
    ]


async def test_the_authoritative_look_does_not_wait_for_a_cached_no() -> None:
    async with world({"mail.test": MAIL}) as w:
        assert isinstance(await w.resolver.txt("new.mail.test"), Nothing)
        w.zones.add("new.mail.test", "TXT", "here")
        assert isinstance(await w.resolver.txt("new.mail.test"), Nothing)
        assert [one.state for one in await w.resolver.authoritative("new.mail.test", "TXT")] == ["present"]


async def test_a_zone_delegated_below_is_followed_whether_resolvers_know_of_it_or_not() -> None:
    """`_domainkey` lives on another server; the parent only refers to it."""
    delegation = [
        ("_domainkey.mail.test", "NS", "ns.keys.test."), ("ns.mail.test", "A", "127.0.0.1")
    ]  # fmt: skip
    parent = make_zone("mail.test", delegation, ns=["ns.mail.test"])
    keys = make_zone("keys.test", [("ns.keys.test", "A", "127.0.0.2")], ns=["ns.keys.test"])
    child = make_zone("_domainkey.mail.test", [("s._domainkey.mail.test", "TXT", "key")], ns=["ns.keys.test"])
    async with world([parent, keys]) as w, DnsServer(Zones(child), "127.0.0.2", w.server.port):
        found = await w.resolver.authoritative("s._domainkey.mail.test", "TXT")
    assert found == [ServerAnswer("ns.keys.test", "127.0.0.2", "present", ("key",))]


async def test_an_alias_into_another_zone_is_asked_of_that_zones_servers() -> None:
    member = make_zone("member.test", [("k.member.test", "CNAME", "k1.hosted.test.")])
    hosted = [("ns.hosted.test", "A", "127.0.0.2"), ("k1.hosted.test", "TXT", "key")]
    stale = make_zone("hosted.test", [hosted[0]], ns=["ns.hosted.test"])
    async with world([member, stale]) as w:
        true = Zones(make_zone("hosted.test", hosted, ns=["ns.hosted.test"]))
        async with DnsServer(true, "127.0.0.2", w.server.port):
            found = await w.resolver.authoritative("k.member.test", "TXT")
            alias = await w.resolver.authoritative("k.member.test", "CNAME")
    # The member's server would have said that there is nothing: it holds an old copy of the other zone.
    assert found == [ServerAnswer("ns.member.test", "127.0.0.1", "present", ("key",), ("k1.hosted.test",))]
    assert alias == [ServerAnswer("ns.member.test", "127.0.0.1", "present", ("k1.hosted.test",))]


async def test_aliases_that_go_round_between_zones_end_as_later() -> None:
    zones = {
        "a.test": [("x.a.test", "CNAME", "x.b.test.")],
        "b.test": [("x.b.test", "CNAME", "x.a.test.")],
    }
    async with world(zones) as w:
        found = await w.resolver.authoritative("x.a.test", "TXT")
    assert [one.state for one in found] == ["later"]
    assert len(w.faults.asked) < 30


@pytest.mark.parametrize(("fault", "state"), [("servfail", "later"), ("refused", "later"), ("drop", "unreachable")])
async def test_an_authoritative_server_in_trouble_says_nothing_about_the_record(fault: str, state: str) -> None:
    async with world({"mail.test": MAIL}, **IMPATIENT) as w:
        w.faults.set("mail.test", fault, "TXT")  # type: ignore[arg-type]
        found = await w.resolver.authoritative("mail.test", "TXT")
    assert [one.state for one in found] == [state]
    assert found[0].reason


async def test_resolvers_in_trouble_leave_the_proof_unasked() -> None:
    async with world({"mail.test": MAIL}) as w:
        w.faults.set("*", "servfail")
        assert await w.resolver.authoritative("t.mail.test", "TXT") == [
            ServerAnswer("", "", "later", reason="SERVFAIL")
        ]


async def test_a_server_that_answers_without_authority_proves_nothing() -> None:
    """A zone whose name servers point at a machine that does not serve it."""
    async with world({"mail.test": MAIL}) as w, DnsServer(
        Zones(make_zone("other.test")), "127.0.0.2", w.server.port, open_world=True
    ):
        w.zones.replace("ns.mail.test", "A", "127.0.0.2")
        found = await w.resolver.authoritative("mail.test", "TXT")
    assert [(one.state, one.reason) for one in found] == [("later", "not authoritative")]


async def test_private_name_servers_are_left_alone_unless_allowed() -> None:
    async with world({"mail.test": MAIL}) as w:
        w.zones.replace("ns.mail.test", "AAAA", "64:ff9b::7f00:1")  # the same, as a NAT64 would have it
        careful = make_resolver(w.server, private_servers=())
        found = await careful.authoritative("mail.test", "TXT")
    assert [(one.state, one.reason) for one in found] == [("unreachable", "private address")]
    assert ("mail.test", "TXT") not in w.faults.asked


async def test_many_servers_and_many_referrals_cost_a_bounded_number_of_questions() -> None:
    """Each name server refers to a deeper zone on the same machine, for ever; fifty servers each."""
    labels = [".".join(["d"] * n + ["deep", "test"]) for n in range(60)]
    servers = [f"n{n}.deep.test" for n in range(50)]
    records = [(name, "A", "127.0.0.1") for name in servers]
    records += [(label, "NS", f"{server}.") for label in labels[1:] for server in servers[:2]]
    async with world([make_zone("deep.test", records, ns=servers)]) as w:
        found = await w.resolver.authoritative("t." + labels[-1], "TXT")
        asked = [type for name, type in w.faults.asked if type == "TXT"]
    assert all(one.state in ("later", "unreachable") for one in found)
    assert len(asked) <= 64
