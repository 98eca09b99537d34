"""Whether a message's content comes fast enough. Pure arithmetic; the conversation asks at each tick."""

from __future__ import annotations

from relay.smtpd.bounds import Bounds


class Pace:
    """Of one message; times in seconds of the loop's clock, amounts in octets."""

    __slots__ = ("_bounds", "_moved", "_seen", "_since")

    def __init__(self, bounds: Bounds, now: float) -> None:
        self._bounds = bounds
        self._since = self._moved = now
        self._seen = 0

    def late(self, seen: int, now: float) -> bool:
        """True when the client is to be cut. RFC 5321 §4.5.3.2.8 wants patience for each block; the average rate ends
        what drips for ever."""
        if seen > self._seen:
            self._seen, self._moved = seen, now
        b, took = self._bounds, now - self._since
        slow = took > b.data_grace_seconds and seen < took * b.data_min_bytes_a_second
        return slow or now - self._moved >= b.command_timeout_seconds
