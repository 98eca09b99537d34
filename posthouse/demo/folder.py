"""Where the demo lives: its ports, its configuration and its DNS."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from enroll.zone import Zone, ZoneRecord, Zones
from relay.base.config import Config

HOST = "127.0.0.1"
HOSTNAME = "relay.test"
REPORTER = f"sandbox.{HOSTNAME}"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports, all on loopback. `dns` is UDP and TCP."""

    dns: int = 1053
    submission: int = 2587
    submission_tls: int = 2465
    http: int = 8080
    sandbox: int = 2526
    inbound: int = 2525
    webhook: int = 2527

    @classmethod
    def from_base(cls, base: int | None) -> Ports:
        """The usual ones (None), seven in a row from `base`, or (0) free ones. Raises OSError."""
        if base is None:
            return cls()
        return cls(*_free(7)) if base == 0 else cls(*range(base, base + 7))


def _free(count: int) -> list[int]:
    """Ports that are free for TCP and UDP at this moment."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((HOST, 0))
            port = tcp.getsockname()[1]
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                udp.bind((HOST, port))
            except OSError:
                continue
            found.append(port)
    return found


def configuration(ports: Ports, data: Path, *, quiet: bool) -> Config:
    """The demo's configuration: every role, everything on loopback, retries in seconds instead of hours."""
    return Config.model_validate(
        {
            "roles": ["submission", "inbound", "http", "delivery", "recheck", "webhooks", "dns", "sandbox"],
            "server": {
                "hostname": HOSTNAME, "public_url": f"http://{HOST}:{ports.http}", "data_dir": data,
                "shutdown_seconds": 5,
            },
            "submission": {
                "listen": [f"{HOST}:{ports.submission}"], "listen_tls": [f"{HOST}:{ports.submission_tls}"],
            },
            "inbound": {"listen": [f"{HOST}:{ports.inbound}"], "reporters": [REPORTER]},
            "http": {"listen": [f"{HOST}:{ports.http}"]},
            "dns": {
                "listen": [f"{HOST}:{ports.dns}"], "resolvers": [f"{HOST}:{ports.dns}"],
                "authoritative_port": ports.dns, "timeout_seconds": 2, "lifetime_seconds": 5,
                "hosted_zone": f"hosted.{HOSTNAME}", "hosted_servers": [f"ns.{HOSTNAME}"],
                "answers_a_second": 10_000, "max_connections_an_address": 100,
            },
            "delivery": {
                "port": ports.sandbox, "allow_private_networks": True, "ipv6": False, "poll_seconds": 0.5,
                "schedule_seconds": [2, 5, 10, 20, 30], "greylist_seconds": 5, "max_age_seconds": 600,
                "delay_notice_seconds": 60, "connect_timeout_seconds": 5,
            },
            "enrollment": {"signup": "open", "verify_cache_seconds": 2, "recheck_pending_seconds": 5},
            # What arrived may be looked at for a while in a demo.
            "retention": {"bodies_days": 1},
            "webhooks": {
                "allow_private_networks": True, "poll_seconds": 0.5, "retry_seconds": [2, 5, 10, 20, 30],
            },
            "standing": {"exempt_domains": ["sandbox.test"]},
            "sandbox": {"enabled": True, "listen": f"{HOST}:{ports.sandbox}", "answer_seconds": 0.3},
            "log": {"level": "error" if quiet else "warning", "format": "json" if quiet else "console"},
        }
    )


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
