"""The numbers that a listener and its conversations keep to, and when a client is too slow."""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.config import Config


@dataclass(frozen=True, slots=True)
class Bounds:
    """Octets, seconds and counts. `opening_seconds` is for all that precedes the conversation proper: the handshake,
    and what a listener wants to know first."""

    max_connections: int
    max_connections_an_address: int
    max_data_memory_bytes: int
    max_message_bytes: int
    max_recipients: int
    max_messages_a_connection: int
    max_bad_commands: int
    max_idle_commands: int
    opening_seconds: float
    command_timeout_seconds: float
    data_grace_seconds: float
    data_min_bytes_a_second: int

    @classmethod
    def of(cls, config: Config) -> Bounds:
        """As [submission] has them."""
        s = config.submission
        return cls(
            max_connections=s.max_connections, max_connections_an_address=s.max_connections_an_address,
            max_data_memory_bytes=s.max_data_memory_bytes, max_message_bytes=s.max_message_bytes,
            max_recipients=s.max_recipients, max_messages_a_connection=s.max_messages_a_connection,
            max_bad_commands=s.max_bad_commands, max_idle_commands=s.max_idle_commands,
            opening_seconds=s.login_timeout_seconds, command_timeout_seconds=s.command_timeout_seconds,
            data_grace_seconds=s.data_grace_seconds, data_min_bytes_a_second=s.data_min_bytes_a_second,
        )

    @property
    def tick_seconds(self) -> float:
        """How often a conversation looks at the time: one slow tick each, instead of a timer a command."""
        return min(self.command_timeout_seconds, self.opening_seconds, self.data_grace_seconds) / 4


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
