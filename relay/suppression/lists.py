"""What people do with a member's list: look up, add, remove, turn pages, import, export.

Promises that adding is repeatable and never makes an entry milder, that a file of any size within the bound is taken
in by short transactions beside other people's, and that what was not taken is named with its line and the reason.
Who may ask is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import structlog

from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.names import BadName
from relay.base.storage import Storage, StorageError, Tx, suppressions
from relay.base.storage.suppressions import Suppression
from relay.suppression import export
from relay.suppression.import_file import Found, read
from relay.suppression.import_formats import Facts, facts
from relay.suppression.rules import entry

log = structlog.get_logger()
EXPORT_ROWS = 1000


class Full(BadName):
    """The list may not grow any more; `reason` says so."""


@dataclass(frozen=True, slots=True)
class New:
    """An address to be added; `categories` of mail with a blank between, for an unsubscribe only; "" is all."""

    address: str
    reason: str = "manual"
    detail: str = ""
    categories: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one of many: what is on the list now and whether that is new, or why there is nothing."""

    entry: Suppression | None
    new: bool = False
    fault: str = ""


@dataclass(slots=True)
class Imported:
    """What became of a file. `refused` names the first refusals: (line, why); `refusals` counts them all.

    `line` is the last one that counts; `stopped` says that the database could not be asked any more after it.
    """

    read: int = 0
    added: int = 0
    known: int = 0
    refusals: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    origins: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    guessed: int = 0
    line: int = 0
    stopped: bool = False


class Lists:
    """The lists of all members. Raises StorageError where nothing else is said."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._config, self._clock = storage, config, clock

    async def _added(self) -> None:
        """Something was added by this process."""

    async def _fitting(self, member_id: int, made: Sequence[Suppression]) -> set[str]:
        """Of these, by canonical address, what the list has room for: all that stand there already, and more up to
        the bound. What comes from recipients themselves is never turned away, and not asked about here."""
        most = self._config.suppression.max_entries
        async with self._storage.read() as tx:
            room = most - await suppressions.counted(tx, member_id, most)
            if room >= len(made):
                return {s.canonical for s in made}
            found = await suppressions.find(tx, {(member_id, s.canonical) for s in made})
        known = {canonical for _, canonical in found}
        new = [c for c in dict.fromkeys(s.canonical for s in made) if c not in known]
        return known.union(new[: max(room, 0)])

    def _full(self) -> str:
        most = self._config.suppression.max_entries
        return f"the list is full: {most} addresses at most (suppression.max_entries)"

    async def find(self, member_id: int, canonical: str) -> Suppression | None:
        """The entry for this canonical address."""
        async with self._storage.read() as tx:
            return (await suppressions.find(tx, [(member_id, canonical)])).get((member_id, canonical))

    async def look_up(self, member_id: int, address: str) -> Suppression | None:
        """The entry for an address in any spelling. Raises BadName."""
        return await self.find(member_id, names.canonical(names.address(address.strip())))

    async def listed(self, member_id: int, addresses: Sequence[str]) -> set[str]:
        """Of these addresses, those on the list."""
        keys: dict[str, str] = {}
        for address in addresses:
            try:
                keys[address] = names.canonical(address)
            except BadName:
                continue
        async with self._storage.read() as tx:
            found = await suppressions.find(tx, {(member_id, key) for key in keys.values()})
        return {address for address, key in keys.items() if (member_id, key) in found}

    async def add(self, member_id: int, address: str, reason: str, detail: str = "") -> Suppression:
        """Put an address on a member's list; returns what stands there then. Raises BadName."""
        return (await self.put(member_id, New(address, reason, detail)))[0]

    async def put(self, member_id: int, new: New) -> tuple[Suppression, bool]:
        """The same; says also whether it changed anything. Raises BadName, also (`Full`) when the list is full."""
        made = entry(member_id, new.address, new.reason, new.detail, self._clock.now(), new.categories)
        if not await self._fitting(member_id, [made]):
            raise Full(self._full())
        [found], [changed] = await self._storage.write(lambda tx: suppressions.take(tx, member_id, [made]))
        await self._added()
        return found, changed

    async def put_many(self, member_id: int, news: Sequence[New]) -> list[Taken]:
        """Each of them in one transaction; what is no address is named and left out."""
        made: dict[int, Suppression] = {}
        out = [Taken(None)] * len(news)
        for i, new in enumerate(news):
            try:
                made[i] = entry(member_id, new.address, new.reason, new.detail, self._clock.now(), new.categories)
            except BadName as e:
                out[i] = Taken(None, fault=e.reason)
        fitting = await self._fitting(member_id, list(made.values()))
        for i in [i for i, one in made.items() if one.canonical not in fitting]:
            out[i] = Taken(None, fault=self._full())
            del made[i]
        found, changed = await self._storage.write(lambda tx: suppressions.take(tx, member_id, list(made.values())))
        for i, one, is_new in zip(made, found, changed, strict=True):
            out[i] = Taken(one, is_new)
        await self._added()
        return out

    async def remove(self, member_id: int, address: str) -> bool:
        """Take an address off a member's list; False if it was not there. Raises BadName."""
        canonical = names.canonical(names.address(address.strip()))
        return await self._storage.write(lambda tx: suppressions.remove(tx, member_id, canonical))

    async def page(
        self, member_id: int, *, after: int = 0, before: int | None = None, reason: str | None = None,
        search: str = "", limit: int = 50,
    ) -> list[Suppression]:
        """A member's list from `after` on, or newest first below `before`; narrowed by reason and part of address."""
        async with self._storage.read() as tx:
            return await suppressions.page(
                tx, member_id, after=after, before=before, reason=reason, search=search, limit=limit
            )

    async def matching(
        self, member_id: int, reasons: Sequence[str], pattern: str, *, start: int, limit: int
    ) -> list[Suppression]:
        """Entries with one of these reasons whose whole address is like `pattern` (`*`: any text; "": every one), in
        order, without the first `start`."""
        async with self._storage.read() as tx:
            return await suppressions.matching(tx, member_id, reasons, pattern, start=start, limit=limit)

    async def by_reason(self, member_id: int, reasons: Sequence[str], pattern: str) -> dict[str, int]:
        """How many of them there are, by reason."""
        async with self._storage.read() as tx:
            return await suppressions.by_reason(tx, member_id, reasons, pattern)

    async def remove_many(self, member_id: int, addresses: Sequence[str]) -> list[str]:
        """Take addresses off in one transaction; returns those that are none, or were not there."""
        keys: dict[str, str] = {}
        for address in addresses:
            with suppress(BadName):
                keys[address] = names.canonical(names.address(address.strip()))

        async def do(tx: Tx) -> set[str]:
            return {key for key in set(keys.values()) if await suppressions.remove(tx, member_id, key)}

        gone = await self._storage.write(do) if keys else set()
        return [address for address in addresses if keys.get(address) not in gone]

    async def take_in(self, member_id: int, raw: bytes, otherwise: str = "import") -> Imported:
        """Add what a file names (CSV, JSON or one address a line; see `import_formats` for whose). `otherwise` is the
        reason of addresses that come without one.

        Rows are committed some at a time, so a failure loses none that were counted; the file can be sent again.
        """
        done = Imported()
        try:
            rows = read(raw.decode("utf-8"))
        except UnicodeDecodeError as e:
            line = raw.count(b"\n", 0, e.start) + 1
            done.refused, done.refusals = [(line, "the file is not UTF-8: save it as UTF-8 and upload it again")], 1
            return done
        try:
            while await self._some(member_id, rows, otherwise, done):
                pass
        except StorageError as e:
            log.warning("suppressions.import_stopped", cause=str(e), line=done.line)
            done.stopped = True
        await self._refreshed()
        log.info("suppressions.imported", member_id=member_id, added=done.added, refused=done.refusals)
        return done

    async def _refreshed(self) -> None:
        try:
            await self._added()
        except StorageError as e:
            log.warning("suppressions.stale", cause=str(e))

    async def _some(self, member_id: int, rows: Iterator[Found], otherwise: str, done: Imported) -> bool:
        """The next rows in one transaction; False when there are none."""
        some = await asyncio.to_thread(_next, rows, self._config.suppression.import_rows, member_id, otherwise,
                                       self._clock.now())
        if not some:
            return False
        made = [one for _, _, one in some if isinstance(one, Suppression)]
        fitting = await self._fitting(member_id, made)
        some = [
            (line, said, one if isinstance(one, str) or one.canonical in fitting else self._full())
            for line, said, one in some
        ]
        made = [one for one in made if one.canonical in fitting]
        _, changed = await self._storage.write(lambda tx: suppressions.take(tx, member_id, made))
        done.added += sum(changed)
        done.known += len(changed) - sum(changed)
        for line, said, one in some:
            done.read, done.line = done.read + 1, line
            if isinstance(one, Suppression) and said is not None:
                done.origins[said.origin] += 1
                done.reasons[one.reason] += 1
                done.guessed += not said.said
                continue
            done.refusals += 1
            if len(done.refused) < self._config.suppression.shown_refusals:
                done.refused.append((line, str(one)))
        return True

    async def written(self, member_id: int, form: str) -> AsyncIterator[str]:
        """The whole list as a file, piece by piece; `form` is one of FORMATS."""
        yield export.begin(form)
        after = 0
        while found := await self.page(member_id, after=after, limit=EXPORT_ROWS):
            yield export.part(form, found, first=after == 0)
            after = found[-1].id
        yield export.end(form)


def _next(
    rows: Iterator[Found], count: int, member_id: int, otherwise: str, now: float
) -> list[tuple[int, Facts | None, Suppression | str]]:
    """The next records as (line, what it says, entry or fault)."""
    out: list[tuple[int, Facts | None, Suppression | str]] = []
    for line, record in islice(rows, count):
        said = record if isinstance(record, str) else facts(record, otherwise)
        if isinstance(said, str):
            out.append((line, None, said))
            continue
        at = now if said.at is None else min(said.at, now)
        try:
            out.append((line, said, entry(member_id, said.address, said.reason, said.detail, at, said.categories)))
        except BadName as e:
            out.append((line, None, e.reason))
    return out
