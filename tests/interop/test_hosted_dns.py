"""The hosted zone, asked with dig, resolved by unbound, loaded into NSD; served by a process of the role dns alone.

What is missing on this machine skips the tests that need it; where CI=true the programs must be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from relay.base.config import Config
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from tests.interop.stage import find
from tests.interop.test_interop import need
from tests.kit.hosting import ZONE, hosting
from tests.kit.ports import free_port
from tests.kit.served import Town
from tests.kit.storage import PostgresServer

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
  module-config: "iterator"
  num-threads: 1
  do-ip6: no
  local-zone: "test." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: 127.0.0.1@{upstream}
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
zone:
  name: "{zone}"
  zonefile: "{zone}.zone"
"""


async def dig(port: int, *asked: str) -> str:
    """What dig prints."""
    return await run("dig", "@127.0.0.1", "-p", str(port), "+time=2", "+tries=1", *asked)


async def run(program: str, *arguments: str) -> str:
    """The output of a program that must end well."""
    process = await asyncio.create_subprocess_exec(
        find(program) or program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()
    return out.decode()


@contextlib.asynccontextmanager
async def daemon(port: int, *command: str) -> AsyncIterator[None]:
    """A DNS server that answers on `port` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        find(command[0]) or command[0], *command[1:], stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_a_process_of_its_own_answers_dig_and_sees_another_machine_s_change(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    need("dig")
    settings = {
        "ROLES": "dns", "DNS__LISTEN": '["127.0.0.1:0"]', "DNS__HOSTED_ZONE": ZONE,
        "DNS__HOSTED_SERVERS": '["ns.relay.test"]', "DATABASE__SNAPSHOT_SECONDS": "0.2",
    }
    async with Town.made(tmp_path, postgres.url()) as town:
        storage = await Storage.open(town.config)
        try:
            async with storage.read() as tx:
                (row,) = await rows.named(tx, "example.test")
                (pair,) = (await rows.pairs(tx, [row.id]))[row.id]
            here, key = f"{row.uuid}.{ZONE}", f"{pair.stem}r._domainkey.{row.uuid}.{ZONE}"
            async with town.serve(**settings) as node:
                port = int(next(line for line in node.lines if line["event"] == "node.started")["dns"][0])
                for way in ("+notcp", "+tcp"):
                    said = await dig(port, way, key, "TXT")
                    assert "flags: qr aa rd;" in said
                    assert re.sub(r'" "', "", said).count(pair.rsa_txt) == 1
                assert "status: NXDOMAIN" in await dig(port, f"nope.{here}", "TXT")
                nodata = await dig(port, here, "TXT")
                assert "status: NOERROR" in nodata
                assert "ANSWER: 0, AUTHORITY: 1" in nodata
                assert "RFC8482" in await dig(port, key, "ANY")
                assert "status: REFUSED" in await dig(port, "example.com", "A")
                assert "Transfer failed" in await dig(port, ZONE, "AXFR")

                async def renew(tx: Tx) -> None:
                    await rows.change(tx, row.id, ownership_token="another")
                    await versions.bump(tx, versions.DIRECTORY)

                await storage.write(renew)
                async with asyncio.timeout(10):
                    while "another" not in await dig(port, "+short", f"_posthouse-challenge.{here}", "TXT"):
                        pass
                assert await node.stop() == 0
        finally:
            await storage.close()


async def test_a_rotation_is_seen_by_a_resolver_while_the_owner_s_zone_stays_as_it_is(
    sqlite_config: Config, tmp_path: Path
) -> None:
    need("dig", "unbound")
    async with hosting(sqlite_config) as env:
        relay, port = env.relay, free_port()
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, "example.test", {"hosted": True})
        relay.publish(domain)
        assert (await env.look(domain)).state == "verified"
        conf = tmp_path / "unbound.conf"
        conf.write_text(UNBOUND.format(port=port, folder=tmp_path, upstream=relay.dns.server.port))
        async with daemon(port, "unbound", "-d", "-p", "-c", str(conf)):

            async def key(stem: str) -> str:
                said = await dig(port, "+short", f"{stem}r._domainkey.example.test", "TXT")
                assert said.startswith(f"{stem}r._domainkey.{domain.uuid}.{ZONE}."), said
                return "".join(re.findall(r'"([^"]*)"', said))

            (first,) = domain.keys
            assert await key(first.stem) == first.rsa_txt
            domain = await relay.domains.rotate(alice.id, domain.id)
            await env.hosted.refresh()
            second = domain.next_pair
            assert await key(second.stem) == second.rsa_txt, "before anything is signed with it"
            domain = await env.look(domain, after=600)
            assert domain.signing_pair.stem == second.stem
            assert await key(first.stem) == first.rsa_txt, "and what is under way can still be checked"


async def test_the_export_loads_into_nsd_which_answers_as_we_do(sqlite_config: Config, tmp_path: Path) -> None:
    need("dig", "nsd", "nsd-checkzone")
    file = tmp_path / f"{ZONE}.zone"
    async with hosting(sqlite_config) as env:
        relay, port = env.relay, free_port()
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, "example.test", {"return_path": True})
        toml = tmp_path / "posthouse.toml"
        toml.write_text(
            f'[server]\ndata_dir = "{tmp_path}"\n[database]\nurl = "{env.config.database.url}"\n'
            f'[dns]\nhosted_zone = "{ZONE}"\nhosted_servers = ["ns.relay.test"]\n'
        )
        command = ("-c", "from posthouse.cli import main; main()", "--config", str(toml), "--json", "zone", "export")
        shown = json.loads((await run(sys.executable, *command, "--output", str(file))).splitlines()[-1])
        assert shown == {"zone": ZONE, "records": 9, "file": str(file)}
        assert "is ok" in await run("nsd-checkzone", ZONE, str(file))
        conf = tmp_path / "nsd.conf"
        conf.write_text(NSD.format(port=port, folder=tmp_path, zone=ZONE))
        async with daemon(port, "nsd", "-d", "-c", str(conf)):
            for name, type in (
                (f"_posthouse-challenge.{domain.uuid}.{ZONE}", "TXT"), (f"sl.{domain.uuid}.{ZONE}", "CNAME"),
                (f"{domain.keys[0].stem}r._domainkey.{domain.uuid}.{ZONE}", "TXT"), (ZONE, "SOA"), (ZONE, "NS"),
            ):
                await env.hosted.refresh()
                theirs = await dig(port, "+short", name, type)
                assert theirs.strip()
                assert theirs == await dig(relay.dns.server.port, "+short", name, type)
