"""Time, handed in: wall time for what is stored and shown, monotonic time for timers.

Promises two readings and their text forms. What a clock jump may do to a stored time is the caller's
business; timers and deadlines never use wall time.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from email.utils import format_datetime

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
_STEP_SECONDS = 5.0


class Clock:
    """The machine's clock. Tests hand in a subclass whose hands they move."""

    def now(self) -> float:
        """Wall time, Unix seconds (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean anything."""
        return time.monotonic()


class Steps:
    """Notices that the wall clock was set forward, or that the machine slept: ages jump then, and mean nothing yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._at = -math.inf

    def last(self) -> float:
        """When that was last noticed, on the monotonic clock; -inf: never since the start. Looks now, too."""
        timer = self._clock.monotonic()
        ahead = self._clock.now() - timer
        if ahead > self._ahead + _STEP_SECONDS:
            self._at = timer
        self._ahead = ahead
        return self._at

    def within(self, seconds: float) -> bool:
        """Whether it was noticed in the last so many seconds."""
        return self._clock.monotonic() - self.last() < seconds


def iso(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC with whole seconds: `2026-05-01T14:05:30Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def not_before(at: float) -> str:
    """The moment to wait for, as refusals name it: `iso` of the first whole second that isn't before `at`."""
    return iso(math.ceil(at))


def rfc5322(at: float) -> str:
    """Unix seconds as an RFC 5322 §3.3 date-time in UTC."""
    return format_datetime(datetime.fromtimestamp(int(at), UTC))


def utc_day(at: float) -> str:
    """The UTC calendar day, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def day_start(day: str) -> float:
    """Unix seconds at which a UTC day, `YYYY-MM-DD`, begins."""
    return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
