"""How many conversations, and how fast, each receiving site likes: what this process knows of it, clock handed in.

A lane is one conversation's worth of concurrency at a site. A site of which nothing is known is spoken to by one lane
(the free lane) until something has worked; for more than that a process has a share of the site's lanes, which
`shares` asks the tables for, and success opens it up. A host that asks for less (`signs`) pauses its site at once, and
the sign is handed to `shares`, so that the other processes hear of it. Narrower trouble stays narrow: words about a
sender's domain pause that domain's mail to the site, those about a recipient slow its domain, and an address that
does not answer is left alone for a while.

Promises: constant time a message, bounded memory; a site without trouble costs a look into a dictionary.
Leaves to others: running lanes (`worker`), the tables (`shares`), and when a recipient is tried again (the queue).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from relay.base.config import Config
from relay.base.storage.sites import Grant, Limits, Sign, Site, Want
from relay.delivery.line import Blocked
from relay.delivery.route import Host, Route
from relay.delivery.signs import asked_seconds, charged, is_too_much
from relay.delivery.sites import SiteLimits, SiteTable, same_operator
from relay.outcome import Outcome

_NEVER, _FOREVER = float("-inf"), float("inf")
_TRY_AGAIN = 0.5  # seconds until a recipient is looked at again that had no exchanger to go to just now
_Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PacingSettings:
    """Bounds; configuration feeds them. Rates are messages a second."""

    # What one site is given once something has worked there, before more has.
    start_lanes: int = 5
    pause_seconds: float = 5.0
    max_pause_seconds: float = 600.0
    slowed_rate: float = 10.0
    min_rate: float = 0.1
    # A rate grows by this share with each success, and above `free_rate` it is no limit any more.
    rate_growth: float = 0.05
    free_rate: float = 100.0
    burst: float = 5.0
    max_sites: int = 10_000
    max_domains: int = 1000
    share_seconds: float = 10.0

    @property
    def limits(self) -> Limits:
        """Those that the tables go by too."""
        return Limits(
            self.pause_seconds, self.max_pause_seconds, self.slowed_rate, self.min_rate, self.rate_growth,
            self.free_rate,
        )


def pacing_settings(config: Config) -> PacingSettings:
    """The configuration's part in pacing."""
    d = config.delivery
    return PacingSettings(
        pause_seconds=d.site_pause_seconds, max_pause_seconds=d.site_max_pause_seconds,
        slowed_rate=d.site_slowed_rate, min_rate=d.site_min_rate, share_seconds=d.site_share_seconds,
    )


class _Pause:
    """Of one sender's mail to a site, of one recipient's domain, or of an address: until when, and how it goes on."""

    __slots__ = ("failures", "flying", "limit", "unsaved", "until")

    def __init__(self, limit: float = 1.0) -> None:
        self.until = _NEVER
        self.failures = 0
        self.flying = 0
        self.limit = limit
        self.unsaved = False

    def blocks(self, now: float) -> bool:
        return now < self.until or self.flying >= int(self.limit)


class _Site:
    __slots__ = (
        "bounds", "failures", "held", "lanes", "last_sign", "limit", "next_at", "paused_until", "proven", "rate", "row",
        "share", "share_until", "total", "unsaved", "wanting", "worked",
    )  # fmt: skip

    def __init__(self, bounds: SiteLimits) -> None:
        self.bounds = bounds
        self.limit = 1.0
        self.lanes = 0
        self.proven = False
        self.rate = bounds.rate
        self.next_at = _NEVER
        self.paused_until = _NEVER
        self.failures = 0
        self.held = False
        self.row = False
        self.share = 0
        self.total = bounds.lanes
        self.share_until = _NEVER
        self.wanting = False
        self.worked = 0
        self.unsaved = False
        self.last_sign: Outcome | None = None

    def ceiling(self, now: float) -> int:
        """Lanes that may be open now: those of the share, and the free one of a site in no trouble."""
        if self.held or now < self.paused_until:
            return 0
        share = self.share if now < self.share_until else 0
        return share if self.row or self.failures else max(1, share)


class Pacer:
    """Paces every site of one process. A lane: `start` → (deliver, `may_continue`)* → `ended`."""

    def __init__(
        self, monotonic: Callable[[], float], settings: PacingSettings, table: SiteTable,
        rng: random.Random | None = None, ours: frozenset[str] = frozenset(),
    ) -> None:
        """`monotonic` gives seconds that never jump. `ours`: the relay's own domains, which stand in all mail."""
        self._monotonic = monotonic
        self._settings = settings
        self._bounds = settings.limits
        self.table = table
        self._rng = rng or random.Random()
        self._ours = ours
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._slow: set[str] = set()
        self._senders: dict[str, dict[str, _Pause]] = {}
        self._healed: set[str] = set()
        self._domains: OrderedDict[str, _Pause] = OrderedDict()
        self._paused: dict[str, float] = {}
        self._addresses: OrderedDict[_Address, _Pause] = OrderedDict()
        self.stirred = asyncio.Event()
        """Set when the tables should be asked for something, or told of it, soon."""
        self.wanting = False
        """Whether it is more of a site than is had."""
        self.signs: list[Sign] = []
        """What the tables should be told of."""

    def __len__(self) -> int:
        return len(self._sites)

    # -- lanes -------------------------------------------------------------------------------------------------

    def wait(self, site: str) -> float:
        """Seconds until a message may start by the clock; 0 also where only a lane is missing."""
        s = self._sites.get(site)
        return 0.0 if s is None else self._wait(s, self._monotonic())

    def next_wait(self, lines: Mapping[str, object]) -> float | None:
        """Seconds until the next of these sites may go on by the clock; None: no clock keeps any."""
        now = self._monotonic()
        waits = [self._wait(self._sites[n], now) for n in self._slow if n in lines and n in self._sites]
        for destination, until in list(self._paused.items()):
            if until <= now:
                self._resumed(destination)
            else:
                waits.append(until - now)
        waits += [p.until - now for n, senders in self._senders.items() if n in lines for p in senders.values()]
        return min((w for w in waits if w > 0.0), default=None)

    def start(self, site: str) -> bool:
        """Open a lane for a first message, if one may be opened now; else False and nothing changed."""
        s = self._of(site)
        now = self._monotonic()
        ceiling = s.ceiling(now)
        if s.lanes >= int(s.limit) or s.lanes >= ceiling:
            if s.lanes < int(s.limit) and ceiling < s.bounds.lanes and not s.held and now >= s.paused_until:
                self._want(s)
            return False
        if not self._take_slot(s, now):
            return False
        s.lanes += 1
        return True

    def may_continue(self, site: str) -> bool:
        """True when this lane may carry one more message now; it is counted. Else the lane should end."""
        s = self._of(site)
        now = self._monotonic()
        return s.lanes <= int(s.limit) and s.lanes <= s.ceiling(now) and self._take_slot(s, now)

    def ended(self, site: str) -> None:
        """A lane has ended, whatever for."""
        s = self._sites.get(site)
        if s is not None and s.lanes > 0:
            s.lanes -= 1

    def lanes(self, site: str) -> tuple[int, int]:
        """Lanes open and lanes allowed now."""
        s = self._of(site)
        return s.lanes, min(int(s.limit), s.ceiling(self._monotonic()))

    def visit(self, site: str, sender: str, destination: str, return_path: str = "") -> Visit:
        """One recipient's walk along its route."""
        return Visit(self, site, sender, destination, return_path)

    # -- what is paused ----------------------------------------------------------------------------------------

    def is_paused(self, site: str) -> bool:
        """Whether nothing goes to a site at present."""
        s = self._sites.get(site)
        return s is not None and (s.held or self._monotonic() < s.paused_until)

    def troubled(self) -> list[str]:
        """The sites that are paused or slowed at present."""
        return list(self._slow)

    def pause_left(self, site: str) -> tuple[float | None, float | None, Outcome | None]:
        """Seconds that a paused site's pause still has (None: it is the operator's), the messages a second after it
        (None: no bound), and what was said, if it was said to this process."""
        s = self._of(site)
        return (None if s.held else max(0.0, s.paused_until - self._monotonic())), s.rate, s.last_sign

    def blocked(self, site: str) -> Blocked | None:
        """Which (sender, recipient's domain) may not go to a site now; None: none is known."""
        senders = self._senders.get(site)
        if not senders and not self._domains:
            return None
        now = self._monotonic()

        def is_blocked(sender: str, destination: str) -> bool:
            one = senders.get(sender) if senders else None
            other = self._domains.get(destination)
            return (one is not None and one.blocks(now)) or (other is not None and other.blocks(now))

        return is_blocked

    def rest(self, destination: str, until: float) -> None:
        """Nothing to a recipient's domain before `until` (monotonic): there was no exchanger to go to."""
        pause = self._domain(destination)
        pause.until = self._paused[destination] = max(pause.until, until)

    def _resumed(self, destination: str) -> None:
        del self._paused[destination]
        pause = self._domains.get(destination)
        if pause is not None and not pause.flying and pause.limit >= self._settings.start_lanes:
            del self._domains[destination]

    # -- what the tables say -----------------------------------------------------------------------------------

    def demands(self, waiting: Mapping[str, int]) -> dict[str, Want]:
        """What to ask of the tables, by site: where something is wanted or held. `waiting`: recipients that wait."""
        now = self._monotonic()
        wants: dict[str, Want] = {}
        for name, s in self._sites.items():
            if not (s.wanting or s.share or (s.worked and s.row)):
                continue
            wanted = min(s.bounds.lanes, int(s.limit), s.lanes + waiting.get(name, 0))
            if s.held or now < s.paused_until:
                wanted = 0
            # One lane of a site in no trouble needs no share.
            wanted = 0 if wanted <= 1 and not s.row else wanted
            s.wanting = False
            worked, s.worked = s.worked, 0
            if wanted or s.share or (worked and s.row):
                wants[name] = Want(wanted, s.lanes, s.bounds.lanes, s.bounds.rate, worked if s.row else 0)
        self.wanting = False
        return wants

    def healed(self) -> list[str]:
        """Rows of senders' pauses that are good for nothing any more; said once."""
        found, self._healed = sorted(self._healed), set()
        return found

    def granted(self, grants: Mapping[str, Grant], asked_at: float, now: float) -> None:
        """What the tables gave. `asked_at`: on the monotonic clock; `now`: the wall's then."""
        for name, grant in grants.items():
            s = self._of(name)
            s.share, s.total = grant.lanes, grant.total
            s.share_until = asked_at + self._settings.share_seconds
            self._know(name, s, grant.site, now)

    def rows(self, found: Iterable[Site], now: float) -> None:
        """All that the tables know of sites in trouble; `now` by the wall's clock."""
        rows = {row.name: row for row in found}
        for name, row in rows.items():
            site, slash, sender = name.partition("/")
            if slash:
                self._know_sender(site, sender, row, now)
            else:
                self._know(name, self._of(name), row, now)
        for name in [n for n, s in self._sites.items() if s.row and n not in rows]:
            self._know(name, self._sites[name], None, now)
        for site, senders in list(self._senders.items()):
            for sender in [x for x, p in senders.items() if f"{site}/{x}" not in rows and not p.unsaved]:
                self._forget_sender(site, sender)

    def saved(self, given: Sign, row: Site, won: bool, now: float) -> None:
        """A sign has been written down, or another one was first."""
        site, slash, sender = given.name.partition("/")
        if not slash:
            s = self._of(site)
            s.unsaved = False
            self._know(site, s, row, now)
            return
        pause = self._senders.get(site, {}).get(sender)
        if pause is not None:
            pause.unsaved = False
            if not won:
                self._know_sender(site, sender, row, now)

    def _know(self, name: str, s: _Site, row: Site | None, now: float) -> None:
        if s.unsaved:
            return  # what this process has just heard is newer
        if row is None:
            s.row = s.held = False
            s.failures, s.rate, s.paused_until = 0, s.bounds.rate, _NEVER
        else:
            s.row, s.held, s.failures, s.rate = True, row.held, row.failures, row.rate
            s.paused_until = self._monotonic() + self._left(row, now)
            if row.failures:
                s.limit, s.proven = min(s.limit, max(1.0, row.lanes)), False
        if s.held or s.failures or s.rate is not None:
            self._slow.add(name)
        else:
            self._slow.discard(name)

    def _know_sender(self, site: str, sender: str, row: Site, now: float) -> None:
        senders = self._senders.setdefault(site, {})
        pause = senders.get(sender)
        if pause is None:
            pause = senders[sender] = _Pause()
        elif pause.unsaved or row.failures == pause.failures:
            return
        pause.failures = row.failures
        # Whose sign it was tries again first; the others wait for what it finds.
        left = self._left(row, now)
        pause.until = self._monotonic() + left + self._rng.uniform(0.5, 1.0) * (2.0 + left)

    def _left(self, row: Site, now: float) -> float:
        """What is left of a pause, whatever the clock of the machine that wrote it."""
        return min(max(0.0, row.paused_until - now), self._settings.max_pause_seconds)

    # -- what was heard ----------------------------------------------------------------------------------------

    def heard(
        self, site: str, sender: str, destination: str, address: _Address, outcome: Outcome, return_path: str = ""
    ) -> None:
        """Learn from one attempt at a host of `site`."""
        if outcome.code is not None and self._addresses:
            self._addresses.pop(address, None)
        if outcome.kind != "later":
            self._worked(site, sender, destination)
            return
        match charged(outcome, ours=self._ours, return_path=return_path):
            case "site":
                self._sign(site, outcome)
            case "sender":
                self._sender_sign(site, sender, outcome)
            case "domain":
                # Fewer at once; no stop for everybody else.
                pause = self._domain(destination)
                pause.limit = max(1.0, pause.limit / 2)
            case "address":
                self._address_failed(site, address)

    def address_wait(self, address: _Address) -> float | None:
        """Until when (monotonic) an address is left alone; None: it is not."""
        pause = self._addresses.get(address) if self._addresses else None
        return pause.until if pause is not None and self._monotonic() < pause.until else None

    def paused_for(self, site: str) -> float | None:
        """Until when (monotonic) nothing goes to a site, as far as is known; None: it is not paused."""
        s = self._sites.get(site)
        now = self._monotonic()
        if s is None or not (s.held or now < s.paused_until):
            return None
        return now + _TRY_AGAIN if s.held else s.paused_until

    def soon(self, seconds: float = _TRY_AGAIN) -> float:
        """A moment from now, on the monotonic clock."""
        return self._monotonic() + seconds

    def begin(self, site: str, sender: str, destination: str) -> None:
        """A recipient has been taken from the line."""
        if self._senders and (pause := self._senders.get(site, {}).get(sender)) is not None:
            pause.flying += 1
        if self._domains and (pause := self._domains.get(destination)) is not None:
            pause.flying += 1

    def done(self, site: str, sender: str, destination: str) -> None:
        """Its try is over."""
        if self._senders and (pause := self._senders.get(site, {}).get(sender)) is not None:
            pause.flying = max(0, pause.flying - 1)
        if self._domains and (pause := self._domains.get(destination)) is not None:
            pause.flying = max(0, pause.flying - 1)

    def _worked(self, site: str, sender: str, destination: str) -> None:
        s = self._of(site)
        if not s.proven:
            s.proven = True
            if not s.failures:
                s.limit = max(s.limit, float(min(self._settings.start_lanes, s.bounds.lanes)))
        s.limit = min(float(s.bounds.lanes), s.limit + 1.0 / s.limit)
        if s.row and self._monotonic() >= s.paused_until:
            s.worked += 1
            if s.failures:
                self._want(s)
        pause = self._senders.get(site, {}).get(sender) if self._senders else None
        if pause is not None and self._monotonic() >= pause.until:
            self._forget_sender(site, sender)
            self._healed.add(f"{site}/{sender}")
            self.wanting = True
        if self._domains and (pause := self._domains.get(destination)) is not None:
            pause.failures = 0
            pause.limit += 1.0 / pause.limit
            if pause.limit > self._settings.start_lanes:
                del self._domains[destination]
                self._paused.pop(destination, None)

    def _sign(self, site: str, outcome: Outcome) -> None:
        s = self._of(site)
        now = self._monotonic()
        # Conversations that were under way together fail together; that is one sign, not many.
        if now < s.paused_until:
            return
        asked = asked_seconds(outcome.text)
        s.paused_until = now + self._bounds.pause(s.failures, asked)
        s.failures = min(s.failures + 1, 30)
        s.limit, s.share, s.worked, s.proven = max(1.0, s.limit / 2), 0, 0, False
        s.rate = self._bounds.slower(s.rate)
        s.row = s.unsaved = True
        s.last_sign = outcome
        self._slow.add(site)
        self.signs.append(Sign(site, s.bounds.lanes, s.bounds.rate, asked, outcome.text, outcome.host))
        self.stirred.set()

    def _sender_sign(self, site: str, sender: str, outcome: Outcome) -> None:
        sender = sender[:150]
        senders = self._senders.setdefault(site, {})
        pause = senders.setdefault(sender, _Pause())
        now = self._monotonic()
        if now < pause.until:
            return
        asked = asked_seconds(outcome.text)
        pause.until = now + self._bounds.pause(pause.failures, asked)
        pause.failures = min(pause.failures + 1, 30)
        pause.unsaved = True
        bounds = self.table.limits(site)
        self.signs.append(Sign(f"{site}/{sender}", bounds.lanes, None, asked, outcome.text, outcome.host))
        self.stirred.set()

    def _address_failed(self, site: str, address: _Address) -> None:
        now = self._monotonic()
        pause = self._addresses.get(address)
        if pause is None:
            pause = self._addresses[address] = _Pause()
            if len(self._addresses) > self._settings.max_sites:
                self._addresses.popitem(last=False)
        if now < pause.until:
            return
        pause.until = now + self._bounds.pause(pause.failures)
        pause.failures = min(pause.failures + 1, 30)
        s = self._of(site)
        s.limit, s.proven = max(1.0, s.limit / 2), False

    # -- the rest ----------------------------------------------------------------------------------------------

    def _want(self, s: _Site) -> None:
        s.wanting = self.wanting = True
        self.stirred.set()

    def _wait(self, s: _Site, now: float) -> float:
        wait = max(0.0, s.paused_until - now)
        if s.rate is not None:
            wait = max(wait, s.next_at - now - (self._settings.burst - 1.0) / self._rate(s))
        return wait

    def _rate(self, s: _Site) -> float:
        """This process's part of a site's rate: as much as of its lanes."""
        assert s.rate is not None
        return s.rate * s.share / s.total if 0 < s.share < s.total else s.rate

    def _take_slot(self, s: _Site, now: float) -> bool:
        if s.rate is None:
            return now >= s.paused_until
        if self._wait(s, now) > 0.0:
            return False
        s.next_at = max(s.next_at, now) + 1.0 / self._rate(s)
        return True

    def _domain(self, destination: str) -> _Pause:
        pause = self._domains.get(destination)
        if pause is None:
            pause = self._domains[destination] = _Pause(float(self._settings.start_lanes))
            if len(self._domains) > self._settings.max_domains:
                self._paused.pop(self._domains.popitem(last=False)[0], None)
        return pause

    def _forget_sender(self, site: str, sender: str) -> None:
        senders = self._senders[site]
        senders.pop(sender, None)
        if not senders:
            del self._senders[site]

    def _of(self, site: str) -> _Site:
        s = self._sites.get(site)
        if s is not None:
            self._sites.move_to_end(site)
            return s
        bounds = self.table.limits(site)
        s = self._sites[site] = _Site(bounds)
        if s.rate is not None:
            self._slow.add(site)
        if len(self._sites) > self._settings.max_sites:
            self._forget()
        return s

    def _forget(self) -> None:
        """Forget the longest unused site that is in no trouble; looks at a few only."""
        for checked, (name, s) in enumerate(self._sites.items()):
            if s.lanes == 0 and not (s.row or s.share or s.wanting):
                del self._sites[name]
                self._slow.discard(name)
                return
            if checked >= 100:
                return


class Visit:
    """One recipient's walk: which exchangers may be called now, and what each of them said."""

    __slots__ = ("_destination", "_ended", "_pacer", "_return_path", "_sender", "_site", "until")

    def __init__(self, pacer: Pacer, site: str, sender: str, destination: str, return_path: str) -> None:
        self._pacer, self._site, self._sender, self._destination = pacer, site, sender, destination
        self._return_path = return_path
        self._ended: list[Host] = []
        self.until = _FOREVER
        """When (monotonic) the first of those that were passed over may be called."""

    def enters(self, route: Route, host: Host, ip: str) -> bool:
        """Whether to call `host` at `ip` now; each True is followed by `heard`."""
        site = self._pacer.table.of_host(host, route, self._site)
        for spoke in self._ended:
            # Who asked for less is not asked again by way of its next exchanger.
            if self._pacer.table.of_host(spoke, route, self._site) == site or same_operator(spoke, host):
                return False
        paused = self._pacer.address_wait((ip, host.port))
        if paused is not None:
            self.until = min(self.until, paused)
            return False
        if not self.goes(route, host):
            return False
        # A stranger's MX set adds no conversations to a provider beyond those that it has anyway.
        if site != self._site and self._pacer.table.rolled_up(host.name) is not None and not self._pacer.start(site):
            self.until = min(self.until, self._pacer.soon())
            return False
        return True

    def goes(self, route: Route, host: Host) -> bool:
        """Whether the host's site takes mail now: it may have been paused while a connection was made."""
        left = self._pacer.paused_for(self._pacer.table.of_host(host, route, self._site))
        if left is not None:
            self.until = min(self.until, left)
        return left is None

    def heard(self, route: Route, host: Host, ip: str, outcome: Outcome | None) -> None:
        """What came of the call; None: nothing was asked."""
        site = self._pacer.table.of_host(host, route, self._site)
        if site != self._site and self._pacer.table.rolled_up(host.name) is not None:
            self._pacer.ended(site)
        if outcome is None:
            return
        address = ip, host.port
        self._pacer.heard(site, self._sender, self._destination, address, outcome, self._return_path)
        if is_too_much(outcome):
            self._ended.append(host)
        elif outcome.code is None and (paused := self._pacer.address_wait(address)) is not None:
            self.until = min(self.until, paused)

    def over(self, outcome: Outcome | None) -> None:
        """The walk has ended with `outcome`; None: no exchanger could be called. Where nobody answered, the domain
        waits until an address may be called again."""
        if outcome is None or (outcome.code is None and charged(outcome) == "address"):
            until = self.until if self.until != _FOREVER else self._pacer.soon()
            self._pacer.rest(self._destination, max(until, self._pacer.soon(0.05)))
