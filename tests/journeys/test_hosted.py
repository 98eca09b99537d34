"""Records in the relay's own zone: published once as aliases, answered from the tables, changed by rotation alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.flags
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from enroll.domains import HostedZone, export
from enroll.errors import EnrollError
from enroll.zone import zone_text
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from tests.kit.hosting import ZONE, Hosting, hosting


@pytest.fixture
async def env(sqlite_config: Config) -> AsyncIterator[Hosting]:
    async with hosting(sqlite_config) as made:
        yield made


@pytest.fixture
async def either(config: Config) -> AsyncIterator[Hosting]:
    """The same on each engine."""
    async with hosting(config) as made:
        yield made


async def test_keys_change_again_and_again_and_the_owner_touches_dns_once(either: Hosting) -> None:
    relay = either.relay
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", {"hosted": True, "return_path": True})
    published = relay.domains.records(domain)
    assert {r.type for r in published if r.purpose not in ("spf",)} == {"CNAME"}
    assert sum(r.purpose.startswith("dkim") for r in published) == 4, "two pairs of selectors, from the start"
    relay.publish(domain)
    domain = await either.look(domain)
    assert domain.state == "verified", [f for f in domain.findings if not f["ok"]]
    assert all(f["ok"] for f in domain.findings)
    (proof,) = (f for f in domain.findings if f["purpose"] == "ownership")
    assert f"by CNAME to _posthouse-challenge.{domain.uuid}.{ZONE}" in proof["says"]

    stems = [domain.keys[0].stem]
    for _ in range(3):
        domain = await relay.domains.rotate(alice.id, domain.id)
        # Seen at once, but resolvers may still hold what stood at that name before: the old pair goes on signing.
        domain = await either.look(domain)
        assert {k.state for k in domain.keys} >= {"live", "pending"}
        assert domain.signing_pair.stem == stems[-1]
        relay.clock.move(600)
        await either.hosted.refresh()
        await relay.recheck.tick()
        domain = await relay.domains.get(alice.id, domain.id)
        stems.append(domain.signing_pair.stem)
        for pair in domain.keys:
            for selector, text in (("r", pair.rsa_txt), ("e", pair.ed_txt)):
                name = f"{pair.stem}{selector}._domainkey.{domain.uuid}.{ZONE}"
                assert await either.texts(name) == [text], "the key before is still answered"
        with pytest.raises(EnrollError, match="stays published until") as caught:
            await relay.domains.rotate(alice.id, domain.id)
        assert caught.value.status == 409
        relay.clock.move(7 * DAY + 1)
        await relay.recheck.tick()
        gone = await either.ask(f"{stems[-2]}r._domainkey.{domain.uuid}.{ZONE}")
        assert gone.rcode() == dns.rcode.NXDOMAIN
        domain = await either.look(domain, after=1.0)
        assert (domain.state, domain.failing) == ("verified", 0)
    assert stems[0] == stems[2] != stems[1] == stems[3]
    assert len(domain.keys) == 2
    await relay.world.submit(alice, "bob@sink.test", sender="news@example.test")
    (sent,) = await relay.mail_to("bob@sink.test")
    assert f"s={stems[3]}r".encode() in sent


async def test_a_domain_that_publishes_its_keys_itself_changes_over_without_a_gap(env: Hosting) -> None:
    relay = env.relay
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    assert {r.type for r in relay.domains.records(domain)} == {"TXT"}
    assert {r.type for r in relay.domains.records(domain, "cname") if r.alias} == {"CNAME"}
    domain = await relay.domains.update(alice.id, domain.id, {"hosted": True})
    assert (domain.state, domain.checked_at is None) == ("verified", False), "the same keys: nothing to prove again"
    domain = await env.look(domain)
    assert domain.state == "verified"
    # Its own selector first, and a place for the next.
    first = domain.keys[0].stem
    assert domain.notes.stems[0] == first
    spare = domain.notes.stems[1]
    # Without the second pair of aliases a rotation waits, and harms nothing.
    domain = await relay.domains.rotate(alice.id, domain.id)
    domain = await env.look(domain, after=600)
    assert (domain.state, domain.signing_pair.stem) == ("verified", first)
    for record in relay.domains.records(domain):
        if record.name.startswith(spare):
            relay.zone(record.name).add(record.name, record.type, record.value)
    domain = await env.look(domain)
    assert domain.signing_pair.stem == spare


async def test_what_is_asked_of_the_zone_is_answered_by_the_rules(env: Hosting) -> None:
    relay = env.relay
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", {"return_path": True})
    here = f"{domain.uuid}.{ZONE}"
    proof = await env.ask(f"_Posthouse-Challenge.{here.upper()}")
    assert proof.flags & dns.flags.AA
    assert not proof.flags & dns.flags.RA
    assert proof.answer[0][0].to_text() == f'"posthouse-domain-verification={domain.ownership_token}"'
    path = await env.ask(f"sl.{here}", "MX")
    assert path.answer[0][0].to_text() == f"{env.config.bounce_host}."
    for name, type in ((here, "TXT"), (f"_domainkey.{here}", "TXT"), (f"_dmarc.{here}", "A"), (ZONE, "TXT")):
        nodata = await env.ask(name, type)
        assert (nodata.rcode(), nodata.answer) == (dns.rcode.NOERROR, [])
        assert nodata.authority[0].rdtype == dns.rdatatype.SOA
    for name in (f"nope.{here}", f"x._posthouse-challenge.{here}", f"nobody.{ZONE}", f"_dmarc.nobody.{ZONE}"):
        missing = await env.ask(name)
        assert missing.rcode() == dns.rcode.NXDOMAIN
        assert missing.authority[0][0].minimum == env.config.dns.hosted_negative_ttl_seconds
    servers = await env.ask(ZONE, "NS")
    assert servers.answer[0][0].to_text() == "ns.relay.test."
    assert [r.to_text() for rrset in servers.additional for r in rrset] == ["127.0.0.1"]


async def test_a_change_is_served_and_the_serial_only_rises(either: Hosting) -> None:
    relay, serials = either.relay, []

    async def serial() -> int:
        return (await either.ask(ZONE, "SOA")).answer[0][0].serial

    alice = await relay.member()
    serials.append(await serial())
    domain = await relay.domains.enroll(alice.id, "example.test", {"return_path": True})
    here = f"{domain.uuid}.{ZONE}"
    assert (await either.ask(f"sl.{here}", "CNAME")).answer
    serials.append(await serial())
    await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "mail"})
    assert (await either.ask(f"sl.{here}", "CNAME")).rcode() == dns.rcode.NXDOMAIN
    assert (await either.ask(f"mail.{here}", "CNAME")).answer
    serials.append(await serial())
    # Another process, which shares nothing but the database.
    storage = await Storage.open(either.config)
    other = HostedZone(either.config)
    await other.open(storage)
    assert await other.at(f"mail.{here}", "CNAME")
    await relay.domains.delete(alice.id, domain.id)
    assert (await either.ask(f"_posthouse-challenge.{here}")).rcode() == dns.rcode.NXDOMAIN
    serials.append(await serial())
    await other.refresh()
    assert await other.at(f"mail.{here}", "CNAME") is None
    assert other.zone.records()[0].value.split()[2] == str(serials[-1])
    await storage.close()
    assert serials == sorted(set(serials))


async def test_a_domain_of_this_moment_gets_no_no(env: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enroll.domains.hosted._LOOK_AGAIN_SECONDS", 0.0)
    alice = await env.relay.member()
    domain = await env.relay.domains.enroll(alice.id, "soon.test", {"hosted": True})
    name = f"_posthouse-challenge.{domain.uuid}.{ZONE}"
    assert await env.hosted.at(name, "TXT"), "a resolver would keep that answer for longer than it is true"
    assert await env.hosted.at(f"nobody.{ZONE}", "TXT") is None


async def test_a_look_that_ends_late_takes_nothing_back(env: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, read = await env.relay.member(), rows.identities
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Tx) -> list[str]:
        found = await read(tx)
        began.set()
        await may_end.wait()
        return found

    await env.relay.domains.enroll(alice.id, "one.test")
    monkeypatch.setattr(rows, "identities", slowly)
    first = asyncio.create_task(env.hosted.refresh())
    await began.wait()
    monkeypatch.undo()
    domain = await env.relay.domains.enroll(alice.id, "two.test")
    second = asyncio.create_task(env.hosted.refresh())
    await asyncio.wait({second}, timeout=0.2)
    may_end.set()
    await asyncio.gather(first, second)
    assert domain.uuid in env.hosted._known
    async with env.relay.storage.read() as tx:
        newest = (await versions.current(tx))[versions.DIRECTORY]
    assert env.hosted.zone.records()[0].value.split()[2] == str(newest)


async def test_memory_is_bounded_and_everybody_is_answered(sqlite_config: Config) -> None:
    async with hosting(sqlite_config, hosted_cache_domains=2) as env:
        alice = await env.relay.member()
        found = [await env.relay.domains.enroll(alice.id, f"d{i}.test") for i in range(4)]
        for domain in (*found, *reversed(found)):
            proof = f"posthouse-domain-verification={domain.ownership_token}"
            assert await env.texts(f"_posthouse-challenge.{domain.uuid}.{ZONE}") == [proof]
        assert len(env.hosted._kept) == 2


async def test_before_the_tables_are_read_nothing_is_denied(env: Hosting) -> None:
    env.relay.dns.zones.put(HostedZone(env.config).zone)
    assert (await env.ask(f"anything.{ZONE}")).rcode() == dns.rcode.SERVFAIL


async def test_an_alias_to_another_member_s_place_proves_nothing(env: Hosting) -> None:
    relay = env.relay
    alice, bob = await relay.member(), await relay.member("bob")
    hers = await relay.domains.enroll(alice.id, "example.test", {"hosted": True})
    his = await relay.domains.enroll(bob.id, "example.test", {"hosted": True})
    relay.publish(hers)
    his = await env.look(his)
    assert his.state == "pending"
    (proof,) = (f for f in his.findings if f["purpose"] == "ownership")
    assert (proof["ok"], proof["mistake"]) == (False, "other_domain")
    assert "belongs to another domain or another account" in proof["says"]
    assert proof["fix"] == f"_posthouse-challenge.example.test. IN CNAME _posthouse-challenge.{his.uuid}.{ZONE}."


async def test_the_export_is_the_zone(env: Hosting) -> None:
    relay = env.relay
    alice = await relay.member()
    for i in range(3):
        await relay.domains.enroll(alice.id, f"d{i}.test", {"return_path": True, "hosted": True})
    text = "".join([zone_text(page) async for page in export(relay.storage, env.config)])
    assert " SOA " in text.splitlines()[0]
    held = list(dns.zone.from_text(text, origin=ZONE, relativize=False).iterate_rdatasets())
    for name, rdataset in held:
        served = await env.ask(name.to_text(), dns.rdatatype.to_text(rdataset.rdtype))
        assert served.answer[0].to_rdataset() == rdataset
    # SOA, NS, MX, that reports may come; and for each domain proof, two keys, DMARC, return path.
    assert len(held) == 4 + 3 * 5
    report = await env.ask(f"d0.test._report._dmarc.{ZONE}")
    assert report.answer[0][0].to_text() == '"v=DMARC1"'
    assert (await env.ask(f"_report._dmarc.{ZONE}")).rcode() == dns.rcode.NOERROR


async def test_without_a_zone_nobody_is_promised_one(sqlite_config: Config) -> None:
    from tests.kit.enrolling import enrolling

    async with enrolling(sqlite_config) as relay:
        alice = await relay.member()
        with pytest.raises(EnrollError) as caught:
            await relay.domains.enroll(alice.id, "example.test", {"hosted": True})
        assert (caught.value.status, caught.value.field) == (422, "hosted")
        domain = await relay.domains.enroll(alice.id, "example.test")
        assert not any(r.alias for r in relay.domains.records(domain, "cname"))


async def test_the_spf_line_that_stands_there_is_shown_merged(env: Hosting) -> None:
    relay = env.relay
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.zone("example.test").add("example.test", "TXT", "v=spf1 mx include:other.test -all")
    domain = await env.look(domain)
    (spf,) = (r for r in relay.domains.records(domain) if r.purpose == "spf")
    assert spf.value == f"v=spf1 mx include:other.test include:{env.config.spf_host} -all"


async def test_hosts_that_mail_under_way_bears_are_answered_for_until_it_has_left(env: Hosting) -> None:
    relay = env.relay
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", {"hosted": True, "return_path": True})
    relay.publish(domain)
    domain = await env.look(domain)
    assert domain.state == "verified"

    async def stands(label: str) -> bool:
        await env.hosted.refresh()
        return (await env.ask(f"{label}.{domain.uuid}.{ZONE}", "CNAME")).rcode() == dns.rcode.NOERROR

    # Another one: both, for the former one serves until the new one is seen, and its mail comes back after that.
    domain = await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "mail"})
    assert (await stands("sl"), await stands("mail")) == (True, True)
    relay.publish(domain, only=["return_path"])
    domain = await env.look(domain)
    assert relay.world.directory.domain_of_member(alice.id, "example.test").return_path == "mail.example.test"
    assert (await stands("sl"), await stands("mail")) == (True, True)
    # Switched off: mail that bears it has not arrived yet.
    domain = await relay.domains.update(alice.id, domain.id, {"return_path": False})
    assert relay.world.directory.domain_of_member(alice.id, "example.test").return_path == ""
    assert (await stands("sl"), await stands("mail")) == (True, True)
    relay.clock.move(5 * DAY + 30 * DAY + 7 * DAY + 1)
    await relay.recheck.tick()
    assert (await stands("sl"), await stands("mail")) == (False, False)
