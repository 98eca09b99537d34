"""What a submission session asks of the rooms behind the door."""

from __future__ import annotations

from typing import Protocol

from relay.base.names import Address
from relay.directory import DomainEntry, Login
from relay.intake import Accepted, Submission
from relay.replies import Verdict
from relay.smtpd.house import House


class Logins(Protocol):
    """What is asked of the directory."""

    def login(self, username: str | None, secret: str, address: str, *, acts_as: str = "") -> Login | Verdict:
        """The member behind an API key. `acts_as`, where given, must name the same member."""

    def greeting(self, address: str) -> Verdict | None:
        """The refusal of an address before a word is said."""


class Decisions(Protocol):
    """What is asked of the policy."""

    def sender(self, login: Login, address: str) -> DomainEntry | Verdict:
        """May this login (still) send from here?"""

    def null_sender(self, login: Login) -> Verdict | None:
        """May it (still) send without a sender?"""

    async def recipient(
        self, login: Login, domain: DomainEntry | None, address: str, *, named: int
    ) -> Address | Verdict:
        """May this recipient be added? `domain` None: there is no sender."""


class Gate(Protocol):
    """What is asked of the intake."""

    @property
    def full(self) -> bool:
        """Whether the disk was full a moment ago."""

    async def accept(self, submission: Submission) -> Accepted | Verdict:
        """Take a message; `Accepted` means that it is on disk."""


class Rooms(House, Protocol):
    """The server as a session sees it: the rooms behind the door."""

    directory: Logins
    policy: Decisions
    intake: Gate
