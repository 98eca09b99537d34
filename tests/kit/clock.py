"""A clock in the hand: tests move it, nothing waits."""

from __future__ import annotations

from relay.base.clock import Clock


class HandClock(Clock):
    """Stands still until moved; wall and monotonic time move together unless `jump`ed."""

    def __init__(self, at: float = 1_780_000_000.0) -> None:
        self.wall = at
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
