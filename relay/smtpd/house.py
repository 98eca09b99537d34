"""What a conversation asks of the listener it belongs to, and what that one sees of a conversation."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from relay.base.config import Config
from relay.replies import Reply, Verdict
from relay.smtpd.bounds import Bounds
from relay.smtpd.data import Memory


class Guest(Protocol):
    """A connection, as its listener sees it."""

    address: str
    task: asyncio.Task[None] | None

    def leave(self) -> None:
        """Say 421 and go, now or after the command or message under way."""

    def cut(self, reply: Reply) -> None:
        """Say a last word and close."""

    def abort(self) -> None:
        """Close now, whatever is unsaid."""


class Recorder(Protocol):
    """Who keeps refusals, so that they can be looked up."""

    def record(
        self, verdict: Verdict, *, door: str, address: str, member_id: int | None, request: dict[str, Any] | None
    ) -> Verdict:
        """The verdict with its reference."""


class House(Protocol):
    """The listener, as a conversation sees it. `name` stands before the events in its log."""

    @property
    def name(self) -> str:
        """Of the door."""

    @property
    def config(self) -> Config:
        """For the host's name and the pages' address."""

    @property
    def bounds(self) -> Bounds:
        """The numbers to keep to."""

    @property
    def memory(self) -> Memory:
        """What all unfinished messages together may hold."""

    @property
    def refusals(self) -> Recorder:
        """Who keeps refusals."""

    def admit(self, guest: Guest) -> Reply | None:
        """Count this connection, or say why not."""

    def release(self, guest: Guest) -> None:
        """It is over; calling again changes nothing."""

    def tls_context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
