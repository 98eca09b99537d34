"""Carrying one recipient's copy: route, return path, the header that names it, conversation. Nothing here touches
storage.

VERP: every recipient has a return path of its own, so each goes in a transaction of its own. Requests about reports
(RFC 3461 §5.2.1) go on to a host that offers DSN; what it reports comes back to that return path.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable
from dataclasses import replace

from relay.base.config import Config
from relay.base.secrets import Vault
from relay.bounces import address as return_paths
from relay.bounces import header
from relay.delivery.client import Credentials, Limits, Transaction
from relay.delivery.pacing import Visit
from relay.delivery.policies import Policies
from relay.delivery.pool import Pool, PoolSettings
from relay.delivery.route import NO_POLICIES, AsksDns, OwnAddresses, Route, RouteSettings, Smarthost, route
from relay.delivery.sites import SiteTable
from relay.delivery.tls_counts import SessionCounts
from relay.delivery.tls_policy import Contexts, TlsLevel, TlsPolicy
from relay.outcome import Outcome
from relay.queue import Ready

_ROUTE_SECONDS = 1.0
_ROUTES = 1000


class Courier:
    """Routes and conversations for all lanes of a process."""

    def __init__(
        self, *, resolver: AsksDns, vault: Vault, config: Config, monotonic: Callable[[], float], rng: random.Random,
        takes_in: Callable[[str], bool] = lambda domain: False, policies: Policies | None = None,
        counts: SessionCounts | None = None, now: Callable[[], float] = time.time,
    ) -> None:
        """`policies`: of the recipients' domains; `counts`: hears of every TLS session; both are closed with it."""
        self._resolver, self._vault, self._monotonic, self._rng = resolver, vault, monotonic, rng
        self._settings = route_settings(config)
        # Mail for a domain that we forward for goes in by our own port 25, which alone knows what to do with it; its
        # marks end a loop.
        self._takes_in = takes_in
        self._inward = replace(self._settings, own_names=frozenset(), own_addresses=OwnAddresses())
        d = config.delivery
        limits = Limits(
            connect_seconds=d.connect_timeout_seconds, greeting_seconds=d.command_timeout_seconds,
            command_seconds=d.command_timeout_seconds, reset_seconds=d.reset_timeout_seconds,
            conversation_seconds=d.conversation_seconds,
        )
        settings = PoolSettings(
            helo=d.helo or config.server.hostname, source_addresses=tuple(d.source_addresses),
            connections_an_address=max([d.connections_a_destination, *(s.lanes or 0 for s in d.sites)]),
            messages_a_connection=d.messages_a_connection,
            idle_seconds=d.idle_seconds, max_idle=d.workers,
        )
        self._policies, self._counts = policies, counts
        self._pool = Pool(
            settings, Contexts(ca_file=d.ca_file or None), monotonic=monotonic, limits=limits, now=now,
            on_session=counts.record if counts is not None else lambda session: None,
        )
        self._routes: dict[tuple[str, bool], tuple[float, Route | Outcome]] = {}
        self.table = SiteTable(config)

    async def site(self, destination: str) -> str:
        """The receiving site of a recipient's domain."""
        return self.table.of(destination, await self._route(destination))

    async def deliver(self, ready: Ready, visit: Visit) -> Outcome | None:
        """One recipient's copy to its destination; None: no exchanger may be called just now. Raises nothing for what
        the other side does."""
        due = ready.due
        where = await self._route(due.destination)
        if isinstance(where, Outcome):
            return where
        sender = ""
        if due.return_path:
            sender = f"{return_paths.local_part(self._vault, due.id)}@{due.return_path}"
        head = ready.head
        if due.door != "forward":  # somebody else's message keeps its octets
            head = header.field(self._vault, due.queue_id, due.id) + head
        # Of no domain: forwarded, as its sender asks.
        notify = due.notify if due.domain_id is None else _onward(due.notify)
        # RFC 6531 §3.4: an address of the envelope needs it too, shown or not; but only this recipient's copy does.
        smtputf8 = due.smtputf8 or not due.address.isascii()
        # RFC 8689 §4.2.2: nobody sends the content of such a message back.
        ret = "HDRS" if due.tls_required and due.ret is not None else due.ret
        mail = Transaction(
            sender, due.address, (head, ready.body), size=len(head) + len(ready.body), smtputf8=smtputf8,
            envid=due.envid, ret=ret, notify=notify, orcpt=due.orcpt, checked=ready.checked,
            require_tls=due.tls_required is True,
        )
        return await self._pool.deliver(where.for_tls(due.tls_required), mail, visit)

    async def _route(self, destination: str) -> Route | Outcome:
        """The route, or why there is none, kept for a second: a line of messages to one destination asks once."""
        now = self._monotonic()
        inward = self._takes_in(destination)
        known = self._routes.get((destination, inward))
        if known is not None and now - known[0] < _ROUTE_SECONDS:
            return known[1]
        settings = self._inward if inward else self._settings
        found = await route(
            destination, resolver=self._resolver, settings=settings, rng=self._rng,
            policies=self._policies or NO_POLICIES,
        )
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        self._routes[destination, inward] = (self._monotonic(), found)
        return found

    def stop_waiting(self) -> int:
        """End every wait for the answer to a whole message, each with its outcome; returns how many there were."""
        return self._pool.stop_waiting()

    async def close(self) -> None:
        """Close idle connections, and write down what was counted."""
        await self._pool.close()
        if self._policies is not None:
            await self._policies.close()
        if self._counts is not None:
            await self._counts.close()


def _onward(notify: str | None) -> str | None:
    """NOTIFY for the next host: the client's, and FAILURE always.

    RFC 3461 §5.2.1 would pass it on unchanged. But the return path is ours: without failures a member could ask for
    none and go on mailing addresses that don't exist. Its own report depends on its own NOTIFY."""
    if notify is None:
        return None
    wanted = {*notify.upper().split(","), "FAILURE"} - {"NEVER"}
    return ",".join(word for word in ("SUCCESS", "FAILURE", "DELAY") if word in wanted)


def route_settings(config: Config) -> RouteSettings:
    """The configuration's part in routing."""
    d = config.delivery
    smarthosts = {domain: _smarthost(text, config) for domain, text in d.smarthost_domains.items()}
    if d.smarthost:
        smarthosts["*"] = _smarthost(d.smarthost, config)
    return RouteSettings(
        port=d.port, max_hosts=d.max_hosts, ipv6=d.ipv6, private_networks=config.delivery_networks,
        own_names=config.own_hosts, own_addresses=own_addresses(config), smarthosts=smarthosts,
    )


def own_addresses(config: Config) -> OwnAddresses:
    """Where our inbound listens at the port to which mail is delivered. An address that is written down is ours
    whichever process listens there; a wildcard means this machine only where this process has the role."""
    named, versions = set[str](), set[int]()
    for listen in config.inbound.listen:
        host, _, port = listen.rpartition(":")
        try:
            ip, at_the_port = ipaddress.ip_address(host.strip("[]")), int(port) == config.delivery.port
        except ValueError:
            continue  # no address to listen on: said where it is tried
        if not at_the_port:
            continue
        if not ip.is_unspecified:
            named.add(str(ip))
        elif "inbound" in config.roles:
            versions.add(ip.version)
    return OwnAddresses(frozenset(named), frozenset(versions))


def _smarthost(text: str, config: Config) -> Smarthost:
    host, _, port = text.rpartition(":")
    d = config.delivery
    policy = TlsPolicy(TlsLevel(d.smarthost_tls))
    password = d.smarthost_password.get_secret_value()
    credentials = None
    if d.smarthost_user:
        credentials = Credentials(d.smarthost_user, password, without_tls=not policy.may_encrypt)
    return Smarthost(host.strip("[]"), int(port), policy, implicit_tls=int(port) == 465, credentials=credentials)
