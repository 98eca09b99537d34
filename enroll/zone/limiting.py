"""How much one corner of the network is answered over UDP, where the source of a question can be forged.

Promises that a flood with a forged source never turns into a flood of answers: above the rate most questions get
none, and one in `slip` gets the header and the question back with TC, which is no larger than what was asked and
lets an honest asker come again over TCP. Memory is bounded. Counts whole networks, because whoever forges addresses
has a network to hit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from relay.base.netguard import within

Ruling = Literal["answer", "slip", "drop"]

_PREFIXES = 24, 56


class RateLimit:
    """A bucket of one second's answers for each network: it empties by one an answer and fills by time.

    per_second: answers. slip: one question above the rate in so many is sent to TCP. max_networks: buckets kept;
    the one unused for longest is forgotten first. monotonic: seconds.
    """

    def __init__(
        self, per_second: float, *, monotonic: Callable[[], float], slip: int = 2, max_networks: int = 50_000
    ) -> None:
        self._rate, self._slip, self._most, self._now = max(per_second, 1.0), slip, max_networks, monotonic
        # network → (answers left, when that was, questions above the rate since)
        self._buckets: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def rule(self, address: str) -> Ruling:
        """What a question from `address` gets now."""
        network, now = network_of(address), self._now()
        left, at, over = self._buckets.pop(network, (self._rate, now, 0))
        left = min(self._rate, left + max(0.0, now - at) * self._rate)
        if left >= 1.0:
            self._keep(network, left - 1.0, now, 0)
            return "answer"
        over += 1
        self._keep(network, left, now, over)
        return "slip" if over % self._slip == 0 else "drop"

    def _keep(self, network: str, left: float, now: float, over: int) -> None:
        self._buckets[network] = left, now, over
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)


def network_of(address: str) -> str:
    """The network that an address is counted in; what is no address is counted by itself."""
    return within(address, *_PREFIXES)
