"""Which TLS a delivery wants, and what to do when it can't be had.

`Wanted` is the policy, `Mode` one way to try a connection, `Security` the ladder between them: the mode to
begin with and the mode after a failure, or None when there is no lower step. Contexts are made once. What was
learnt of a host (its certificate does not verify) is remembered for a while, so that the next connection does
not pay for a failed handshake again.

Leaves to others: the handshake itself (`client`). MTA-STS and DANE choose a `Wanted` per host before it.
"""

from __future__ import annotations

import enum
import functools
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

Mode = Literal["verified", "unverified", "plain"]


class Wanted(enum.StrEnum):
    """The TLS policy of a destination."""

    # RFC 7435: some protection most of the time; never a reason not to deliver.
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    REQUIRED_VERIFIED = "verified"
    NONE = "none"


class Contexts:
    """The two client contexts, verifying and not."""

    def __init__(
        self, *, ca_file: str | None = None, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> None:
        """`ca_file`: PEM of the trusted authorities; None: the system's. `minimum`: RFC 8996, RFC 9325 §3.1.1."""
        self.verified = _verifying(ca_file, minimum) if ca_file is not None else _by_the_system(minimum)
        self.unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.unverified.check_hostname = False
        self.unverified.verify_mode = ssl.CERT_NONE
        self.unverified.minimum_version = minimum

    def of(self, mode: Mode) -> ssl.SSLContext:
        """The context for an encrypted mode."""
        return self.verified if mode == "verified" else self.unverified


def _verifying(ca_file: str | None, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    context.minimum_version = minimum
    return context


@functools.cache
def _by_the_system(minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """One for the whole process: reading the system's authorities takes tens of milliseconds, keeping them a MiB."""
    return _verifying(None, minimum)


class Security:
    """A policy with its contexts and its memory of hosts; shared by all connections under this policy."""

    def __init__(
        self, wanted: Wanted, contexts: Contexts, *, monotonic: Callable[[], float],
        remember_hosts: int = 1000, remember_seconds: float = 600.0,
    ) -> None:
        self.wanted = wanted
        self.contexts = contexts
        self._monotonic = monotonic
        self._most = remember_hosts
        self._seconds = remember_seconds
        self._unverified: OrderedDict[str, float] = OrderedDict()

    @property
    def must_encrypt(self) -> bool:
        """True when plaintext is no answer."""
        return self.wanted in (Wanted.REQUIRED, Wanted.REQUIRED_VERIFIED)

    def first(self, host: str) -> Mode:
        """The mode a conversation with `host` begins with."""
        if self.wanted is Wanted.NONE:
            return "plain"
        if self.wanted is Wanted.REQUIRED_VERIFIED:
            return "verified"
        until = self._unverified.get(host)
        if until is None:
            return "verified"
        if self._monotonic() >= until:
            del self._unverified[host]
            return "verified"
        return "unverified"

    def after_bad_certificate(self, host: str) -> Mode | None:
        """The next mode, on a new connection, after `host` showed a certificate that does not verify."""
        if self.wanted is Wanted.REQUIRED_VERIFIED:
            return None
        self._unverified[host] = self._monotonic() + self._seconds
        self._unverified.move_to_end(host)
        while len(self._unverified) > self._most:
            self._unverified.popitem(last=False)
        return "unverified"

    def after_bad_handshake(self) -> Mode | None:
        """The next mode, on a new connection, after TLS could not be agreed on at all."""
        return None if self.must_encrypt else "plain"
