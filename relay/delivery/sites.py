"""What a site is: the servers that count, and limit, what comes from one sender as one.

By default a domain's best exchangers, as they are named: domains with the same set share it, and no others do. Large
providers, whose customers each see other names of the same servers, are rolled up by a table of suffixes; filtering
gateways that give each customer a cluster are not. The configuration adds to the table. Never by registrable domain:
ten thousand strangers' servers at one hosting company are not one site.

A site is about pacing alone: a connection is used for those domains only whose own exchangers name its host.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from relay.base import names
from relay.base.config import Config
from relay.base.config.delivery import ROLL_UPS, Site, named
from relay.delivery.route import Host, Route
from relay.outcome import Outcome

_LONGEST = 100
_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """A site's bounds as configured: conversations at once, and messages a second (None: no bound)."""

    lanes: int
    rate: float | None = None
    configured: bool = False


class SiteTable:
    """The table of roll-ups with the configuration's own entries."""

    def __init__(self, config: Config) -> None:
        self._default = SiteLimits(config.delivery.connections_a_destination)
        self._suffixes: dict[str, str] = {}
        self._domains: dict[str, str] = {}
        self._limits: dict[str, SiteLimits] = {}
        self._names = sorted(named(config.delivery.sites))
        for known in ROLL_UPS:
            self._suffixes |= dict.fromkeys(known.exchangers, known.name)
        for entry in config.delivery.sites:
            self._add(entry)
        self.rolled_up = lru_cache(_KNOWN)(self._rolled_up)
        """The site that a host belongs to by its name alone, or None."""

    def _add(self, entry: Site) -> None:
        self._suffixes |= dict.fromkeys(entry.exchangers, entry.name)
        self._domains |= dict.fromkeys(entry.domains, entry.name)
        if entry.lanes is not None or entry.rate is not None:
            lanes = self._default.lanes if entry.lanes is None else entry.lanes
            self._limits[entry.name] = SiteLimits(lanes, entry.rate, configured=True)

    def limits(self, site: str) -> SiteLimits:
        """The bounds of a site."""
        return self._limits.get(site, self._default)

    @property
    def names(self) -> list[str]:
        """The sites that have a name of their own."""
        return self._names

    def _rolled_up(self, host: str) -> str | None:
        labels = host.split(".")
        for at in range(len(labels)):
            found = self._suffixes.get(".".join(labels[at:]))
            if found is not None:
                return found
        return None

    def of(self, destination: str, found: Route | Outcome) -> str:
        """The site of a recipient's domain. One whose DNS is in trouble is its own."""
        named = self._domains.get(destination)
        if named is not None:
            return named
        if isinstance(found, Outcome) or not found.best:
            return _bounded(destination)
        rolled = {self.rolled_up(_host(name)) for name in found.best}
        if len(rolled) == 1 and (one := next(iter(rolled))) is not None:
            return one
        return _bounded(",".join(found.best))

    def of_host(self, host: Host, route: Route, site: str) -> str:
        """The site that is charged with what `host` says, while mail of `site` takes this route: never that of the
        domain whose owner wrote the MX set, unless the host is one of its best and no provider's."""
        rolled = self.rolled_up(host.name)
        if rolled is not None:
            return rolled
        best = host.name in route.best or f"{host.name}:{host.port}" in route.best
        return site if best else _bounded(host.name)


def same_operator(one: Host, other: Host) -> bool:
    """Whether two exchangers of one route are the same people's, so that one speaks for the other."""
    if one.name == other.name or (one.port == other.port and set(one.ips) & set(other.ips)):
        return True
    registered = names.registrable(one.name)
    return registered is not None and registered == names.registrable(other.name)


def _host(name: str) -> str:
    """A smarthost's name without its port."""
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdigit() else name


def _bounded(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name.partition(',')[0][: _LONGEST - 14]}+{hashlib.sha256(name.encode()).hexdigest()[:12]}"

