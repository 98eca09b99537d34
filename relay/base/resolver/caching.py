"""What was learned lately, kept for as long as it may be.

A bounded table of answers and of "nothing there", oldest use out first. Trouble is never kept. Promises that what
it returns is still valid and says how much longer; leaves asking to the resolver.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from relay.base.resolver.results import Answer, Later, Nothing, Result

Key = TypeVar("Key")


class Cache(Generic[Key]):
    """A least-recently-used table whose entries end by their own time to live."""

    def __init__(
        self,
        *,
        entries: int,
        min_ttl_seconds: int,
        max_ttl_seconds: int,
        max_negative_ttl_seconds: int,
        now: Callable[[], float],
    ) -> None:
        self._entries = entries
        self._min = min_ttl_seconds
        self._max = max_ttl_seconds
        self._max_negative = max_negative_ttl_seconds
        self._now = now
        self._table: OrderedDict[Key, tuple[float, Answer | Nothing]] = OrderedDict()

    def get(self, key: Key) -> Answer | Nothing | None:
        """What is still valid under `key`, its ttl counted down to now; None when there is nothing."""
        found = self._table.get(key)
        if found is None:
            return None
        ends_at, result = found
        left = ends_at - self._now()
        if left <= 0:
            del self._table[key]
            return None
        self._table.move_to_end(key)
        seconds = int(left)
        if isinstance(result, Answer):
            return replace(result, ttl=min(result.ttl, seconds))
        return replace(result, negative_ttl=min(result.negative_ttl, seconds))

    def put(self, key: Key, result: Result) -> None:
        """Keep `result` for its time to live, within the bounds. `Later` is not kept: it is not a fact."""
        if isinstance(result, Later):
            return
        if isinstance(result, Answer):
            seconds = max(self._min, min(result.ttl, self._max))
        else:
            # RFC 2308 §5: a "no" is kept for the SOA's time, and a resolver may set a ceiling.
            seconds = max(self._min, min(result.negative_ttl, self._max_negative))
        if seconds <= 0 or self._entries <= 0:
            self._table.pop(key, None)
            return
        self._table[key] = (self._now() + seconds, result)
        self._table.move_to_end(key)
        while len(self._table) > self._entries:
            self._table.popitem(last=False)

    def __len__(self) -> int:
        return len(self._table)
