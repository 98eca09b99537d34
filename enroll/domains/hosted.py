"""The relay's own zone of members' records, as the tables have it now: what the role dns answers from.

Promises that a change in the tables is served within `database.snapshot_seconds`, that the serial only rises and is
the same on every machine, that a name nobody was given costs no look into the database, and that an answer is never
made up: what can't be read just now is an error, which the server tells as SERVFAIL. While the database is away,
what is in memory goes on being served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

import structlog

from enroll.domains.checking import hosted_of, hosts_of
from enroll.domains.model import load
from enroll.zone import Zone, ZoneRecord
from relay.base.config import Config
from relay.base.runtime import stopped
from relay.base.storage import Storage, StorageError, versions
from relay.base.storage import domains as rows

log = structlog.get_logger("hosted")
_PAGE = 200
_REPORTS = "._report._dmarc"
ACCEPTS_REPORTS = "v=DMARC1"
"""RFC 9990 §4: reports about the domain in front of the name may be sent to an address here."""
_LOOK_AGAIN_SECONDS = 0.05  # a flood of names that aren't there asks the tables this often at most


class NotReady(Exception):
    """The tables have not been read yet."""


class HostedZone:
    """`zone` is what a server serves; `open` ties it to the tables, `follow` keeps it true until `stop`."""

    def __init__(self, config: Config) -> None:
        self._config, self._hosts = config, hosts_of(config)
        self._storage: Storage | None = None
        self._version, self._looked_at = -1, float("-inf")
        self._known: frozenset[str] = frozenset()
        self._reading = asyncio.Lock()  # one that began earlier and ends later would bring back what was before
        # uuid → name → its records; forgotten as a whole when anything has changed.
        self._kept: OrderedDict[str, dict[str, list[ZoneRecord]]] = OrderedDict()
        self._stopping = asyncio.Event()
        self.zone = empty_zone(config)
        self.zone.source = self.at

    async def open(self, storage: Storage) -> None:
        """Read which domains there are. Raises StorageError."""
        self._storage = storage
        await self.refresh()

    async def refresh(self) -> None:
        """Look whether anything has changed. Raises StorageError; what is in memory then stays in use."""
        assert self._storage is not None
        self._looked_at = asyncio.get_running_loop().time()
        async with self._reading:
            async with self._storage.read() as tx:
                version = (await versions.current(tx)).get(versions.DIRECTORY, 0)
                if version == self._version:
                    return
                known = frozenset(await rows.identities(tx))
            self._known, self._version = known, version
            self._kept.clear()
            self.zone.renumber(serial(version))

    async def follow(self) -> None:
        """Refresh until `stop`."""
        while not await stopped(self._stopping, self._config.database.snapshot_seconds):
            try:
                await self.refresh()
            except StorageError as e:
                log.warning("hosted.stale", cause=str(e))

    def stop(self) -> None:
        """End `follow`."""
        self._stopping.set()

    async def at(self, name: str, _type: str) -> list[ZoneRecord] | None:
        """The records at a name of the zone; [] for one that only has names below it, None for no such name.

        Raises NotReady before `open`, StorageError.
        """
        if self._storage is None:
            raise NotReady
        found = await self._find(name)
        if found is None and asyncio.get_running_loop().time() - self._looked_at > _LOOK_AGAIN_SECONDS:
            # RFC 2308 §5: resolvers keep a "no"; a domain of this half second shall not get one.
            try:
                await self.refresh()
            except StorageError as e:
                log.warning("hosted.stale", cause=str(e))
            else:
                found = await self._find(name)
        return found

    async def _find(self, name: str) -> list[ZoneRecord] | None:
        inside = name.removesuffix(f".{self._config.hosted_zone}")
        if self._config.report_host and f".{inside}".endswith(_REPORTS):
            # RFC 4592 §2.1.1, as of a wildcard: whatever stands before it.
            below = inside != _REPORTS[1:]
            return [ZoneRecord(name, "TXT", ACCEPTS_REPORTS, self._config.dns.hosted_ttl_seconds)] if below else []
        if self._config.report_host and inside == _REPORTS.rpartition(".")[2]:
            return []
        uuid = inside.rpartition(".")[2]
        if uuid not in self._known:
            return None
        held = self._kept.get(uuid)
        if held is None:
            held = await self._read(uuid)
        else:
            self._kept.move_to_end(uuid)
        if name in held:
            return held[name]
        # RFC 8020 §3.1: a name with names below it exists.
        return [] if held and any(other.endswith(f".{name}") for other in held) else None

    async def _read(self, uuid: str) -> dict[str, list[ZoneRecord]]:
        assert self._storage is not None
        version = self._version
        async with self._storage.read() as tx:
            row = await rows.by_uuid(tx, uuid)
            found = await load(tx, [row]) if row is not None else []
        held: dict[str, list[ZoneRecord]] = {}
        for domain in found:
            for name, type, value in hosted_of(domain, self._hosts):
                held.setdefault(name, []).append(ZoneRecord(name, type, value, self._config.dns.hosted_ttl_seconds))
        # Read while something changed: true now, but of which version is not known.
        if version == self._version:
            self._kept[uuid] = held
            if len(self._kept) > self._config.dns.hosted_cache_domains:
                self._kept.popitem(last=False)
        return held


def empty_zone(config: Config) -> Zone:
    """The zone with its SOA and NS and nothing else. ValueError for a name that DNS can't hold."""
    d = config.dns
    zone = Zone(
        config.hosted_zone, ns=config.hosted_servers, hostmaster=f"hostmaster.{config.server.hostname}",
        ttl=d.hosted_ttl_seconds, negative_ttl=d.hosted_negative_ttl_seconds,
    )
    if config.report_host and config.hosted_zone:
        zone.add(config.hosted_zone, "MX", f"10 {config.mx_host}.", d.hosted_ttl_seconds)
    return zone


def serial(version: int) -> int:
    """The SOA's serial for a version of the directory, which rises with every change; 0 is left out (RFC 1982)."""
    return max(1, version % 2**32)


async def export(storage: Storage, config: Config) -> AsyncIterator[list[ZoneRecord]]:
    """The whole zone, the SOA first, then some domains at a time, for another server. Raises StorageError."""
    hosts, zone = hosts_of(config), empty_zone(config)
    async with storage.read() as tx:
        # The serial is read before the records: a later change then makes a higher one.
        zone.renumber(serial((await versions.current(tx)).get(versions.DIRECTORY, 0)))
    own = zone.records()
    if config.report_host:
        wildcard = f"*{_REPORTS}.{config.hosted_zone}"
        own.append(ZoneRecord(wildcard, "TXT", ACCEPTS_REPORTS, config.dns.hosted_ttl_seconds))
    yield own
    last = 0
    while True:
        async with storage.read() as tx:
            page = await rows.page(tx, None, after=last, limit=_PAGE)
            found = await load(tx, page)
        if not page:
            return
        last = page[-1].id
        ttl = config.dns.hosted_ttl_seconds
        yield [ZoneRecord(*one, ttl) for domain in found for one in hosted_of(domain, hosts)]
