"""What a room of the relay wants a member to be told by mail. Who writes and queues it is enrollment's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.base.storage import Tx


@dataclass(frozen=True, slots=True)
class Letter:
    """To the member's own address; `text` without a greeting."""

    member_id: int
    subject: str
    text: str


class NoticeLater(Exception):
    """The letter can't be written just now; what it tells of waits with it."""


Join = Callable[[Tx], Awaitable[None]]
Tell = Callable[[Letter], Awaitable[Join]]
"""Prepares a letter with no transaction open; what comes back writes it within one. Both raise NoticeLater."""
