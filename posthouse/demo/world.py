"""The demo's DNS: the relay's own names, `demo.test`, and one mail exchanger for every other domain there is."""

from __future__ import annotations

from collections.abc import Sequence

from enroll.zone import Zone, ZoneRecord, Zones
from posthouse.demo.folder import HOST, HOSTNAME, REPORTER

DOMAIN = "demo.test"
SANDBOX = "sandbox.test"
# Where the owner of the domain reads mail.
OWNER = f"owner@{SANDBOX}"
EXCHANGER = f"mx.{SANDBOX}"
_SERVER = f"ns.{HOSTNAME}"


def demo_zones() -> Zones:
    """The zones at the start; the walk publishes the records of `demo.test` into its zone."""
    relay = Zone(HOSTNAME, ns=(_SERVER,))
    for name in (HOSTNAME, _SERVER, f"bounce.{HOSTNAME}", f"track.{HOSTNAME}"):
        relay.add(name, "A", HOST)
    relay.add(f"spf.{HOSTNAME}", "TXT", f"v=spf1 ip4:{HOST} -all")
    relay.add(f"bounce.{HOSTNAME}", "MX", f"10 {HOSTNAME}.")
    relay.add(f"bounce.{HOSTNAME}", "TXT", f"v=spf1 include:spf.{HOSTNAME} -all")
    relay.add(HOSTNAME, "TXT", f"v=spf1 include:spf.{HOSTNAME} -all")
    # The sandbox reports bounces and complaints about everybody's mail: it shows by this who it is.
    relay.add(REPORTER, "TXT", f"v=spf1 ip4:{HOST} -all")
    sandbox = Zone(SANDBOX, ns=(_SERVER,))
    sandbox.add(EXCHANGER, "A", HOST)
    sandbox.add(SANDBOX, "MX", f"10 {EXCHANGER}.")
    return Zones(relay, sandbox, Zone(DOMAIN, ns=(_SERVER,)), Zone("", ns=(_SERVER,), source=_everybody))


async def _everybody(name: str, _type: str) -> Sequence[ZoneRecord] | None:
    """Every other name has the sandbox as its exchanger, so nothing leaves this machine; `.invalid` stays empty
    (RFC 6761 §6.4), for a bounce to look at."""
    if name == "" or name == "invalid" or name.endswith(".invalid"):
        return None if name else ()
    return [ZoneRecord(name, "MX", f"10 {EXCHANGER}.", 60)]
