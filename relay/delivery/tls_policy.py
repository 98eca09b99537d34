"""Which TLS a host must speak, and what to do when it can't be had.

A `TlsPolicy` is a value: it stands on each host of a route, connections are alike only under one, and every outcome
names the one that held. A `Mode` is one way to try a connection. `TlsClient` is the ladder between modes: the one to
begin with and the one after a failure, or None when there is no lower step. Its contexts are made once; what was
learnt of a host (its certificate does not verify) is remembered for a while, so that the next connection does not pay
for a failed handshake again.

Leaves to others: which policy a host has (`route`, `policies`), and the handshake itself (`client`).
"""

from __future__ import annotations

import enum
import functools
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from relay.delivery.dane import Tlsa
from relay.outcome import TlsResult

Mode = Literal["verified", "dane", "unverified", "plain"]
# By whose word: a recipient's domain's own (DANE, MTA-STS), the sender's (RFC 8689), "" the configuration's.
Source = Literal["", "dane", "mta-sts", "mta-sts-testing", "requiretls", "tls-required-no"]


class TlsLevel(enum.StrEnum):
    """How much TLS is asked of a host."""

    NONE = "none"
    # RFC 7435: some protection most of the time; never a reason not to deliver.
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What one host must speak.

    `tlsa`: usable records of which its certificate must be one; the certificate may be for any of `names`, the first
    of which is said in the handshake (RFC 7672 §8.1). `blocked`: it may not even be connected to, for this reason in
    words, and `noted`: what is wrong with the policy itself, in RFC 8460's words. `shown`, `patterns`: the policy as
    reports tell of it (RFC 8460 §4.4: policy-string, mx-host).
    """

    level: TlsLevel
    source: Source = ""
    tlsa: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()
    blocked: str = ""
    noted: TlsResult = ""
    shown: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def report_type(self) -> str:
        """RFC 8460 §4.4: policy-type."""
        if self.tlsa or self.source == "dane":
            return "tlsa"
        return "sts" if self.patterns or self.noted.startswith("sts-") else "no-policy-found"

    @property
    def word(self) -> str:
        """What attempts call it."""
        return self.source or self.level.value

    @property
    def must_encrypt(self) -> bool:
        """True when plaintext is no answer."""
        return self.level in (TlsLevel.REQUIRED, TlsLevel.VERIFIED)

    @property
    def may_encrypt(self) -> bool:
        """False when TLS is not even tried."""
        return self.level is not TlsLevel.NONE

    @property
    def mode(self) -> Mode:
        """The strictest way to try a connection under it."""
        if not self.may_encrypt:
            return "plain"
        return "dane" if self.tlsa else "verified"

    def as_required(self, *, secure: bool) -> TlsPolicy:
        """The same host for a message with REQUIRETLS (RFC 8689 §4.2.1): its certificate must verify, by its TLSA
        records where it has them. `secure`: its name came by DNSSEC or an MTA-STS policy, or the operator wrote it."""
        if not secure:
            says = "neither DNSSEC nor MTA-STS vouches for this exchanger's name"
            return TlsPolicy(TlsLevel.VERIFIED, "requiretls", blocked=says, noted="requiretls")
        return replace(self, level=TlsLevel.VERIFIED, source="requiretls")

    def as_not_required(self) -> TlsPolicy:
        """The same host for a message with `TLS-Required: No` (RFC 8689 §5): what its domain publishes is passed over,
        what the operator has written is not."""
        own = self.source == "" and self.level is not TlsLevel.OPPORTUNISTIC
        return self if own else NOT_REQUIRED


OPPORTUNISTIC = TlsPolicy(TlsLevel.OPPORTUNISTIC)
NOT_REQUIRED = TlsPolicy(TlsLevel.OPPORTUNISTIC, "tls-required-no")


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
        """The context for an encrypted mode. What `dane` demands is looked at after the handshake."""
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
        self, contexts: Contexts, *, monotonic: Callable[[], float], now: Callable[[], float] = time.time,
        remember_hosts: int = 1000, remember_seconds: float = 600.0,
    ) -> None:
        """`now` gives Unix seconds: certificates have dates."""
        self.contexts, self.now = contexts, now
        self._monotonic = monotonic
        self._most = remember_hosts
        self._seconds = remember_seconds
        self._unverified: OrderedDict[str, tuple[float, TlsResult]] = OrderedDict()

    def first(self, policy: TlsPolicy, host: str) -> tuple[Mode, TlsResult]:
        """The mode a conversation with `host` begins with; and what its certificate failed for lately, where that is
        why it isn't looked at again."""
        if policy.mode != "verified" or policy.level is TlsLevel.VERIFIED:
            return policy.mode, ""
        known = self._unverified.get(host)
        if known is None:
            return "verified", ""
        until, why = known
        if self._monotonic() >= until:
            del self._unverified[host]
            return "verified", ""
        return "unverified", why

    def after_bad_certificate(self, policy: TlsPolicy, host: str, why: TlsResult) -> Mode | None:
        """The next mode, on a new connection, after `host` showed a certificate that does not verify."""
        if policy.level is TlsLevel.VERIFIED:
            return None
        self._unverified[host] = self._monotonic() + self._seconds, why
        self._unverified.move_to_end(host)
        while len(self._unverified) > self._most:
            self._unverified.popitem(last=False)
        return "unverified"

    def after_bad_handshake(self, policy: TlsPolicy) -> Mode | None:
        """The next mode, on a new connection, after TLS could not be agreed on at all."""
        return None if policy.must_encrypt else "plain"


# OpenSSL's verification codes (X509_V_ERR_…): expired, not yet valid; another name, another address.
_EXPIRED, _NAMES = frozenset({9, 10}), frozenset({62, 64})


def why_unverified(error: ssl.SSLCertVerificationError) -> TlsResult:
    """RFC 8460 §4.3's word for a certificate that does not verify."""
    if error.verify_code in _NAMES:
        return "certificate-host-mismatch"
    return "certificate-expired" if error.verify_code in _EXPIRED else "certificate-not-trusted"
