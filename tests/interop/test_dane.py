"""DANE (RFC 7672) with real parts: Postfix with TLS of a private authority, NSD with a signed zone, unbound, which
validates."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.dnssec
import dns.rdatatype
import dns.zone
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dns.dnssectypes import Algorithm
from sqlalchemy import select

from posthouse.doctor import examine
from posthouse.doctor.finding import Limits
from posthouse.wiring import courier
from relay.base.config import Config
from relay.base.resolver import Answer, Later, Resolver
from relay.base.storage.tables import attempts, recipients
from tests.interop.postfix import USER, postfix
from tests.interop.stage import find
from tests.interop.test_interop import need
from tests.kit.clock import HandClock
from tests.kit.line import Line
from tests.kit.ports import free_port
from tests.kit.storage import make_config
from tests.kit.world import World

UNBOUND = """
server:
  interface: 127.0.0.1
  port: {port}
  do-not-query-localhost: no
  do-daemonize: no
  use-syslog: no
  logfile: ""
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  module-config: "validator iterator"
  num-threads: 1
  do-ip6: no
  local-zone: "test." nodefault
{anchors}
remote-control:
  control-enable: no
{stubs}
"""
NSD = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  database: ""
  pidfile: "{folder}/nsd.pid"
  logfile: "{folder}/nsd.log"
  server-count: 1
remote-control:
  control-enable: no
{zones}
"""
HEAD = "@ 60 IN SOA ns.{zone}. x.{zone}. 1 60 60 60 60\n@ 60 IN NS ns.{zone}.\nns 60 IN A 127.0.0.1\n"
ZONES = ("signed.test", "bogus.test", "plain.test")
SPOILT = "b" * 64
# Domain → what becomes of a message to it: state, policy, verdict; and its exchangers: (name, address, TLSA).
EE, TA, WRONG = "{ee}", "{ta}", "3 1 1 " + "0" * 64
FAR = "at a name that is not signed"
UNUSABLE, SECURE, CLEAR = "0 1 1 " + "0" * 64, "127.0.0.1", "127.0.0.2"
CASES: dict[str, tuple[tuple[str, str, str], list[tuple[str, str, str]]]] = {
    "ee.signed.test": (("sent", "dane", "verified"), [("mx-ee", SECURE, EE)]),
    "ta.signed.test": (("sent", "dane", "verified"), [("mx-ta", SECURE, TA)]),
    "wrong.signed.test": (("deferred", "dane", "certificate-not-trusted"), [("mx-wrong", SECURE, WRONG)]),
    "a.b.signed.test": (("deferred", "dane", "certificate-host-mismatch"), [("mx.name", SECURE, TA)]),
    "second.signed.test": (("sent", "dane", "verified"), [("mx-1", SECURE, WRONG), ("mx-2", SECURE, EE)]),
    "alias.signed.test": (("sent", "dane", "verified"), [("mx-alias", "mx-ee", "")]),
    "unusable.signed.test": (("sent", "dane", "certificate-not-trusted"), [("mx-un", SECURE, UNUSABLE)]),
    "unclear.signed.test": (("deferred", "dane", "starttls-not-supported"), [("mx-unc", CLEAR, UNUSABLE)]),
    "clear.signed.test": (("deferred", "dane", "starttls-not-supported"), [("mx-clear", CLEAR, EE)]),
    "spoilt.signed.test": (("deferred", "dane", "dnssec-invalid"), [("mx-spoilt", SECURE, f"3 1 1 {SPOILT}")]),
    "without.signed.test": (("sent", "opportunistic", "starttls-not-supported"), [("mx-without", CLEAR, "")]),
    "far.signed.test": (("sent", "dane", "verified"), [("mx-far", "far.plain.test.", EE)]),
    "elsewhere.signed.test": (("sent", "opportunistic", "certificate-not-trusted"), [("mx-else", SECURE, FAR)]),
    "theirs.plain.test": (("sent", "opportunistic", "certificate-not-trusted"), []),
    "implicit.signed.test": (("sent", "dane", "verified"), [("", SECURE, EE)]),
    "bogus.test": (("deferred", "", ""), [("mx", SECURE, EE)]),
    "plain.test": (("sent", "opportunistic", "certificate-not-trusted"), [("mx", SECURE, WRONG)]),
}


@dataclass(frozen=True)
class Net:
    """What runs: the port of the exchangers, unbound's."""

    port: int
    resolver: int


def tls(folder: Path) -> dict[str, str]:
    """Postfix's certificate, with the authority in its chain; the records that name the one and the other."""
    authority = trustme.CA()
    made = authority.issue_cert("*.signed.test")
    root = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    leaf = x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes())
    (folder / "tls.pem").write_bytes(
        made.private_key_pem.bytes() + made.cert_chain_pems[0].bytes() + authority.cert_pem.bytes()
    )
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    whole = root.public_bytes(Encoding.DER)
    return {"ee": f"3 1 1 {hashlib.sha256(key).hexdigest()}", "ta": f"2 0 1 {hashlib.sha256(whole).hexdigest()}"}


def zone_text(zone: str, port: int, records: dict[str, str]) -> str:
    lines = [HEAD.format(zone=zone)]
    for domain, (_, hosts) in CASES.items():
        if not f".{domain}".endswith(f".{zone}"):
            continue
        for n, (host, address, tlsa) in enumerate(hosts):
            if host:
                lines.append(f"{domain}. 60 IN MX {n} {host}.{zone}.")
            host = f"{host}.{zone}." if host else f"{domain}."
            kind = "A" if address[0].isdigit() else "CNAME"
            lines.append(f"{host} 60 IN {kind} {address}")
            if tlsa == FAR:
                lines.append(f"_{port}._tcp.{host} 60 IN CNAME tlsa.plain.test.")
            elif tlsa:
                lines.append(f"_{port}._tcp.{host} 60 IN TLSA {tlsa.format(**records)}")
    if zone == "plain.test":
        lines += [f"tlsa 60 IN TLSA {WRONG}", f"far 60 IN A {SECURE}"]
        lines += ["theirs.plain.test. 60 IN MX 1 mx-wrong.signed.test."]
    return "\n".join(lines) + "\n"


def signed(zone: str, text: str) -> tuple[str, str]:
    """The zone, signed, and its key as an anchor."""
    parsed = dns.zone.from_text(text, origin=f"{zone}.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ECDSAP256SHA256, flags=257)
    dns.dnssec.sign_zone(zone=parsed, keys=[(key, dnskey)], lifetime=86_400)
    return parsed.to_text(), f"{zone}. DNSKEY {dnskey.to_text()}"


@contextlib.contextmanager
def daemon(port: int, *command: str) -> Iterator[None]:
    """A DNS server that answers on `port` until the block ends."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([find(command[0]) or command[0], *command[1:]], **quiet)
    try:
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < until, f"{command[0]} does not start"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    need("postfix", "nsd", "unbound")
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root")
    folder = tmp_path_factory.mktemp("dane")
    port, asked, served, nowhere = (free_port() for _ in range(4))
    records, anchors = tls(folder), []
    for zone in ZONES:
        text = zone_text(zone, port, records)
        if zone != "plain.test":
            text, anchor = signed(zone, text)
            # Of one zone unbound knows another key; in the other, one record is not what was signed.
            anchors.append(anchor if zone == "signed.test" else signed(zone, HEAD.format(zone=zone))[1])
        (folder / f"{zone}.zone").write_text(text.replace(SPOILT, "c" * 64))
    zones = "\n".join(f'zone:\n  name: "{z}"\n  zonefile: "{z}.zone"' for z in ZONES)
    stubs = "\n".join(f'stub-zone:\n  name: "{z}"\n  stub-addr: 127.0.0.1@{served}' for z in ZONES)
    trusted = "\n".join(f'  trust-anchor: "{a}"' for a in anchors)
    (folder / "nsd.conf").write_text(NSD.format(port=served, folder=folder, zones=zones))
    (folder / "unbound.conf").write_text(UNBOUND.format(port=asked, folder=folder, anchors=trusted, stubs=stubs))
    main = (
        f"mydestination = {', '.join(CASES)}\n"
        f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {folder}/tls.pem\n"
    )
    master = (
        f"{CLEAR}:{port} inet n - n - - smtpd -o smtpd_tls_security_level=none\n"
        "tlsmgr unix - - n 1000? 1 tlsmgr\n"
    )
    with (
        daemon(served, "nsd", "-d", "-c", str(folder / "nsd.conf")),
        daemon(asked, "unbound", "-d", "-c", str(folder / "unbound.conf")),
        postfix("mail.test", "also.test", port, nowhere, main=main, master=master),
    ):
        yield Net(port, asked)


def configured(config: Config, net: Net, **dnssec: str) -> Config:
    return make_config(
        config.server.data_dir, config.database.url,
        dns={"resolvers": [f"127.0.0.1:{net.resolver}"], "dnssec": "trust-ad"} | dnssec,
        delivery={"port": net.port, "allow_private_networks": True, "ipv6": False, "schedule_seconds": [3600.0]},
        mta_sts={"enabled": False},
    )


async def delivered(config: Config, domains: list[str], **more: bool) -> dict[str, tuple[str, str, str]]:
    """Domain → state, policy and verdict of the last try at a message to it."""
    world = await World.make(config)
    carries = courier(world.core, random.Random(1))
    way = Line(world, None, carries, None)  # type: ignore[arg-type]
    try:
        alice = await world.member()
        await world.domain(alice)
        for domain in domains:
            await world.submit(alice, f"{USER}@{domain}", **more)
        way.start()
        await way.settle(len(domains))
        query = select(
            recipients.c.destination, recipients.c.state, attempts.c.tls_policy, attempts.c.tls_verdict, attempts.c.says
        ).join(attempts, attempts.c.recipient_id == recipients.c.id)
        async with world.storage.read() as tx:
            return {r[0]: (r[1], r[2], r[3]) for r in await tx.execute(query)}
    finally:
        await way.stop()
        await carries.close()
        await world.close()


async def test_each_record_is_held_to_and_nothing_goes_below(sqlite_config: Config, net: Net) -> None:
    found = await delivered(configured(sqlite_config, net), list(CASES))
    assert found == {domain: expected for domain, (expected, _) in CASES.items()}


async def test_without_a_trusted_resolver_there_is_no_dane(sqlite_config: Config, net: Net) -> None:
    found = await delivered(configured(sqlite_config, net, dnssec="off"), ["wrong.signed.test"])
    assert found == {"wrong.signed.test": ("sent", "opportunistic", "certificate-not-trusted")}


async def test_a_host_that_knows_no_requiretls_gets_no_such_mail(sqlite_config: Config, net: Net) -> None:
    found = await delivered(configured(sqlite_config, net), ["ee.signed.test"], require_tls=True)
    assert found == {"ee.signed.test": ("bounced", "requiretls", "requiretls")}


async def test_what_is_validated_is_told_apart(net: Net) -> None:
    async with Resolver([f"127.0.0.1:{net.resolver}"], trust_ad=True) as asks:
        alias, plain = await asks.addresses("mx-alias.signed.test"), await asks.addresses("mx.plain.test")
        assert isinstance(alias, Answer)
        assert isinstance(plain, Answer)
        assert (alias.authentic, alias.cname_chain, plain.authentic) == (True, ("mx-ee.signed.test",), False)
        nothing = await asks.tlsa(f"_{net.port}._tcp.mx-without.signed.test")
        assert getattr(nothing, "authentic", None) is True
        assert isinstance(await asks.mx("bogus.test"), Later)
    async with Resolver([f"127.0.0.1:{net.resolver}"]) as asks:
        alias = await asks.addresses("mx-alias.signed.test")
        assert isinstance(alias, Answer)
        assert not alias.authentic, "the resolver's word is not asked for"


@pytest.mark.parametrize(
    ("signed", "bogus", "status"),
    [("signed.test", "mx.bogus.test", "ok"), ("plain.test", "mx.bogus.test", "fail"),
     ("signed.test", "mx.plain.test", "fail")],
)  # fmt: skip
async def test_the_doctor_sees_whether_it_validates(
    sqlite_config: Config, net: Net, signed: str, bogus: str, status: str
) -> None:
    config = configured(sqlite_config, net)
    config = config.model_copy(update={"server": config.server.model_copy(update={"hostname": "relay.example.net"})})
    limits = Limits(dnssec_signed=signed, dnssec_bogus=bogus)
    [found] = await examine(config, only=["dnssec"], limits=limits, clock=HandClock())
    assert found.status == status, found
