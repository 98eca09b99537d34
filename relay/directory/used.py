"""From which addresses members have logged in: in this process's memory, the latest only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

_MEMBERS_EACH = 4


class UsedFrom:
    """For each of the last `most` addresses, the few members who logged in from there last."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._members: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def note(self, address: str, member_id: int) -> None:
        """A member has logged in from an address."""
        known = self._members.get(address, ())
        if member_id not in known[:1]:
            others = [m for m in known if m != member_id]
            self._members[address] = (member_id, *others[: _MEMBERS_EACH - 1])
        self._members.move_to_end(address)
        if len(self._members) > self._most:
            self._members.popitem(last=False)

    def by(self, address: str) -> Collection[int]:
        """The members who did."""
        return self._members.get(address, ())
