"""What the sandbox received: the last messages, as many as fit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it arrived. `raw` is dot-unstuffed and else untouched; `at` is Unix time.

    `tls` is the version, or None without TLS."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes
    peer: str
    helo: str
    tls: str | None
    at: float


class Store:
    """Keeps at most `messages` and at most `octets` of them; the oldest go first."""

    def __init__(self, messages: int = 500, octets: int = 67_108_864) -> None:
        self._messages = messages
        self._octets = octets
        self._kept: deque[tuple[int, Received]] = deque()
        self._held = 0
        self._last = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, received: Received) -> int:
        """Put one more in and return its number; one larger than the whole store is not kept."""
        self._last += 1
        if len(received.raw) > self._octets:
            return self._last
        self._kept.append((self._last, received))
        self._held += len(received.raw)
        while len(self._kept) > self._messages or self._held > self._octets:
            self._held -= len(self._kept.popleft()[1].raw)
        return self._last

    def newest(self) -> list[tuple[int, Received]]:
        """All kept messages with their numbers, newest first."""
        return list(reversed(self._kept))

    def find(self, number: int) -> Received | None:
        """The message with this number, while it is kept."""
        return next((received for n, received in self._kept if n == number), None)
