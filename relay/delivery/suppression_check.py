"""Mail that waited, held against the list as it is now: who has unsubscribed since it was accepted gets no more of it.

Promises the judgement that the accepting transaction makes, by a snapshot that is half a second old, and no query
for anybody who is on no list. Leaves to others: writing it down (`relay.queue`), and what an entry stops
(`relay.suppression`).
"""

from __future__ import annotations

from relay import suppression
from relay.base import names
from relay.base.storage import Storage
from relay.base.storage import directory as rows
from relay.base.storage.mail import Due
from relay.suppression import Suppression, Suppressions


class SuppressionCheck:
    """Finds the entry that stops a recipient."""

    def __init__(self, storage: Storage, suppressions: Suppressions) -> None:
        self._storage, self._suppressions = storage, suppressions

    async def entry(self, due: Due) -> Suppression | None:
        """What on its member's list stops this recipient by now, or None. Raises StorageError.

        The relay's own mail and what is forwarded were never judged, and are not now.
        """
        if due.key_id is None:
            return None
        try:
            canonical = names.canonical(names.address(due.address))
        except names.BadName:
            # Written by a version that took what this one would not: the other side may refuse it.
            return None
        if not self._suppressions.maybe(due.member_id, canonical):
            return None
        found = await self._suppressions.find(due.member_id, canonical)
        if found is None:
            return None
        usual = due.category
        if due.door == "smtp":
            async with self._storage.read() as tx:
                usual = await rows.default_category(tx, due.key_id)
        return found if suppression.stops(found, due.door, due.category, usual) else None
