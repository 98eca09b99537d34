"""Which TLS a host must speak, and what to do when it can't be had.

A `TlsPolicy` is a value: it stands on each host of a route, connections are alike only under one, and every outcome
names the one that held. A `Mode` is one way to try a connection. `TlsClient` is the ladder between modes: the one to
begin with and the one after a failure, or None when there is no lower step. Its contexts are made once; what was
learnt of a host (its certificate does not verify) is remembered for a while, so that the next connection does not pay
for a failed handshake again.

Leaves to others: which policy a host has (`route`), and the handshake itself (`client`).
"""

from __future__ import annotations

import enum
import functools
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Mode = Literal["verified", "unverified", "plain"]


class TlsLevel(enum.StrEnum):
    """How much TLS is asked of a host."""

    NONE = "none"
    # RFC 7435: some protection most of the time; never a reason not to deliver.
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What one host must speak. What a host's own records ask of us stands beside the level."""

    level: TlsLevel

    @property
    def must_encrypt(self) -> bool:
        """True when plaintext is no answer."""
        return self.level in (TlsLevel.REQUIRED, TlsLevel.VERIFIED)

    @property
    def may_encrypt(self) -> bool:
        """False when TLS is not even tried."""
        return self.level is not TlsLevel.NONE


OPPORTUNISTIC = TlsPolicy(TlsLevel.OPPORTUNISTIC)


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


class TlsClient:
    """Contexts, and what was learnt of hosts; shared by all connections of a process."""

    def __init__(
        self, contexts: Contexts, *, monotonic: Callable[[], float], remember_hosts: int = 1000,
        remember_seconds: float = 600.0,
    ) -> None:
        self.contexts = contexts
        self._monotonic = monotonic
        self._most = remember_hosts
        self._seconds = remember_seconds
        self._unverified: OrderedDict[str, float] = OrderedDict()

    def first(self, policy: TlsPolicy, host: str) -> Mode:
        """The mode a conversation with `host` begins with."""
        if not policy.may_encrypt:
            return "plain"
        if policy.level is TlsLevel.VERIFIED:
            return "verified"
        until = self._unverified.get(host)
        if until is None:
            return "verified"
        if self._monotonic() >= until:
            del self._unverified[host]
            return "verified"
        return "unverified"

    def after_bad_certificate(self, policy: TlsPolicy, host: str) -> Mode | None:
        """The next mode, on a new connection, after `host` showed a certificate that does not verify."""
        if policy.level is TlsLevel.VERIFIED:
            return None
        self._unverified[host] = self._monotonic() + self._seconds
        self._unverified.move_to_end(host)
        while len(self._unverified) > self._most:
            self._unverified.popitem(last=False)
        return "unverified"

    def after_bad_handshake(self, policy: TlsPolicy) -> Mode | None:
        """The next mode, on a new connection, after TLS could not be agreed on at all."""
        return None if policy.must_encrypt else "plain"
