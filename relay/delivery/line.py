"""One site's recipients that wait in this process: members take turns, and each member's senders and domains too.

Promises constant time a recipient while nothing is blocked, whoever has how much; nothing is lost or doubled.
Leaves to others: what is blocked (`pacing`), leases and bounds (`worker`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable

from relay.base.storage.mail import Due
from relay.queue import Ready

Pair = tuple[str, str]
"""(the sender's domain, the recipient's domain)"""
Blocked = Callable[[str, str], bool]


def sender_domain(due: Due) -> str:
    """Whose mail it is to the other side: the domain of the envelope's sender, else of the return path."""
    return due.mail_from.rpartition("@")[2].lower() or due.return_path


class Line:
    """Recipients in the order of turns."""

    def __init__(self, ready: Iterable[Ready] = ()) -> None:
        self._members: OrderedDict[int, OrderedDict[Pair, deque[Ready]]] = OrderedDict()
        self._n = 0
        self.extend(ready)

    def __len__(self) -> int:
        return self._n

    def waiting(self) -> list[Ready]:
        """All of them, each member's together."""
        return [r for pairs in self._members.values() for queue in pairs.values() for r in queue]

    def extend(self, ready: Iterable[Ready]) -> None:
        """Put them behind what waits."""
        for one in ready:
            self._queue(one).append(one)
            self._n += 1

    def put_back(self, ready: Ready) -> None:
        """Put one before all others of its sender and domain."""
        self._queue(ready).appendleft(ready)
        self._n += 1

    def take(self, blocked: Blocked | None = None) -> Ready | None:
        """The next one that is not blocked, or None."""
        for _ in range(len(self._members)):
            member, pairs = next(iter(self._members.items()))
            self._members.move_to_end(member)
            for _ in range(len(pairs)):
                pair, queue = next(iter(pairs.items()))
                pairs.move_to_end(pair)
                if blocked is None or not blocked(*pair):
                    ready = queue.popleft()
                    self._n -= 1
                    self._drop_empty(member, pair)
                    return ready
        return None

    def open(self, blocked: Blocked | None, most: int) -> int:
        """How many are not blocked, counted up to `most`."""
        if blocked is None:
            return min(self._n, most)
        found = 0
        for pairs in self._members.values():
            for pair, queue in pairs.items():
                if not blocked(*pair):
                    found += len(queue)
                    if found >= most:
                        return most
        return found

    def remove(self, ids: Collection[int]) -> list[Ready]:
        """Take out those with these recipient ids."""
        gone: list[Ready] = []
        for member, pairs in list(self._members.items()):
            for pair, queue in list(pairs.items()):
                found = [r for r in queue if r.due.id in ids]
                if found:
                    left = [r for r in queue if r.due.id not in ids]
                    queue.clear()
                    queue.extend(left)
                    gone += found
                    self._drop_empty(member, pair)
        self._n -= len(gone)
        return gone

    def beyond(self, most: int) -> list[Ready]:
        """Take out all but those whose turn comes within the next `most`."""
        kept = [r for _ in range(min(most, self._n)) if (r := self.take()) is not None]
        gone = self.waiting()
        self._members.clear()
        self._n = 0
        self.extend(kept)
        return gone

    def domains(self) -> set[str]:
        """The recipients' domains of all that waits."""
        return {destination for pairs in self._members.values() for _, destination in pairs}

    def _queue(self, ready: Ready) -> deque[Ready]:
        pairs = self._members.setdefault(ready.due.member_id, OrderedDict())
        return pairs.setdefault((sender_domain(ready.due), ready.due.destination), deque())

    def _drop_empty(self, member: int, pair: Pair) -> None:
        pairs = self._members[member]
        if not pairs[pair]:
            del pairs[pair]
            if not pairs:
                del self._members[member]
