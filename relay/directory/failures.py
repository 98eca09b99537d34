"""Wrong API keys, counted by the address they come from and by the key they name from there.

Asked about wrong logins only, so a right key is never shut out by what others do at its address or with its name.
What a person could guess has a count of its own, which is asked first (`enroll.accounts`).
"""

from __future__ import annotations

from relay.base.config import Config
from relay.base.netguard import client_key
from relay.base.throttle import Throttle


class Failures:
    """The counts of this process; merely polite, lost with it."""

    def __init__(self, config: Config) -> None:
        s = config.submission
        self._from_address = Throttle(s.auth_failures_an_address, s.auth_failure_window_seconds)
        self._at_key = Throttle(s.auth_failures_a_key, s.auth_failure_window_seconds)

    def wait(self, address: str, public_id: str, now: float) -> float:
        """Count one more from `address`, naming the key `public_id` ("": none), and return 0; or, uncounted, the
        seconds until one more is looked at. `now` is monotonic."""
        address = client_key(address)
        wait = self._from_address.wait(address, now)
        if public_id:
            wait = max(wait, self._at_key.wait((public_id, address), now))
        if wait <= 0:
            self._from_address.count(address, now)
            if public_id:
                self._at_key.count((public_id, address), now)
        return wait
