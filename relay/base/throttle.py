"""Counting in a moving window, in memory: merely polite, may be lost, bounded.

An exact sliding window over the caller's clock. (The `limits` library reads the machine's clock and keeps a
timer thread of its own; tests with a clock in the hand could not use it.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable

_LOOKED_AT = 2


class Throttle:
    """At most `limit` counts a key in any `window_seconds`. Keys whose counts are over are forgotten, and the oldest
    one where there are `max_keys`."""

    def __init__(self, limit: int, window_seconds: float, *, max_keys: int = 50_000) -> None:
        self._limit, self._window, self._max = limit, window_seconds, max_keys
        self._seen: OrderedDict[Hashable, list[float]] = OrderedDict()

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until `key` may try again; 0 when it may now. `now` is monotonic."""
        times = self._seen.get(key)
        if not times:
            return 0.0
        over = bisect_right(times, now - self._window)
        if over:
            del times[:over]
        if len(times) < self._limit:
            return 0.0
        return times[0] + self._window - now

    def count(self, key: Hashable, now: float) -> None:
        """Count one for `key`."""
        times = self._seen.get(key)
        if times is None:
            self._forget(now)
            times = self._seen[key] = []
        else:
            self._seen.move_to_end(key)
            if len(times) >= self._limit:
                del times[0]
        times.append(now)

    def _forget(self, now: float) -> None:
        """Make room for one more: two leave for each that comes, so what is over doesn't pile up."""
        for _ in range(min(_LOOKED_AT, len(self._seen))):
            oldest, times = next(iter(self._seen.items()))
            if times and times[-1] > now - self._window and len(self._seen) < self._max:
                return
            del self._seen[oldest]

    def take_back(self, key: Hashable) -> None:
        """Undo the newest `count` for `key`: what it was for did not happen."""
        times = self._seen.get(key)
        if times:
            times.pop()
            if not times:
                del self._seen[key]
