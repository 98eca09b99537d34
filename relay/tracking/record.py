"""Opens and clicks → events and daily counters, in transactions that many of them share.

Promises that a reader never waits for the database and is led on whatever becomes of it: what can't be written is
logged and lost. What a machine did is an event with a mark and is not counted. A hit on a message whose log is gone
counts for its domain and names no recipient.

`machine` and `proxy` tell people from the mail services and scanners that fetch images and follow links. Nobody can
know for certain; what is recognised is marked and not counted. Apple's Mail Privacy Protection loads every
image whether or not anybody reads, and calls itself just "Mozilla/5.0". Gmail's and Yahoo's proxies load one when the
message is opened: that is somebody's opening, seen through a proxy, and is only named.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from relay.base.clock import DAY, HOUR, Clock, utc_day
from relay.base.config import Config
from relay.base.events import CLICKED, OPENED, Event
from relay.base.storage import Storage, StorageError, Tx, events, stats
from relay.base.storage.mail.returned import Addressed, addressed
from relay.base.throttle import Throttle
from relay.tracking import tokens
from relay.tracking.tokens import Mark

log = structlog.get_logger()
_AGENT_MAX = 200

_PRIVACY = "mozilla/5.0"
_PROXIES = {"googleimageproxy": "google", "yahoomailproxy": "yahoo"}
_PROGRAMS = re.compile(
    r"bot\b|crawl|spider|scan|preview|barracuda|mimecast|proofpoint|fireeye|trendmicro|symantec|sophos|fortinet|zscaler|"
    r"headless|phantomjs|python|curl/|wget/|go-http|java/|okhttp|libwww|httpclient|axios|node-fetch|facebookexternalhit|"
    r"slack|whatsapp|telegram|discord"
)
_AHEAD = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


def machine(kind: str, headers: Mapping[str, str], seconds_after_delivery: float | None, at_once: float) -> str:
    """Why a hit counts as a machine's, or "": `privacy` (Apple), `scanner`, `ahead` (a browser fetching before it is
    asked), `at-once` (before the delivery, None, or sooner after it than anybody reads). `kind`: open or click."""
    agent = headers.get("User-Agent", "").strip().lower()
    if kind == "open" and agent == _PRIVACY:
        return "privacy"
    if not agent or _PROGRAMS.search(agent[:500]):
        return "scanner"
    if any(word in headers.get(name, "").lower() for name in _AHEAD for word in ("prefetch", "preview")):
        return "ahead"
    if seconds_after_delivery is None or seconds_after_delivery < at_once:
        return "at-once"
    return ""


def proxy(headers: Mapping[str, str]) -> str:
    """The mail service whose image proxy asked, or ""."""
    agent = headers.get("User-Agent", "")[:500].lower()
    return next((name for word, name in _PROXIES.items() if word in agent), "")


@dataclass(frozen=True, slots=True)
class Hit:
    """One open or click. `headers`: those of the request that tell machines."""

    kind: str
    mark: Mark
    at: float
    headers: Mapping[str, str]


class Recorder:
    """Writes hits in the background. `close` waits for those under way."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._under_way: set[asyncio.Task[None]] = set()
        self._often = Throttle(config.tracking.hits_an_hour, HOUR)

    def note(self, kind: str, mark: Mark, headers: Mapping[str, str]) -> None:
        """Record one, unless this recipient's same link was hit too often or too many are waiting."""
        key, now = (kind, mark.queue_id, mark.who, mark.n), self._clock.monotonic()
        if self._often.wait(key, now) > 0:
            return
        if len(self._under_way) >= self._config.tracking.max_waiting:
            log.warning("tracking.not_recorded", why="too many are waiting")
            return
        self._often.count(key, now)
        task = asyncio.create_task(self._record(Hit(kind, mark, self._clock.now(), headers)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Wait until everything noted is written."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def _record(self, hit: Hit) -> None:
        try:
            await self._storage.together(self._write, hit)
        except StorageError as e:
            log.warning("tracking.not_recorded", why="storage", cause=str(e))

    async def _write(self, tx: Tx, hits: list[Hit]) -> list[None]:
        people: dict[str, dict[bytes, Addressed]] = {}
        for queue_id in sorted({hit.mark.queue_id for hit in hits}):
            people[queue_id] = {tokens.who(row.address): row for row in await addressed(tx, queue_id)}
        happened: list[Event] = []
        counted: dict[tuple[int, str, int], dict[str, int]] = {}
        for hit in hits:
            event, counts = self._event(hit, people[hit.mark.queue_id].get(hit.mark.who))
            happened.append(event)
            if counts:
                fields = counted.setdefault((hit.mark.domain_id, utc_day(hit.at), hit.mark.member_id), {})
                name = "clicks" if hit.kind == "click" else "opens"
                fields[name] = fields.get(name, 0) + 1
        await stats.count(tx, counted)
        await events.append(tx, happened)
        return [None] * len(hits)

    def _event(self, hit: Hit, person: Addressed | None) -> tuple[Event, bool]:
        """(the event, whether it counts)."""
        mark = hit.mark
        # Without a log the delivery was days ago.
        delivered_at = mark.day * DAY if person is None else person.settled_at
        after = None if delivered_at is None else hit.at - delivered_at
        by = machine(hit.kind, hit.headers, after, self._config.tracking.machine_seconds)
        data: dict[str, Any] = {"queueId": mark.queue_id}
        if person is not None:
            data |= {"recipient": person.address, "category": person.category}
        if hit.kind == "click":
            data |= {"url": mark.url, "link": mark.n}
        agent = hit.headers.get("User-Agent", "")[:_AGENT_MAX]
        if agent:
            data["userAgent"] = "".join(c if c.isprintable() else " " for c in agent)
        if by:
            data["machine"] = by
        if seen_by := proxy(hit.headers):
            data["proxy"] = seen_by
        return Event(
            CLICKED if hit.kind == "click" else OPENED, mark.member_id, hit.at, mark.domain_id,
            person.message_id if person else None, person.id if person else None, data,
        ), not by
