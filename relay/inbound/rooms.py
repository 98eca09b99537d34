"""What a session on port 25 asks of the rooms behind the door."""

from __future__ import annotations

from typing import Protocol

from relay.bounces.record import Records
from relay.inbound.dispatch import Arrivals
from relay.inbound.forwards import Forwards
from relay.smtpd.house import House
from relay.unsubscribe import Unsubscribe


class Rooms(House, Protocol):
    """The server as a session sees it."""

    records: Records
    forwards: Forwards
    unsubscribe: Unsubscribe
    arrivals: Arrivals

    def is_ours(self, domain: str) -> bool:
        """True for the relay's own domains and the verified return-path domains of members."""
