"""Where mail for a domain goes: hosts with addresses, best first, or an outcome that says why nowhere.

Promises: RFC 5321 §5.1 order with equal preferences shuffled, never to ourselves, never into a private network
unless allowed, bounded questions and hosts; each host with the TLS policy that holds for it. Only a null MX, a name
that does not exist or has neither MX nor address, an exchanger that is this relay by name, and addresses that no mail
may go to are `never`; all other trouble is `later`.

Leaves to others: asking the DNS and following aliases (`relay.base.resolver`), connecting (`client`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, zip_longest
from typing import Protocol

from relay.base.netguard import Network, is_of_this_machine, may_be_reached
from relay.base.resolver import Answer, Later, Nothing, Result
from relay.delivery.client.limits import Credentials
from relay.delivery.tls_policy import OPPORTUNISTIC, TlsPolicy
from relay.outcome import Outcome, concluded

_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.I)


class AsksDns(Protocol):
    """What a route asks of a resolver: aliases followed, names without the trailing dot, null MX as `(0, ".")`."""

    async def mx(self, domain: str) -> Result:
        """MX records as `(preference, host)`."""

    async def addresses(self, host: str) -> Result:
        """IPv4 and IPv6 addresses as strings."""


class FindsPolicies(Protocol):
    """Which TLS policy each exchanger has."""

    async def of(self, domain: str, found: Sequence[tuple[Host, Answer]], *, secure: bool) -> tuple[Host, ...]:
        """The same hosts, each with the policy that holds for it. `secure`: the MX answer was validated, or that there
        is none."""


class NoPolicies:
    """Nobody asks."""

    async def of(self, domain: str, found: Sequence[tuple[Host, Answer]], *, secure: bool) -> tuple[Host, ...]:
        """As they are."""
        return tuple(host for host, _ in found)


@dataclass(frozen=True, slots=True)
class Host:
    """One exchanger: its name (for TLS), its addresses in the order to be tried, its port, and how it is spoken to.
    `secure`: nobody on the way can have changed the name (DNSSEC, MTA-STS, or the operator wrote it)."""

    name: str
    ips: tuple[str, ...]
    port: int
    preference: int = 0
    policy: TlsPolicy = OPPORTUNISTIC
    implicit_tls: bool = False
    credentials: Credentials | None = None
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Smarthost:
    """A host that takes mail instead of the MX, with the TLS it must speak and the login it wants."""

    host: str
    port: int
    policy: TlsPolicy
    implicit_tls: bool = False
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where to. `policy_domain`: whose own exchangers these are, and so whose TLS policies hold; "" for a smarthost or
    an address. `best`: the names of the domain's best exchangers, in order, with addresses or without; of a smarthost
    HOST:PORT."""

    destination: str
    hosts: tuple[Host, ...]
    policy_domain: str = ""
    best: tuple[str, ...] = ()

    def for_tls(self, required: bool | None) -> Route:
        """The same way under what the sender asks of TLS (RFC 8689): True REQUIRETLS, False `TLS-Required: No`."""
        if required is None:
            return self
        return replace(
            self,
            hosts=tuple(
                replace(
                    host,
                    policy=host.policy.as_required(secure=host.secure) if required else host.policy.as_not_required(),
                )
                for host in self.hosts
            ),
        )


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """Where this relay's own inbound answers at the delivery port: at these addresses, and of these IP versions at
    every address of this machine."""

    named: frozenset[str] = frozenset()
    versions: frozenset[int] = frozenset()

    def __contains__(self, ip: str) -> bool:
        """Whether mail brought there would come in at our own port."""
        return ip in self.named or ((6 if ":" in ip else 4) in self.versions and is_of_this_machine(ip))


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Configuration feeds these. `own_names` are lower-case A-labels.

    `smarthosts` by recipient domain; `"*"` is for everything else."""

    port: int = 25
    max_exchangers: int = 20
    max_hosts: int = 5
    max_addresses: int = 4
    ipv6: bool = True
    private_networks: tuple[Network, ...] = ()
    own_names: frozenset[str] = frozenset()
    own_addresses: OwnAddresses = field(default_factory=OwnAddresses)
    smarthosts: Mapping[str, Smarthost] = field(default_factory=dict)


NO_POLICIES = NoPolicies()


async def route(
    domain: str, *, resolver: AsksDns, settings: RouteSettings, rng: random.Random,
    policies: FindsPolicies = NO_POLICIES,
) -> Route | Outcome:
    """The hosts for `domain` (A-label, lower case, or an address literal `[…]`), at most `max_hosts` of them.

    Or an Outcome of stage `route` and scope `destination`: `never` 5.1.2 no such domain, 5.1.10 null MX, 5.4.4 neither
    MX nor address, or only private addresses, 5.4.6 we are the exchanger by name; else `later`, also (4.4.6) where
    another name leads to our own port."""
    smarthost = settings.smarthosts.get(domain) or settings.smarthosts.get("*")
    if smarthost is not None:
        return await _to_smarthost(domain, smarthost, resolver, settings)
    if domain.startswith("["):
        return _to_literal(domain, settings)
    found = await resolver.mx(domain)
    if isinstance(found, Later):
        return _later("4.4.3", f"the DNS gives no answer about {domain}: {found.reason}")
    if isinstance(found, Nothing):
        if found.kind == "nxdomain":
            return _never("5.1.2", f"the domain {domain} does not exist", 550)
        # RFC 5321 §5.1: without an MX the domain's own address is its exchanger.
        exchangers = [(0, domain)]
    else:
        exchangers = list(found.exchanges())
        # RFC 7505 §3, §4: a null MX says that the domain takes no mail; one beside others says nothing.
        if exchangers and all(name in ("", ".") for _, name in exchangers):
            return _never("5.1.10", f"the domain {domain} takes no mail (null MX)", 556)
        exchangers = [(preference, name.rstrip(".").lower()) for preference, name in exchangers]
    exchangers = _in_order(exchangers, rng)
    best = tuple(sorted(name for preference, name in exchangers if preference == exchangers[0][0]))
    exchangers = exchangers[: settings.max_exchangers]
    where = await _to_exchangers(domain, exchangers, resolver, settings, without_mx=isinstance(found, Nothing))
    if isinstance(where, Outcome):
        return where
    return Route(domain, await policies.of(domain, where, secure=found.authentic), domain, best)


def _in_order(exchangers: list[tuple[int, str]], rng: random.Random) -> list[tuple[int, str]]:
    """RFC 5321 §5.1: lowest preference first, equal ones in random order. What is no host name drops out."""
    ordered: dict[str, int] = {}
    for preference, group in groupby(sorted(exchangers), key=lambda one: one[0]):
        names = [name for _, name in group if _HOST_NAME.fullmatch(name)]
        rng.shuffle(names)
        for name in names:
            ordered.setdefault(name, preference)
    return [(preference, name) for name, preference in ordered.items()]


async def _to_exchangers(
    domain: str, exchangers: list[tuple[int, str]], resolver: AsksDns, settings: RouteSettings, *, without_mx: bool
) -> list[tuple[Host, Answer]] | Outcome:
    """Ask for addresses, a few exchangers at a time, until enough hosts are found: each with the answer about it."""
    hosts: list[tuple[Host, Answer]] = []
    later: Later | None = None
    private = False
    # RFC 5321 §5.1: where we are an exchanger ourselves, we and all that is not better than us drop out.
    named = [preference for preference, name in exchangers if name in settings.own_names]
    ours = min(named, default=_NEVER_OURS)
    while exchangers and len(hosts) < settings.max_hosts:
        asked = [one for one in exchangers[: settings.max_hosts] if one[0] < ours]
        exchangers = exchangers[settings.max_hosts :]
        answers = await asyncio.gather(*(resolver.addresses(name) for _, name in asked))
        for (preference, name), answer in zip(asked, answers, strict=True):
            if isinstance(answer, Later):
                later = answer
            if without_mx and isinstance(answer, Nothing):
                # RFC 5321 §5.1: the domain itself would be the exchanger; without an address either, it takes no mail.
                return _never("5.4.4", f"the domain {domain} has neither MX nor address", 550)
            if not isinstance(answer, Answer):
                continue
            # Loopback and the like are nobody's exchanger, although this machine has them too.
            ips = [ip for ip in answer.texts() if may_be_reached(ip, settings.private_networks)]
            private = private or len(ips) < len(answer.records)
            if any(ip in settings.own_addresses for ip in ips):
                ours = min(ours, preference)
                continue
            ips = _alternating(ips, settings)
            if ips:
                hosts.append((Host(name, tuple(ips), settings.port, preference), answer))
    hosts = [one for one in hosts if one[0].preference < ours][: settings.max_hosts]
    return hosts or _no_host(domain, later, named=bool(named), ours=ours != _NEVER_OURS, private=private)


def _no_host(domain: str, later: Later | None, *, named: bool, ours: bool, private: bool) -> Outcome:
    """Why no exchanger can be asked. named: we are one by name; ours: by address; private: some cannot be reached."""
    if later is not None:
        return _later("4.4.3", f"the DNS gives no address of the exchangers of {domain}: {later.reason}")
    if named:
        return _never("5.4.6", f"this relay is itself the mail exchanger of {domain}", 550)
    if ours:
        # A name that others have given us: a slip in a zone, or a domain whose move here is not finished.
        return _later("4.4.6", f"an exchanger of {domain} has this relay's address under another name")
    if private:
        return _never("5.4.4", f"the exchangers of {domain} have only private addresses", 550)
    # The exchangers' names lead nowhere today; that is a slip in a zone more often than an end.
    return _later("4.4.4", f"no exchanger of {domain} has an address")


_NEVER_OURS = 1 << 16  # above every preference (RFC 1035 §3.3.9: 16 bits)


def _alternating(ips: list[str], settings: RouteSettings) -> list[str]:
    """IPv4 and IPv6 in turn, each in the DNS's order: a family without a way out never takes every try."""
    four = [ip for ip in ips if ":" not in ip]
    six = [ip for ip in ips if ":" in ip] if settings.ipv6 else []
    both = chain.from_iterable(zip_longest(four, six))
    return [ip for ip in both if ip is not None][: settings.max_addresses]


def _to_literal(domain: str, settings: RouteSettings) -> Route | Outcome:
    """RFC 5321 §4.1.3: an address literal is its own exchanger."""
    text = domain.strip("[]")
    text = text[5:] if text[:5].lower() == "ipv6:" else text
    try:
        ip = str(ipaddress.ip_address(text))
    except ValueError:
        return _never("5.1.2", "the address literal is malformed", 550)
    if not may_be_reached(ip, settings.private_networks):
        return _never("5.4.4", f"{domain} is a private address", 550)
    if ip in settings.own_addresses:
        return _never("5.4.6", f"{domain} is this relay itself", 550)
    return Route(domain, (Host(f"[{ip}]", (ip,), settings.port),), best=(f"[{ip}]",))


async def _to_smarthost(
    domain: str, smarthost: Smarthost, resolver: AsksDns, settings: RouteSettings
) -> Route | Outcome:
    """The operator named the host; whatever is wrong with it is theirs to fix, so mail waits."""
    try:
        ips = [str(ipaddress.ip_address(smarthost.host.strip("[]")))]
    except ValueError:
        answer = await resolver.addresses(smarthost.host)
        if isinstance(answer, Later):
            return _later("4.4.3", f"the DNS gives no answer about the smarthost: {answer.reason}")
        ips = _alternating(list(answer.texts()), settings) if isinstance(answer, Answer) else []
    if not ips:
        return _later("4.4.4", "the smarthost has no address")
    # All mail to one smarthost is one destination, whatever domain it is for.
    host = Host(
        smarthost.host, tuple(ips), smarthost.port, policy=smarthost.policy, implicit_tls=smarthost.implicit_tls,
        credentials=smarthost.credentials, secure=True,
    )
    name = f"{smarthost.host}:{smarthost.port}"
    return Route(name, (host,), best=(name,))


def _never(enhanced: str, text: str, code: int) -> Outcome:
    return concluded("never", enhanced, text, "route", "destination", code=code)


def _later(enhanced: str, text: str) -> Outcome:
    return concluded("later", enhanced, text, "route", "destination")
