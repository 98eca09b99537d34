"""The nine steps on a whole relay: a member's zone in NSD, unbound between, the code read from the sandbox mailbox.

The client publishes every record as a CNAME and reads only `hostName` and `value`. What is missing on this machine
skips the test; where CI=true the programs must be there.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from posthouse.demo.folder import HOST, Ports, configuration, demo_zones
from posthouse.serve import Node
from tests.interop.test_hosted_dns import NSD, UNBOUND, daemon, dig
from tests.interop.test_interop import need
from tests.kit.ports import free_port
from tests.wix.conftest import ACTUAL, DETAILS, DOMAINS, EMAILS

MEMBER, ADDRESS = "shop.test", "news@shop.test"
NAME_SERVER = "127.0.0.2"  # the port is the relay's own server's, so the address is another
_ZONE = """\
$ORIGIN {zone}.
$TTL 1
@ IN SOA ns hostmaster 1 3600 600 86400 1
@ IN NS ns
@ IN MX 10 mx.sandbox.test.
ns IN A {server}
{records}
"""
_STUB = """
stub-zone:
  name: "{zone}."
  stub-addr: {server}@{port}
"""


async def test_nine_steps_from_an_address_to_authenticated(tmp_path: Path) -> None:
    need("dig", "unbound", "nsd")
    ports, resolver = Ports.from_base(0), free_port()
    config = configuration(ports, tmp_path / "data", quiet=True)
    dns = config.dns.model_copy(update={"resolvers": [f"{HOST}:{resolver}"]})
    (tmp_path / "unbound.conf").write_text(
        UNBOUND.format(port=resolver, folder=tmp_path, upstream=ports.dns)
        + _STUB.format(zone=MEMBER, server=NAME_SERVER, port=ports.dns)
    )
    (tmp_path / "nsd.conf").write_text(
        NSD.format(port=ports.dns, folder=tmp_path, zone=MEMBER).replace(HOST, NAME_SERVER)
    )
    zone = tmp_path / f"{MEMBER}.zone"

    def publish(records: str = "") -> None:
        zone.write_text(_ZONE.format(zone=MEMBER, server=NAME_SERVER, records=records))

    def name_server() -> Any:
        return daemon(ports.dns, "nsd", "-d", "-c", str(tmp_path / "nsd.conf"))

    async def until_served(name: str, type: str) -> None:
        async with asyncio.timeout(20):
            while not (await dig(resolver, "+short", "+tries=3", name, type)).strip():
                pass

    publish()
    node = await Node.start(config.model_copy(update={"dns": dns}), zones=demo_zones())
    try:
        accounts, keys = node.core.enroll.accounts, node.core.enroll.credentials
        member = await accounts.create("shop", "owner@shop.test", None, by_operator=True)
        key, _ = await keys.issue(member.id, description="shop")
        async with (
            ClientSession(headers={"Authorization": key}) as http,
            daemon(resolver, "unbound", "-d", "-p", "-c", str(tmp_path / "unbound.conf")),
        ):

            async def ask(method: str, path: str, json: Any = None) -> Any:
                async with http.request(method, f"http://{HOST}:{ports.http}{path}", json=json) as answer:
                    body = await answer.json()
                    assert answer.status == 200, body
                    return body

            async with name_server():
                await until_served(MEMBER, "MX")
                # 1–3: the address, the code, the proof.
                email = (await ask("POST", EMAILS, {"senderEmail": {"emailAddress": ADDRESS}}))["senderEmail"]
                assert email["verified"] is False
                await ask("POST", f"{EMAILS}/{email['id']}/send-verification-code")
                assert node.mailbox is not None
                async with asyncio.timeout(20):
                    kept = await node.mailbox.wait_for(lambda k: ADDRESS in k.received.rcpt_to)
                code = re.search(rb"^ {4}(\d{6})\r?$", kept.received.raw, re.MULTILINE)
                assert code
                await ask("POST", f"{EMAILS}/{email['id']}/verify", {"verificationCode": code[1].decode()})
                # 4–5: the sender, and the domain that appears.
                sender = {"fromName": "The Shop", "fromEmailAddress": ADDRESS}
                assert (await ask("POST", DETAILS, {"senderDetails": sender}))["senderDetails"]["default"]
                query = {"query": {"filter": {"domain": MEMBER}}}
                async with asyncio.timeout(20):
                    while True:
                        (domain,) = (await ask("POST", f"{DOMAINS}/query", query))["sendingDomains"]
                        if domain["status"] != "INITIALIZING":
                            break
                        assert domain["dnsRecords"] == []
            # 6: every record as a CNAME.
            records = [(r["hostName"], r["value"]) for r in domain["dnsRecords"]]
            assert len(records) == 4
            publish("\n".join(f"{host}. IN CNAME {value}." for host, value in records))
            async with name_server():
                # 7: they spread.
                for host, value in records:
                    await until_served(host, "CNAME")
                    assert (await dig(resolver, "+short", host, "CNAME")).strip() == f"{value}."
                # 8–9: the look, and what it left.
                path = f"{DOMAINS}/{domain['id']}"
                assert (await ask("POST", f"{path}/authenticate"))["sendingDomain"]["status"] == "AUTHENTICATED"
                assert (await ask("GET", path))["sendingDomain"]["status"] == "AUTHENTICATED"
                assert await ask("POST", ACTUAL, {"fromAddress": ADDRESS}) == {"actualFromAddress": ADDRESS}
                # What stands behind them: from our own zone over UDP and TCP, and to a resolver at the member's name.
                texts = [(host, value) for host, value in records if "_" in host]
                assert len(texts) == 3
                for host, value in texts:
                    direct = [await dig(ports.dns, way, "+short", value, "TXT") for way in ("+notcp", "+tcp")]
                    assert direct[0] == direct[1]
                    assert direct[0].startswith('"')
                    assert (await dig(resolver, "+short", host, "TXT")).splitlines()[1:] == direct[0].splitlines()
                (path_host,) = (host for host, _ in records if "_" not in host)
                assert "relay.test." in await dig(resolver, "+short", path_host, "MX")
    finally:
        await node.stop()
