"""What the door asks of the rooms behind it, and a conversation of the server it belongs to."""

from __future__ import annotations

import ssl
from typing import Protocol

from relay.base.config import Config
from relay.base.names import Address
from relay.directory import DomainEntry, Login
from relay.intake import Accepted, Submission
from relay.refusals import Refusals
from relay.replies import Reply, Verdict
from relay.submission.conversation import Conversation
from relay.submission.data import Memory


class House(Protocol):
    """What a conversation needs of the server it belongs to."""

    config: Config
    memory: Memory

    def admit(self, conversation: Conversation) -> Reply | None:
        """Count this connection, or say why not."""

    def release(self, conversation: Conversation) -> None:
        """It is over; calling again changes nothing."""

    def tls_context(self) -> ssl.SSLContext:
        """The context for the next handshake."""


class Logins(Protocol):
    """What is asked of the directory."""

    def login(self, username: str | None, secret: str, address: str) -> Login | Verdict:
        """The member behind an API key."""

    def greeting(self, address: str) -> Verdict | None:
        """The refusal of an address before a word is said."""


class Decisions(Protocol):
    """What is asked of the policy."""

    def sender(self, login: Login, address: str) -> DomainEntry | Verdict:
        """May this login (still) send from here?"""

    async def recipient(
        self, login: Login, domain: DomainEntry, address: str, *, category: str | None, named: int
    ) -> Address | Verdict:
        """May this recipient be added?"""


class Gate(Protocol):
    """What is asked of the intake."""

    async def accept(self, submission: Submission) -> Accepted | Verdict:
        """Take a message; `Accepted` means that it is on disk."""


class Rooms(House, Protocol):
    """The server as a session sees it: the rooms behind the door."""

    directory: Logins
    policy: Decisions
    intake: Gate
    refusals: Refusals
