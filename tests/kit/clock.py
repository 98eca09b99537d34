"""A clock in the hand: tests move it, nothing waits."""

from __future__ import annotations

import time

from relay.base.clock import Clock


class HandClock(Clock):
    """Stands still until moved; wall and monotonic time move together unless `jump`ed.

    It starts at the real hour, because verifiers compare a signature's expiry with that.
    """

    def __init__(self, at: float | None = None) -> None:
        self.wall = float(int(time.time())) if at is None else at
        self.mono = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def move(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.mono += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += seconds
