"""From an address to a conversation that may carry mail: connect, greeting, EHLO, STARTTLS, AUTH.

Promises: a policy's ladder is walked to its end (verified TLS, unverified TLS, plaintext: each on a new
connection), all steps under one deadline; every end is an `Outcome`, always `later`, and leaves no socket.

Leaves to others: which addresses to try, and under which policy (`route`); the ladder's steps (`tls_policy`); mail
(`connection`).
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from dataclasses import dataclass, replace

from relay.delivery import dane
from relay.delivery.client.limits import Credentials, Limits
from relay.delivery.client.transport import Wire, WireFailed
from relay.delivery.tls_policy import OPPORTUNISTIC, Mode, TlsClient, TlsPolicy, why_unverified
from relay.outcome import Outcome, Peer, Reply, Stage, TlsResult, concluded, from_failure, from_reply

_HELO = re.compile(r"[A-Za-z0-9.\-_:\[\]]{1,255}")


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call (`host` is the name for the certificate), under which policy, and how to introduce ourselves."""

    host: str
    ip: str
    port: int
    helo: str
    policy: TlsPolicy = OPPORTUNISTIC
    source_address: str | None = None
    implicit_tls: bool = False
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A wire past EHLO (and AUTH): what the server offers, keyword → parameters, and who it is."""

    wire: Wire
    offers: dict[str, str]
    peer: Peer


class _Step(Exception):
    """An opening ended; `outcome` says why, `lower` that the next TLS mode may be tried."""

    def __init__(self, outcome: Outcome, lower: str = "") -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.lower = lower


async def open_wire(target: Target, tls: TlsClient, limits: Limits) -> Opened | Outcome:
    """Open a conversation. Returns an outcome (always `later`) when none can be had.

    Raises ValueError for a HELO name that would not be one word."""
    if not _HELO.fullmatch(target.helo):
        raise ValueError("the HELO name holds characters that no host name or address literal has")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.conversation_seconds
    policy = target.policy
    begun = loop.time()
    if policy.blocked:
        peer = Peer(target.host, target.ip, policy=policy.word, tls_result=policy.noted)
        return concluded("later", "4.7.5", policy.blocked, "route", "host", peer)
    mode: Mode | None
    mode, why = tls.first(policy, target.host)
    lowered = False  # TLS was offered on an earlier connection and came to nothing
    while True:
        assert mode is not None
        attempt = _Attempt(target, tls, limits, mode, deadline, why)
        try:
            opened = await attempt.run()
            in_the_clear = opened.peer.tls is None and policy.may_encrypt
            if in_the_clear and (lowered or "STARTTLS" in opened.offers):
                opened = replace(opened, peer=replace(opened.peer, downgraded=True))
            return opened
        except _Step as step:
            await attempt.drop()
            outcome, lower = step.outcome, step.lower
        except BaseException:
            attempt.wire.abort()
            raise
        lowered = lowered or lower == "tls"
        tried, mode, why = mode, None, outcome.tls_result
        if lower == "certificate":
            mode = tls.after_bad_certificate(policy, target.host, why)
        elif lower == "tls" and not target.implicit_tls and tried != "plain":
            mode = tls.after_bad_handshake(policy)
        if mode is None:
            return replace(outcome, duration_seconds=loop.time() - begun)


class _Attempt:
    """One connection, tried in one TLS mode."""

    def __init__(
        self, target: Target, tls: TlsClient, limits: Limits, mode: Mode, deadline: float, why: TlsResult
    ) -> None:
        """`why`: what TLS with this host has failed for before."""
        self.target = target
        self.tls = tls
        self.limits = limits
        self.mode = mode
        self.wire = Wire(limits, asyncio.get_running_loop())
        self.wire.deadline = deadline
        self.peer = Peer(target.host, target.ip, policy=target.policy.word, tls_result=why)
        self.stage: Stage = "connect"

    async def run(self) -> Opened:
        try:
            await self._connect()
            if self.target.implicit_tls:
                # RFC 8314 §3: the handshake comes first, then the greeting.
                self.stage = "starttls"
                await self._handshake()
                self.wire.owed = 1
            await self._greeting()
            offers = await self._ehlo()
            if not self.target.implicit_tls and self.mode != "plain":
                offers = await self._starttls(offers)
            if self.target.credentials is not None:
                await self._auth(self.target.credentials, offers)
        except WireFailed as failed:
            # A server that hangs up or babbles at STARTTLS has no TLS for us; injection never gets less.
            no_tls = self.stage == "starttls" and failed.failure == "closed"
            if no_tls:
                self._failed("validation-failure")
            raise _Step(
                from_failure(failed.failure, self.stage, self.peer, said=self.wire.last_words), "tls" if no_tls else ""
            ) from None
        return Opened(self.wire, offers, self.peer)

    async def drop(self) -> None:
        """Close what is open and let the loop close the socket."""
        self.wire.abort()
        await asyncio.sleep(0)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        source = (self.target.source_address, 0) if self.target.source_address else None
        seconds = max(0.001, min(self.limits.connect_seconds, self.wire.deadline - loop.time()))
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: self.wire, self.target.ip, self.target.port, local_addr=source
                )
        except ConnectionRefusedError:
            raise _Step(from_failure("refused", "connect", self.peer)) from None
        except TimeoutError:
            raise _Step(from_failure("timeout", "connect", self.peer)) from None
        except OSError:
            raise _Step(from_failure("unreachable", "connect", self.peer)) from None

    async def _ask(self, command: bytes, stage: Stage) -> Reply:
        self.stage = stage
        self.wire.send(command, 1)
        return await self.wire.reply(self.limits.command_seconds)

    def _stop(self, reply: Reply) -> _Step:
        return _Step(from_reply(reply, self.stage, self.peer))

    async def _greeting(self) -> None:
        self.stage = "greeting"
        reply = await self.wire.reply(self.limits.greeting_seconds)
        # RFC 5321 §3.1, §4.3.2: 220, or the host takes no mail now.
        if reply.code != 220:
            raise self._stop(reply)

    async def _ehlo(self) -> dict[str, str]:
        helo = self.target.helo.encode("ascii")
        reply = await self._ask(b"EHLO " + helo + b"\r\n", "ehlo")
        if reply.code == 250:
            return _offers(reply)
        # RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO; it offers nothing.
        if reply.code // 100 == 5 and reply.code not in (521, 554):
            reply = await self._ask(b"HELO " + helo + b"\r\n", "ehlo")
            if reply.code == 250:
                return {}
        raise self._stop(reply)

    def _failed(self, result: TlsResult) -> None:
        """Note what TLS failed for now."""
        self.peer = replace(self.peer, tls_result=result)

    async def _starttls(self, offers: dict[str, str]) -> dict[str, str]:
        if "STARTTLS" not in offers:
            self._failed("starttls-not-supported")
            if self.target.policy.must_encrypt:
                raise _Step(from_failure("tls_missing", "starttls", self.peer))
            return offers
        reply = await self._ask(b"STARTTLS\r\n", "starttls")
        if reply.code != 220:
            self._failed("starttls-not-supported")
            # RFC 3207 §4.1: the client decides; 421 closes in any case.
            if self.target.policy.must_encrypt or reply.code == 421:
                raise self._stop(reply)
            return offers
        await self._handshake()
        # RFC 3207 §4.2: what was learnt before the handshake is forgotten.
        return await self._ehlo()

    async def _handshake(self) -> None:
        if self.wire.failure == "out_of_step" and self.stage == "starttls":
            # RFC 3207 §4.2: bytes after the 220 came before the handshake; they may be anybody's.
            self._failed("validation-failure")
            raise _Step(from_failure("injected", "starttls", self.peer))
        policy = self.target.policy
        name = policy.names[0] if policy.names else self.target.host.strip("[]")
        try:
            tls = await self.wire.start_tls(self.tls.contexts.of(self.mode), name, self.limits.tls_seconds)
        except ssl.SSLCertVerificationError as e:
            why = why_unverified(e)
            self._failed(why)
            raise _Step(from_failure("certificate", "starttls", self.peer, why=why), "certificate") from None
        except (ssl.SSLError, OSError, TimeoutError, ValueError):
            self._failed("validation-failure")
            raise _Step(from_failure("tls", "starttls", self.peer), "tls") from None
        cipher = tls.cipher()
        self.peer = replace(
            self.peer, tls=tls.version(), cipher=cipher[0] if cipher else "",
            tls_verified=self.mode in ("verified", "dane"),
        )
        if self.mode == "dane":
            self._held_against(policy, tls)

    def _held_against(self, policy: TlsPolicy, tls: ssl.SSLObject) -> None:
        """RFC 7672 §3.1: nothing is said over this connection unless the TLSA records name what was shown."""
        why = dane.judge(dane.peer_chain(tls), policy.tlsa, policy.names or (self.target.host,), self.tls.now())
        if why:
            self.peer = replace(self.peer, tls_verified=False)
            self._failed(why)
            raise _Step(from_failure("tlsa", "starttls", self.peer, why=why))

    async def _auth(self, login: Credentials, offers: dict[str, str]) -> None:
        self.stage = "auth"
        mechanisms = offers.get("AUTH", "").upper().split()
        user, password = login.user.encode(), login.password.encode()
        # RFC 4954 §4: cleartext mechanisms only where nobody listens.
        if self.peer.tls is None and not login.without_tls:
            mechanisms = []
        if "PLAIN" in mechanisms:
            response = base64.b64encode(b"\0" + user + b"\0" + password)
            reply = await self._ask(b"AUTH PLAIN " + response + b"\r\n", "auth")
        elif "LOGIN" in mechanisms:
            reply = await self._ask(b"AUTH LOGIN\r\n", "auth")
            for answer in (user, password):
                if reply.code != 334:
                    break
                reply = await self._ask(base64.b64encode(answer) + b"\r\n", "auth")
        else:
            raise _Step(from_failure("auth_missing", "auth", self.peer))
        if reply.code != 235:
            raise self._stop(reply)


def _offers(reply: Reply) -> dict[str, str]:
    """RFC 5321 §4.1.1.1: the lines after the first are keywords with parameters."""
    offers: dict[str, str] = {}
    for line in reply.lines[1:]:
        # "AUTH=PLAIN LOGIN" is how servers older than RFC 2554 wrote it.
        word, _, rest = line.decode("ascii", "replace").strip().replace("=", " ", 1).partition(" ")
        offers.setdefault(word.upper(), rest.strip())
    return offers
