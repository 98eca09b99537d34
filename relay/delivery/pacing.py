"""How many conversations, and how fast, each destination likes: adaptive, in memory, clock handed in.

A lane is one conversation's worth of concurrency. Success opens the destination up to its ceiling, one lane for
each full round; a sign of "too much" (421, or 4.7.x, RFC 3463 §3.8) or of a dead host halves it and pauses it, longer
each time. Merely polite: it lives in one process and may be lost; what must hold is in tables, elsewhere.

Leaves to others: running lanes, and when a recipient is tried again (the queue).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from relay.outcome import Outcome


@dataclass(frozen=True, slots=True)
class PacingSettings:
    """Bounds; configuration feeds them. Rates are messages a second."""

    start_lanes: int = 5
    max_lanes: int = 20
    # The first pause; each further one before a success is twice as long.
    pause_seconds: float = 5.0
    max_pause_seconds: float = 600.0
    # The rate is not limited until the destination says it is too much; then it begins here …
    slowed_rate: float = 10.0
    min_rate: float = 0.1
    # … grows by this share with each success, and above this it is no limit any more.
    rate_growth: float = 0.05
    free_rate: float = 100.0
    # The ceiling of the rate when there is one for everybody.
    max_rate: float | None = None
    burst: float = 5.0
    max_destinations: int = 10_000


DEFAULTS = PacingSettings()


class _Destination:
    __slots__ = ("failures", "ignore_until", "lanes", "limit", "next_at", "paused_until", "rate")

    def __init__(self, settings: PacingSettings) -> None:
        self.limit = float(min(settings.start_lanes, settings.max_lanes))
        self.lanes = 0
        self.failures = 0
        self.paused_until = float("-inf")
        self.ignore_until = float("-inf")
        self.rate = settings.max_rate
        self.next_at = float("-inf")


class Pacer:
    """Paces every destination of one process. A lane: `start` → (deliver, `heard`, `may_continue`)* → `ended`."""

    def __init__(self, monotonic: Callable[[], float], settings: PacingSettings = DEFAULTS) -> None:
        """`monotonic` gives seconds that never jump."""
        self._monotonic = monotonic
        self._settings = settings
        self._known: OrderedDict[str, _Destination] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def wait(self, destination: str) -> float:
        """Seconds until a message may start by the clock; 0 also where only the end of a lane is missing."""
        d = self._known.get(destination)
        return 0.0 if d is None else self._wait(d, self._monotonic())

    def start(self, destination: str) -> bool:
        """Open a lane for a first message, if one may be opened now; else False and nothing changed."""
        d = self._of(destination)
        if d.lanes >= int(d.limit) or not self._take_slot(d):
            return False
        d.lanes += 1
        return True

    def may_continue(self, destination: str) -> bool:
        """True when this lane may carry one more message now; it is counted. Else the lane should end."""
        d = self._of(destination)
        return d.lanes <= int(d.limit) and self._take_slot(d)

    def ended(self, destination: str) -> None:
        """A lane has ended, whatever for."""
        d = self._known.get(destination)
        if d is not None and d.lanes > 0:
            d.lanes -= 1

    def lanes(self, destination: str) -> tuple[int, int]:
        """Lanes open and lanes allowed now (for metrics and the operator)."""
        d = self._known.get(destination)
        return (0, self._settings.start_lanes) if d is None else (d.lanes, int(d.limit))

    def heard(self, destination: str, outcome: Outcome) -> None:
        """Learn from one attempt."""
        d, s = self._of(destination), self._settings
        now = self._monotonic()
        if is_too_much(outcome) or is_host_trouble(outcome):
            # Conversations that were under way together fail together; that is one sign, not many.
            if now < d.ignore_until:
                return
            pause = min(s.max_pause_seconds, s.pause_seconds * 2.0**d.failures)
            d.ignore_until = now + pause
            d.limit = max(1.0, d.limit / 2)
            # 4.7.x to one recipient is how greylisting speaks: fewer lanes, but no stop for everybody else.
            if outcome.scope == "recipient":
                return
            d.paused_until = now + pause
            d.failures = min(d.failures + 1, 30)
            if is_too_much(outcome):
                d.rate = max(s.min_rate, s.slowed_rate if d.rate is None else d.rate / 2)
        elif outcome.kind != "later":
            d.failures = 0
            d.limit = min(float(s.max_lanes), d.limit + 1.0 / d.limit)
            if d.rate is not None:
                d.rate = d.rate * (1.0 + s.rate_growth)
                ceiling = s.max_rate
                if ceiling is not None:
                    d.rate = min(ceiling, d.rate)
                elif d.rate >= s.free_rate:
                    d.rate = None

    def _wait(self, d: _Destination, now: float) -> float:
        wait = max(0.0, d.paused_until - now)
        if d.rate is not None:
            wait = max(wait, d.next_at - now - (self._settings.burst - 1.0) / d.rate)
        return wait

    def _take_slot(self, d: _Destination) -> bool:
        now = self._monotonic()
        if self._wait(d, now) > 0.0:
            return False
        if d.rate is not None:
            d.next_at = max(d.next_at, now) + 1.0 / d.rate
        return True

    def _of(self, destination: str) -> _Destination:
        d = self._known.get(destination)
        if d is not None:
            self._known.move_to_end(destination)
            return d
        d = self._known[destination] = _Destination(self._settings)
        if len(self._known) > self._settings.max_destinations:
            self._forget()
        return d

    def _forget(self) -> None:
        """Forget the longest unused destination without a lane; looks at a few only."""
        for checked, (name, d) in enumerate(self._known.items()):
            if d.lanes == 0:
                del self._known[name]
                return
            if checked >= 100:
                return


def is_too_much(outcome: Outcome) -> bool:
    """The remote side asks for less: 421, 4.7.x, or its own congestion (RFC 3463 §3.4 4.3.2, §3.5 4.4.5)."""
    if outcome.kind != "later" or outcome.code is None or outcome.our_tls:
        return False
    enhanced = outcome.enhanced or ""
    return outcome.code == 421 or enhanced.startswith("4.7.") or enhanced in ("4.3.2", "4.4.5")


def is_host_trouble(outcome: Outcome) -> bool:
    """Nobody answers there, or nobody answers sensibly."""
    return outcome.kind == "later" and outcome.scope == "host" and outcome.stage in ("connect", "greeting", "ehlo")
