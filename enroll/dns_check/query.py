"""Asking DNS for a domain's records: each authoritative server, the resolvers, and the likely wrong places.

Promises one observation for each record, in order, within the deadline, whatever DNS does: what was not heard in
time is empty, which is read as "could not be asked". Writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from enroll.dns_check.finding import Observation, facts, needs_probes
from enroll.dns_check.match import Seen, probes
from enroll.records import Record
from relay.base.resolver import Answer, Result, ServerAnswer
from relay.verify import AsksRecords

T = TypeVar("T")


class Asker(AsksRecords, Protocol):
    """What is needed of a resolver."""

    async def authoritative(self, name: str, rdtype: str) -> list[ServerAnswer]:
        """Each authoritative server's answer."""
        ...

    async def records(self, name: str, rdtype: str, *, fresh: bool = False) -> Result:
        """The configured resolvers' answer."""
        ...


async def observe(
    resolver: Asker, records: Sequence[Record], *, concurrent: int = 16, deadline_seconds: float = 25.0
) -> list[Observation]:
    """Ask for all `records`, `concurrent` questions at a time; equal ones are asked once."""
    room = asyncio.Semaphore(concurrent)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + deadline_seconds
    wanted = dict.fromkeys((record.name, record.type) for record in records)

    def servers(name: str, type: str) -> Awaitable[list[ServerAnswer]]:
        return resolver.authoritative(name, type)

    def others(name: str, type: str) -> Awaitable[Result]:
        return resolver.records(name, type, fresh=True)

    heard, second = await asyncio.gather(
        _ask_all(room, ends_at, servers, wanted), _ask_all(room, ends_at, others, wanted)
    )
    further = await _look_further(resolver, room, ends_at, records, heard)
    places = {
        record: probes(record)
        for record in records
        if needs_probes(record, heard.get((record.name, record.type), []), further.get(record))
    }
    seen = await _ask_all(room, ends_at, others, dict.fromkeys(pair for asked in places.values() for pair in asked))
    return [
        Observation(
            tuple(heard.get((record.name, record.type), ())),
            second.get((record.name, record.type)),
            tuple(_seen(pair, seen.get(pair)) for pair in places.get(record, ()) if isinstance(seen.get(pair), Answer)),
            further.get(record),
        )
        for record in records
    ]


async def _look_further(
    resolver: Asker, room: asyncio.Semaphore, ends_at: float, records: Sequence[Record],
    heard: Mapping[tuple[str, str], list[ServerAnswer]],
) -> dict[Record, Any]:
    """What kinds of records ask besides, where their own name could be asked; answers come from the cache too, for what
    stands at other people's names is the same for all domains."""
    found: dict[Record, Any] = {}

    async def one(record: Record, values: tuple[str, ...]) -> None:
        async with room:
            found[record] = await record.kind.look_further(record, values, resolver)

    try:
        async with asyncio.timeout_at(ends_at), asyncio.TaskGroup() as group:
            for record in records:
                known = facts(heard.get((record.name, record.type), []))
                if known and record.type != "CNAME":
                    group.create_task(one(record, max((answer.values for answer in known), key=len)))
    except TimeoutError:
        pass
    return found


async def _ask_all(
    room: asyncio.Semaphore,
    ends_at: float,
    ask: Callable[[str, str], Awaitable[T]],
    wanted: dict[tuple[str, str], None],
) -> dict[tuple[str, str], T]:
    """The answers that came before `ends_at` (loop time), by question."""
    heard: dict[tuple[str, str], T] = {}

    async def one(name: str, type: str) -> None:
        async with room:
            heard[name, type] = await ask(name, type)

    try:
        async with asyncio.timeout_at(ends_at), asyncio.TaskGroup() as group:
            for name, type in wanted:
                group.create_task(one(name, type))
    except TimeoutError:
        pass
    return heard


def _seen(pair: tuple[str, str], result: Result | None) -> Seen:
    assert isinstance(result, Answer)
    return Seen(*pair, tuple(one if isinstance(one, str) else f"{one[0]} {one[1]}" for one in result.records))
