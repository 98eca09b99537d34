"""The doctor: what is wrong is named with its cure, what is well stays quiet, what can't be asked stops nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from enroll.zone import DnsServer, Zone, Zones
from posthouse import own_tls
from posthouse.doctor import FAIL, OK, WARN, Finding, Limits, examine
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.intake import Accepted
from tests.kit.clock import HandClock
from tests.kit.dns import make_zone, world
from tests.kit.storage import made, make_config
from tests.kit.world import World

HOST = "mail.posthouse.dev"
GOOD = [
    (HOST, "A", "192.0.2.10"), (f"bounce.{HOST}", "A", "192.0.2.10"), (f"track.{HOST}", "A", "192.0.2.10"),
    (f"spf.{HOST}", "TXT", "v=spf1 ip4:192.0.2.0/28 -all"),
    (f"bounce.{HOST}", "TXT", f"v=spf1 redirect=spf.{HOST}"), (HOST, "TXT", f"v=spf1 a:{HOST} -all"),
]
REVERSE = ("2.0.192.in-addr.arpa", [("10.2.0.192.in-addr.arpa", "PTR", f"{HOST}.")])


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {f.name: f for f in found}


def public(folder: Path) -> Config:
    return make_config(folder, server={"hostname": HOST})


async def test_a_relay_that_is_only_tried_out_is_well(sqlite_config: Config) -> None:
    Vault.make(sqlite_config.master_key_path)
    await made(sqlite_config)
    async with world(open_world=True) as dns:
        found = await examine(sqlite_config, resolver=dns.resolver)
    assert not [f for f in found if f.status == FAIL]
    seen = by_name(found)
    assert seen["database"].status == seen["secrets"].status == seen["resolver"].status == OK
    assert seen["port 25 out"].saw.startswith("not checked")


async def test_names_reverse_names_and_spf_that_are_right(tmp_path: Path) -> None:
    async with world([make_zone("posthouse.dev", GOOD), make_zone(*REVERSE)], open_world=True) as dns:
        found = await examine(public(tmp_path), only=["names", "ptr", "spf", "resolver"], resolver=dns.resolver)
    assert {f.status for f in found} == {OK}, found
    assert by_name(found)["ptr"].saw == f"192.0.2.10 is {HOST}, and back"


async def test_a_name_that_serves_twice_is_looked_at_once(tmp_path: Path) -> None:
    config = public(tmp_path)
    assert config.mx_host == config.server.hostname
    async with world([make_zone("posthouse.dev", GOOD)], open_world=True) as dns:
        found = await examine(config, only=["names"], resolver=dns.resolver)
    assert [f.name for f in found].count(f"name {HOST}") == 1
    assert "reply forwarding" in by_name(found)[f"name {HOST}"].saw


async def test_names_reverse_names_and_spf_that_are_wrong_come_with_the_record_to_publish(tmp_path: Path) -> None:
    records = [(HOST, "A", "192.0.2.10"), (f"spf.{HOST}", "TXT", "v=spf1 ip4:198.51.100.1 -all")]
    reverse = make_zone(REVERSE[0], [("10.2.0.192.in-addr.arpa", "PTR", "host10.provider.test.")])
    async with world([make_zone("posthouse.dev", records), reverse], open_world=True) as dns:
        found = by_name(await examine(public(tmp_path), only=["names", "ptr", "spf"], resolver=dns.resolver))
    assert found[f"name bounce.{HOST}"].status == WARN
    assert found["ptr"].status == WARN
    assert f"set the reverse name of 192.0.2.10 to {HOST}" in found["ptr"].fix
    spf = found[f"spf spf.{HOST}"]
    assert (spf.status, spf.saw) == (FAIL, "does not allow 192.0.2.10")
    assert spf.fix == f'spf.{HOST}. TXT "v=spf1 ip4:192.0.2.10 -all"'


async def test_a_resolver_that_lies_or_is_silent(tmp_path: Path) -> None:
    async def lie(name: str, _type: str) -> list:
        from enroll.zone import ZoneRecord

        return [ZoneRecord(name, "A", "192.0.2.99", 60)]

    async with world([make_zone("invalid", source=lie)], open_world=True) as dns:
        (found,) = await examine(public(tmp_path), only=["resolver"], resolver=dns.resolver)
    assert found.status == FAIL
    assert "false answers" in found.saw
    async with world() as dns:
        dns.faults.set("*", "servfail")
        (silent,) = await examine(public(tmp_path), only=["resolver"], resolver=dns.resolver)
    assert silent.status == FAIL
    assert "dns.resolvers" in silent.fix


async def test_mail_that_nobody_delivers(tmp_path: Path) -> None:
    clock = HandClock()
    made = await World.make(make_config(tmp_path), clock)
    try:
        member = await made.member()
        await made.domain(member)
        assert isinstance(await made.submit(member, "one@sink.test"), Accepted)
        only = ["queue", "workers", "clock"]
        async with world() as dns:
            fresh = by_name(await examine(made.config, only=only, clock=clock, resolver=dns.resolver))
            clock.move(Limits().overdue_fail + 1)
            late = by_name(await examine(made.config, only=only, clock=clock, resolver=dns.resolver))
            clock.jump(-10_000)
            early = by_name(await examine(made.config, only=only, clock=clock, resolver=dns.resolver))
    finally:
        await made.close()
    assert fresh["queue"].status == OK
    assert (late["queue"].status, late["workers"].status) == (FAIL, WARN)
    assert "posthouse serve" in late["queue"].fix
    assert "recheck" in late["workers"].saw
    assert early["clock"].status == FAIL


async def test_the_running_process_s_own_tasks(sqlite_config: Config) -> None:
    async with world() as dns:
        (well,) = await examine(sqlite_config, only=["workers"], resolver=dns.resolver, tasks={"delivery": ""})
        (failing,) = await examine(
            sqlite_config, only=["workers"], resolver=dns.resolver, tasks={"delivery": "died (OSError)"}
        )
    assert well.status == OK
    assert (failing.status, failing.saw) == (FAIL, "delivery: died (OSError)")


async def test_a_database_that_is_not_there_or_broken(sqlite_config: Config, tmp_path: Path) -> None:
    async with world() as dns:
        (missing,) = await examine(sqlite_config, only=["database"], resolver=dns.resolver)
        assert missing.status == FAIL
        assert not (tmp_path / "posthouse.db").exists()
        await made(sqlite_config)
        (well,) = await examine(sqlite_config, only=["database"], resolver=dns.resolver)
        content = bytearray((tmp_path / "posthouse.db").read_bytes())
        content[8192:40960] = b"\xff" * (40960 - 8192)
        (tmp_path / "posthouse.db").write_bytes(content)
        (broken,) = await examine(sqlite_config, only=["database"], resolver=dns.resolver)
    assert well.status == OK
    assert broken.status == FAIL
    assert broken.fix


async def test_keys_that_others_can_read(sqlite_config: Config) -> None:
    Vault.make(sqlite_config.master_key_path)
    sqlite_config.master_key_path.chmod(0o644)
    async with world() as dns:
        (found,) = await examine(sqlite_config, only=["secrets"], resolver=dns.resolver)
    assert found.status == FAIL
    assert found.fix == f"chmod 600 {sqlite_config.master_key_path}"


async def test_port_25(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 out.test ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    zone = make_zone("out.test", [("smart.out.test", "A", "127.0.0.1")])
    async with world([zone]) as dns:
        config = make_config(tmp_path, delivery={"smarthost": f"smart.out.test:{port}"})
        (open_,) = await examine(config, only=["port 25 out"], resolver=dns.resolver)
        server.close()
        await server.wait_closed()
        (closed,) = await examine(config, only=["port 25 out"], resolver=dns.resolver)
    assert open_.status == OK
    assert closed.status == FAIL
    assert "smarthost" in closed.fix


async def test_one_that_takes_too_long_stops_no_other(sqlite_config: Config) -> None:
    limits = Limits(seconds=0.05)
    async with world() as dns:
        dns.faults.set("*", "drop")
        found = by_name(
            await examine(sqlite_config, only=["resolver", "disk"], resolver=dns.resolver, limits=limits)
        )
    assert found["resolver"].saw == "not done within 0.05 s"
    assert found["disk"].status in (OK, WARN)
    with pytest.raises(ValueError, match="no check"):
        await examine(sqlite_config, only=["pulse"])


async def test_storage_that_was_handed_in_stays_open(sqlite_config: Config) -> None:
    await made(sqlite_config)
    storage = await Storage.open(sqlite_config)
    async with world() as dns:
        await examine(sqlite_config, only=["database"], storage=storage, resolver=dns.resolver, clock=Clock())
    async with storage.read():
        pass
    await storage.close()


async def test_the_hosted_zone_is_delegated_to_us_and_answered_over_udp_and_tcp(tmp_path: Path) -> None:
    zone, server = f"hosted.{HOST}", "ns.posthouse.dev"
    config = make_config(tmp_path, server={"hostname": HOST}, dns={"hosted_zone": zone, "hosted_servers": [server]})
    parent = make_zone("posthouse.dev", [*GOOD, (server, "A", "127.0.0.1")])
    ours = Zone(zone, ns=[server])

    async def look(*zones: Zone) -> list[Finding]:
        async with world(zones, open_world=False, timeout_seconds=1.0) as dns:
            return await examine(config, only=["hosted zone"], resolver=dns.resolver)

    (well,) = await look(parent, ours)
    assert (well.status, well.saw) == (OK, f"127.0.0.1 answers for {zone} over UDP and TCP")
    (nobody,) = await look(parent)
    assert nobody.status == FAIL
    assert nobody.fix == f"{zone}. NS {server}., in the zone above {zone}"
    foreign, silent = await look(parent, Zone(zone, ns=["ns.elsewhere.test"]))
    assert (foreign.status, foreign.saw) == (
        FAIL, f"{zone} is served by ns.elsewhere.test, not by {server} (dns.hosted_servers)"
    )
    assert silent.name == "hosted zone at ns.elsewhere.test"
    # Delegated as it should be, but the server there knows nothing of it.
    delegating = make_zone("posthouse.dev", [*GOOD, (server, "A", "127.0.0.1")])
    async with world([delegating, ours], open_world=False) as dns, DnsServer(
        Zones(delegating), "127.0.0.2", dns.server.port
    ):
        delegating.replace(server, "A", "127.0.0.2")
        (lame,) = await examine(config, only=["hosted zone"], resolver=dns.resolver)
    assert lame.status == FAIL
    assert "127.0.0.2 does not answer" in lame.saw
    assert "udp: NXDOMAIN; tcp: NXDOMAIN" in lame.saw
    async with world([parent], open_world=False) as dns:
        assert not await examine(public(tmp_path), only=["hosted zone"], resolver=dns.resolver), "where there is none"


async def test_what_the_relay_s_own_names_say_about_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert = tmp_path / "cert.pem"
    authority.issue_cert(HOST).cert_chain_pems[0].write_to_path(str(cert))
    config = make_config(
        tmp_path, server={"hostname": HOST, "operator_email": "op@posthouse.dev"}, tls={"cert_file": str(cert)},
        signing={"pool_domain": "posthouse.dev", "pool_key_file": "key.pem"}, delivery={"allow_private_networks": True},
    )
    key = "v=DKIM1; k=rsa; p=AAAA"
    selector = "posthouse._domainkey.posthouse.dev"
    async with world([make_zone("posthouse.dev", [*GOOD, (selector, "TXT", key)])], open_world=True) as dns:

        async def look() -> dict[str, tuple[str, str]]:
            found = await examine(config, only=["inbound tls"], resolver=dns.other_resolver(cache_entries=0))
            return {f.name: (f.status, f.fix) for f in found}

        seen = await look()
        assert {status for status, _ in seen.values()} == {OK}, seen
        lines = {line.name: line for line in own_tls.lines(config)}
        tlsa = lines[f"_25._tcp.{HOST}"]
        dns.zones.add(tlsa.name, "TLSA", tlsa.value)
        dns.zones.add(f"_smtp._tls.{HOST}", "TXT", lines[f"_smtp._tls.{HOST}"].value)
        assert {status for status, _ in (await look()).values()} == {OK}
        dns.zones.replace(tlsa.name, "TLSA", ["3 1 1 " + "0" * 64])
        dns.zones.replace(f"_smtp._tls.{HOST}", "TXT", ["v=TLSRPTv1; rua=op@posthouse.dev"])
        dns.zones.add(f"_mta-sts.{HOST}", "TXT", "v=STSv1; id=not-one;")
        dns.zones.add(f"_mta-sts.bounce.{HOST}", "TXT", "v=STSv1; id=a;")
        dns.zones.replace(selector, "TXT", [f"{key}; s=email"])
        seen = await look()
    assert seen["inbound tlsa"] == (FAIL, tlsa.text)
    assert seen[f"inbound tlsrpt {HOST}"][0] == WARN
    assert seen[f"inbound mta-sts {HOST}"][0] == FAIL, "its record can't be read"
    assert seen[f"inbound mta-sts bounce.{HOST}"][0] == FAIL, "its policy can't be fetched"
    assert seen["tls reports"][0] == FAIL


async def test_a_resolver_that_does_not_validate_is_not_to_be_trusted(tmp_path: Path) -> None:
    async with world([make_zone("posthouse.dev", GOOD)], open_world=True) as dns:
        asked = {"resolvers": [f"127.0.0.1:{dns.server.port}"], "dnssec": "trust-ad"}
        config = make_config(tmp_path, server={"hostname": HOST}, dns=asked)
        [found] = await examine(config, only=["dnssec"], limits=Limits(dnssec_signed="posthouse.dev"))
        assert (found.status, "does not validate" in found.saw) == (FAIL, True)
        [found] = await examine(public(tmp_path), only=["dnssec"], resolver=dns.resolver)
        assert (found.status, found.saw) == (OK, "off: DANE is not used when delivering")
