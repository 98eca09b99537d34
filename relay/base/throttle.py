"""Counting in a moving window, in memory: merely polite, may be lost, bounded.

An exact sliding window over the caller's clock. (The `limits` library reads the machine's clock and keeps a
timer thread of its own; tests with a clock in the hand could not use it.)
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable


class Throttle:
    """At most `limit` counts a key in any `window_seconds`; the oldest of `max_keys` keys is forgotten first."""

    def __init__(self, limit: int, window_seconds: float, *, max_keys: int = 50_000) -> None:
        self._limit, self._window, self._max = limit, window_seconds, max_keys
        self._seen: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until `key` may try again; 0 when it may now. `now` is monotonic."""
        times = self._seen.get(key)
        if not times:
            return 0.0
        while times and times[0] <= now - self._window:
            times.popleft()
        if len(times) < self._limit:
            return 0.0
        return times[0] + self._window - now

    def count(self, key: Hashable, now: float) -> None:
        """Count one for `key`."""
        times = self._seen.get(key)
        if times is None:
            times = self._seen[key] = deque(maxlen=self._limit)
            if len(self._seen) > self._max:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(key)
        times.append(now)

    def take_back(self, key: Hashable) -> None:
        """Undo the newest `count` for `key`: what it was for did not happen."""
        times = self._seen.get(key)
        if times:
            times.pop()
