"""The authoritative server, asked with real packets on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.zonefile
import pytest

from enroll.zone import DnsServer, RateLimit, Zone, ZoneRecord, Zones, zone_text
from tests.kit.clock import HandClock
from tests.kit.dns import make_zone, world

EXAMPLE = [
    ("@", "MX", "10 mail.example.test."),
    ("mail.example.test", "A", "127.0.0.2"),
    ("www.example.test", "CNAME", "mail.example.test."),
    ("out.example.test", "CNAME", "host.elsewhere.test."),
    ("a.b.example.test", "TXT", "deep"),
]


async def ask(server: DnsServer, name: str, type: str, **how: object) -> dns.message.Message:
    query = dns.message.make_query(name, type, **how)  # type: ignore[arg-type]
    return await dns.asyncquery.udp(query, "127.0.0.1", port=server.port, timeout=2)


def data(reply: dns.message.Message) -> list[str]:
    return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


async def test_an_answer_comes_with_authority_and_in_any_case_of_letters() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        reply = await ask(w.server, "MAIL.Example.TEST", "A")
    assert data(reply) == ["127.0.0.2"]
    assert reply.flags & dns.flags.AA


async def test_no_such_name_and_no_such_type_are_told_apart_and_carry_the_soa() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        missing = await ask(w.server, "nope.example.test", "TXT")
        empty = await ask(w.server, "mail.example.test", "TXT")
        between = await ask(w.server, "b.example.test", "TXT")
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert empty.rcode() == between.rcode() == dns.rcode.NOERROR
    for reply in (missing, empty, between):
        assert not reply.answer
        assert reply.authority[0].rdtype == dns.rdatatype.SOA


async def test_an_alias_is_followed_in_own_zones_and_ends_at_foreign_ones() -> None:
    async with world({"example.test": EXAMPLE}, open_world=False) as w:
        inside = await ask(w.server, "www.example.test", "A")
        outside = await ask(w.server, "out.example.test", "A")
    assert data(inside) == ["127.0.0.2", "mail.example.test."]
    assert data(outside) == ["host.elsewhere.test."]
    assert outside.rcode() == dns.rcode.NOERROR


async def test_an_alias_that_points_at_itself_gets_an_answer_that_ends() -> None:
    loop = [("x.example.test", "CNAME", "y.example.test."), ("y.example.test", "CNAME", "x.example.test.")]
    async with world({"example.test": loop}) as w:
        reply = await ask(w.server, "x.example.test", "A")
    assert len(reply.answer) == 2


async def test_a_zone_below_is_referred_to_with_its_glue_and_without_authority() -> None:
    records = [
        ("sub.example.test", "NS", "ns.sub.example.test."), ("ns.sub.example.test", "A", "127.0.0.9")
    ]  # fmt: skip
    async with world({"example.test": records}) as w:
        reply = await ask(w.server, "deep.sub.example.test", "TXT")
    assert not reply.answer
    assert not reply.flags & dns.flags.AA
    assert reply.authority[0].rdtype == dns.rdatatype.NS
    assert reply.additional[0].to_text().endswith("127.0.0.9")


async def test_name_servers_come_with_their_addresses() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        reply = await ask(w.server, "example.test", "NS")
    assert data(reply) == ["ns.example.test."]
    assert any("127.0.0.1" in rrset.to_text() for rrset in reply.additional)


async def test_foreign_names_are_refused_or_do_not_exist_in_a_closed_world() -> None:
    async with world({"example.test": EXAMPLE}, open_world=False) as w:
        assert (await ask(w.server, "other.test", "A")).rcode() == dns.rcode.REFUSED
    async with world({"example.test": EXAMPLE}, open_world=True) as w:
        assert (await ask(w.server, "other.test", "A")).rcode() == dns.rcode.NXDOMAIN


async def test_any_gets_little_and_a_zone_transfer_is_refused() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        reply = await ask(w.server, "example.test", "ANY")
        transfer = await dns.asyncquery.tcp(
            dns.message.make_query("example.test", "AXFR"), "127.0.0.1", port=w.server.port, timeout=2
        )
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.HINFO]
    assert transfer.rcode() == dns.rcode.REFUSED


async def test_what_does_not_fit_is_cut_with_tc_and_comes_whole_over_tcp() -> None:
    records = [("@", "MX", f"{n} mx{n}.some-long-enough-name.example.test.") for n in range(100)]
    async with world({"example.test": records}) as w:
        query = dns.message.make_query("example.test", "MX", use_edns=False)
        small = await dns.asyncquery.udp(query, "127.0.0.1", port=w.server.port, timeout=2)
        edns = await ask(w.server, "example.test", "MX", use_edns=0, payload=4096)
        whole = await dns.asyncquery.tcp(query, "127.0.0.1", port=w.server.port, timeout=2)
    assert small.flags & dns.flags.TC
    assert edns.flags & dns.flags.TC
    assert len(whole.answer[0]) == 100


async def test_junk_never_ends_the_server() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", w.server.port))
            good = dns.message.make_query("example.test", "MX").to_wire()
            for size in range(60):
                sock.send(os.urandom(size))
                sock.send(good[:size])
            # A compression pointer to itself, and a header that promises records which are not there.
            sock.send(b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")
            sock.send(b"\x00\x02\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff")
        reply = await ask(w.server, "example.test", "MX")
    assert data(reply) == ["10 mail.example.test."]


async def test_a_malformed_question_is_told_so_and_a_reply_is_never_answered() -> None:
    async with world({"example.test": EXAMPLE}) as w:
        bad = await w.server.reply(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\xc0\x0c\x00\x01\x00\x01", udp=True)
        echo = dns.message.make_response(dns.message.make_query("example.test", "MX")).to_wire()
        assert await w.server.reply(echo, udp=True) is None
    assert bad is not None
    assert bad[:2] == b"\x12\x34"
    assert bad[3] & 0x0F == dns.rcode.FORMERR


async def test_connections_are_closed_when_idle_and_when_there_are_too_many() -> None:
    zones = Zones(make_zone("example.test", EXAMPLE))
    async with DnsServer(zones, max_connections=1, idle_timeout_seconds=0.3) as server:
        first, first_out = await asyncio.open_connection("127.0.0.1", server.port)
        wire = dns.message.make_query("example.test", "MX").to_wire()
        for _ in range(2):
            first_out.write(struct.pack("!H", len(wire)) + wire)
            assert await first.readexactly(2)
            await first.read(500)
        second, second_out = await asyncio.open_connection("127.0.0.1", server.port)
        assert await second.read() == b""
        first_out.write(b"\x00")
        assert await first.read() == b""
        for writer in (first_out, second_out):
            writer.close()
            await writer.wait_closed()


async def test_a_source_answers_for_names_outside_the_table_and_its_failure_is_servfail() -> None:
    async def source(name: str, type: str) -> list[ZoneRecord] | None:
        if name.startswith("broken."):
            raise RuntimeError("the database is away")
        return [ZoneRecord(name, "TXT", "v=DKIM1; p=abc", 5)] if name.startswith("key.") else None

    async with world([make_zone("hosted.test", source=source)]) as w:
        found = await ask(w.server, "key.hosted.test", "TXT")
        other = await ask(w.server, "key.hosted.test", "A")
        missing = await ask(w.server, "nope.hosted.test", "TXT")
        broken = await ask(w.server, "broken.hosted.test", "TXT")
    assert data(found) == ['"v=DKIM1; p=abc"']
    assert other.rcode() == dns.rcode.NOERROR
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert broken.rcode() == dns.rcode.SERVFAIL


async def test_a_change_shows_in_the_next_answer() -> None:
    async with world({"example.test": []}) as w:
        w.zones.add("t.example.test", "TXT", "one")
        w.zones.add("t.example.test", "TXT", "two")
        w.zones.remove("t.example.test", "TXT", "one")
        assert data(await ask(w.server, "t.example.test", "TXT")) == ['"two"']
        w.zones.replace("t.example.test", "TXT", ["three"])
        assert data(await ask(w.server, "t.example.test", "TXT")) == ['"three"']
        w.zones.remove("t.example.test")
        assert (await ask(w.server, "t.example.test", "TXT")).rcode() == dns.rcode.NXDOMAIN


def test_malformed_records_are_refused_when_they_are_put_in() -> None:
    zone = Zone("example.test")
    zone.add("a.example.test", "CNAME", "b.example.test.")
    for name, type, value in [
        ("other.test", "A", "127.0.0.1"), ("a.example.test", "A", "127.0.0.1"), ("x.example.test", "A", "no"),
        ("a.example.test", "CNAME", "c.example.test."), ("x" * 64 + ".example.test", "A", "127.0.0.1"),
        ("bücher.example.test", "A", "127.0.0.1"), ("x.example.test", "NOSUCH", "1"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            zone.add(name, type, value)


def test_zone_text_splits_long_strings_and_reads_back_to_the_same_records() -> None:
    value = 'v=DKIM1; p="\\' + "A" * 400
    text = zone_text([
        ZoneRecord("k.example.test", "TXT", value), ZoneRecord("sl.example.test", "CNAME", "bounce.relay.test"),
        ZoneRecord("example.test", "MX", "10 mx.relay.test"),
    ])  # fmt: skip
    read = {rrset.rdtype: rrset for rrset in dns.zonefile.read_rrsets(text, rdclass=None)}
    key = read[dns.rdatatype.TXT][0]
    assert b"".join(key.strings).decode() == value
    assert max(len(part) for part in key.strings) == 255
    assert read[dns.rdatatype.CNAME][0].to_text() == "bounce.relay.test."
    assert read[dns.rdatatype.MX][0].to_text() == "10 mx.relay.test."


async def test_a_flood_from_one_network_gets_few_answers_and_none_larger_than_its_question() -> None:
    clock = HandClock()
    limit = RateLimit(5, monotonic=clock.monotonic, slip=2)
    async with DnsServer(Zones(make_zone("example.test", EXAMPLE)), limit=limit) as server:
        question = dns.message.make_query("example.test", "MX").to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", server.port))
            sock.setblocking(False)
            for _ in range(25):
                sock.send(question)
            loop = asyncio.get_running_loop()
            # 5 answers; of the 20 questions above the rate every second one is sent to TCP.
            heard = [await asyncio.wait_for(loop.sock_recv(sock, 4096), 5) for _ in range(15)]
            with pytest.raises(BlockingIOError):
                sock.recv(4096)
        cut = [wire for wire in heard if wire[2] & 0x02]
        assert len(cut) == 10
        assert max(map(len, cut)) <= len(question)
        assert limit.rule("127.0.0.1") == "drop"
        query = dns.message.make_query("example.test", "MX")
        whole, by_tcp = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", port=server.port, timeout=5)
        clock.move(1.0)
        again = await ask(server, "example.test", "MX")
    assert by_tcp, "a question that is sent to TCP is answered there"
    assert data(whole) == data(again) == ["10 mail.example.test."]


def test_networks_are_counted_apart_and_only_so_many_at_once() -> None:
    clock = HandClock()
    limit = RateLimit(1, monotonic=clock.monotonic, max_networks=3)
    assert limit.rule("192.0.2.1") == "answer"
    assert limit.rule("192.0.2.200") != "answer", "the same /24"
    assert limit.rule("::ffff:192.0.2.7") != "answer"
    assert limit.rule("192.0.3.1") == "answer"
    assert limit.rule("2001:db8:0:1::1") == "answer"
    assert limit.rule("2001:db8:0:2::1") != "answer", "the same /56"
    assert limit.rule("198.51.100.1") == "answer"
    assert limit.rule("192.0.2.1") == "answer", "forgotten: only three networks are kept"


async def test_one_address_can_not_take_all_connections() -> None:
    zones = Zones(make_zone("example.test", EXAMPLE))
    async with DnsServer(zones, max_connections=10, max_connections_an_address=1) as server:
        first, first_out = await asyncio.open_connection("127.0.0.1", server.port)
        wire = dns.message.make_query("example.test", "MX").to_wire()
        first_out.write(struct.pack("!H", len(wire)) + wire)
        assert await first.readexactly(2)
        second, second_out = await asyncio.open_connection("127.0.0.1", server.port)
        assert await second.read() == b""
        third, third_out = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        third_out.write(struct.pack("!H", len(wire)) + wire)
        assert await third.readexactly(2)
        for writer in (first_out, second_out, third_out):
            writer.close()
            await writer.wait_closed()
