"""Open conversations, kept for the next message, and the walk along a route.

Promises: no more connections to an address than allowed, none idle for longer than allowed, a connection that died
while idle costs nobody a deferral, and `close` leaves no socket. The walk tries exchangers in order until there is an
answer that the next exchanger would not change.

Leaves to others: the route (`route`), one conversation (`client`), how many walks run at once (`pacing`, `worker`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay.delivery.client import Connection, Credentials, Limits, Target, Transaction
from relay.delivery.client.limits import DEFAULTS
from relay.delivery.route import Host, Route
from relay.delivery.signs import is_too_much, is_worn_out
from relay.delivery.sites import same_operator
from relay.delivery.tls_policy import Contexts, TlsClient, TlsPolicy
from relay.outcome import Outcome, Peer, TlsResult, from_failure, without_required_tls

_Address = tuple[str, int]


class Guide(Protocol):
    """Who says along a route which exchanger may be called now: see `relay.delivery.pacing.Visit`."""

    def enters(self, route: Route, host: Host, ip: str) -> bool:
        """Whether to call `host` at `ip` now; each True is followed by `heard`."""

    def goes(self, route: Route, host: Host) -> bool:
        """Whether it still may be asked, now that there is a connection."""

    def heard(self, route: Route, host: Host, ip: str, outcome: Outcome | None) -> None:
        """What came of the call; None: nothing was asked."""

    def over(self, outcome: Outcome | None) -> None:
        """The walk has ended; None: no exchanger could be called."""


class _Unpaced:
    """All may be called, but for whoever speaks for one that has asked for less."""

    def __init__(self) -> None:
        self._ended: list[Host] = []

    def enters(self, route: Route, host: Host, ip: str) -> bool:
        return not any(same_operator(spoke, host) for spoke in self._ended)

    def goes(self, route: Route, host: Host) -> bool:
        return True

    def heard(self, route: Route, host: Host, ip: str, outcome: Outcome | None) -> None:
        if outcome is not None and is_too_much(outcome):
            self._ended.append(host)

    def over(self, outcome: Outcome | None) -> None:
        pass


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds; configuration feeds them."""

    helo: str
    source_addresses: tuple[str, ...] = ()
    connections_an_address: int = 20
    messages_a_connection: int = 500
    idle_seconds: float = 15.0
    max_idle: int = 200
    # How long a delivery waits for a connection when all allowed ones are in use.
    busy_seconds: float = 60.0
    # Addresses tried in one walk.
    max_tries: int = 10


@dataclass(frozen=True, slots=True)
class _Key:
    """Connections are alike when all of this is."""

    host: str
    ip: str
    port: int
    policy: TlsPolicy
    implicit_tls: bool
    credentials: Credentials | None

    @property
    def address(self) -> _Address:
        return self.ip, self.port


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session with an exchanger of `domain`, had or tried (RFC 8460 §4.3); `result` "": as `policy` wants it."""

    domain: str
    policy: TlsPolicy
    host: str
    ip: str
    source: str
    result: TlsResult


class Pool:
    """All of a process's connections to mail exchangers."""

    def __init__(
        self, settings: PoolSettings, contexts: Contexts, *, monotonic: Callable[[], float], limits: Limits = DEFAULTS,
        now: Callable[[], float] = time.time, on_session: Callable[[Session], None] = lambda session: None,
    ) -> None:
        """`now` gives Unix seconds. `on_session` is told of every TLS session."""
        self._settings = settings
        self._limits = limits
        self._monotonic = monotonic
        self._tls = TlsClient(contexts, monotonic=monotonic, now=now)
        self._on_session = on_session
        self._idle: OrderedDict[Connection, float] = OrderedDict()
        self._idle_by_key: dict[_Key, list[Connection]] = {}
        self._keys: dict[Connection, _Key] = {}
        self._open: dict[_Address, int] = {}
        self._waiting: dict[_Address, deque[asyncio.Future[None]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections waiting for a message."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """Connections open or being opened, idle ones included."""
        return sum(self._open.values())

    # -- the walk ----------------------------------------------------------------------------------------------

    async def deliver(self, route: Route, mail: Transaction, visit: Guide | None = None) -> Outcome | None:
        """Carry one message along `route`; None: no exchanger may be called just now.

        RFC 5321 §5.1: what one exchanger can't do now, the next is asked; within `max_tries` addresses and, for a
        new try, `conversation_seconds` of the limits. RFC 8689 §4.2.1: `never` with 5.7.30 where none that was asked
        has the TLS that the sender requires. `visit` says which may be called, and hears what each said; without one
        all may."""
        visit = visit or _Unpaced()
        begun = self._monotonic()
        found: Outcome | None = None
        lacking = mail.require_tls
        tries = 0
        # A host that may not be used is one try, however many addresses it has.
        places = [(host, ip) for host in route.hosts for ip in host.ips[: 1 if host.policy.blocked else None]]
        for host, ip in places:
            late = self._monotonic() - begun > self._limits.conversation_seconds
            if tries >= self._settings.max_tries or (found is not None and late):
                break
            if not visit.enters(route, host, ip):
                # It may have the TLS that is required: nobody knows.
                lacking = False
                continue
            outcome = None
            try:
                outcome = await self._once(route, host, ip, mail, visit)
            finally:
                visit.heard(route, host, ip, outcome)
            lacking = lacking and outcome is not None and outcome.lacks_tls
            if outcome is None:
                continue
            tries += 1
            # What a host said tells more than that another one was silent.
            if found is None or outcome.code is not None or not outcome.try_next_host or found.code is None:
                found = outcome
            if not outcome.try_next_host:
                break
        visit.over(found)
        return without_required_tls(found) if found is not None and lacking else found

    async def _once(self, route: Route, host: Host, ip: str, mail: Transaction, visit: Guide) -> Outcome | None:
        """One address; once more on a new connection when a kept one turns out to be dead. What a host has said of its
        own accord is never said to it twice."""
        while True:
            connection = await self.take(host, ip, route.policy_domain)
            if isinstance(connection, Outcome):
                return connection
            if not visit.goes(route, host):
                self.give(connection)
                return None
            reused = connection.deliveries > 0
            try:
                outcome = await connection.deliver(mail)
            finally:
                self.give(connection)
            if not (reused and is_worn_out(outcome)):
                return outcome

    # -- connections -------------------------------------------------------------------------------------------

    async def take(self, host: Host, ip: str, domain: str = "") -> Connection | Outcome:
        """A conversation with `host` at one of its addresses, kept or new; or why there is none. `domain`: whose
        exchanger it is; "": a session with it is nothing to report to a domain.

        Give the connection back with `give`; closing it instead is noticed too."""
        key = _Key(host.name, ip, host.port, host.policy, host.implicit_tls, host.credentials)
        address = key.address
        late_at = self._monotonic() + self._settings.busy_seconds
        first = True
        while True:
            kept = self._kept(key)
            if kept is not None:
                return kept
            if self._open.get(address, 0) < self._settings.connections_an_address:
                break
            self._make_room(address)
            if not await self._woken(address, late_at, first):
                return from_failure("busy", "connect", Peer(key.host, key.ip))
            first = False
        self._open[address] = self._open.get(address, 0) + 1
        try:
            target = Target(
                key.host, key.ip, key.port, self._settings.helo, policy=key.policy,
                source_address=self._source(key.host, key.ip), implicit_tls=key.implicit_tls,
                credentials=key.credentials,
            )
            opened = await Connection.open(target, self._tls, self._limits)
            if domain:
                self._tell(domain, target, opened)
        except BaseException:
            self._gone(address)
            raise
        if isinstance(opened, Outcome):
            self._gone(address)
            return opened
        self._keys[opened] = key
        opened.closed.add_done_callback(lambda _: self._forget(opened))
        return opened

    def _tell(self, domain: str, target: Target, opened: Connection | Outcome) -> None:
        """Tell of the session, unless it came to none or nothing was asked of it."""
        policy = target.policy
        if not policy.may_encrypt or policy.source == "tls-required-no" or policy.noted == "requiretls":
            return  # what a sender asks is no policy of the domain's
        failed = opened.tls_result if isinstance(opened, Outcome) else opened.peer.tls_result
        result = policy.noted or failed
        # RFC 8460 §4.3: what failed before TLS came up says nothing of it.
        if failed or not isinstance(opened, Outcome):
            source = target.source_address or (opened.source if isinstance(opened, Connection) else "")
            self._on_session(Session(domain, policy, target.host, target.ip, source, result))

    def give(self, connection: Connection) -> None:
        """Give a connection back: kept while it may carry more, else closed."""
        key = self._keys.get(connection)
        if (
            key is None or self._closed or not connection.usable
            # RFC 7435 §3: a handshake that failed once says nothing about the next message; TLS is tried first again.
            or connection.downgraded
            or connection.deliveries >= self._settings.messages_a_connection or self._settings.max_idle < 1
        ):
            connection.leave()
            return
        now = self._monotonic()
        self._idle[connection] = now
        self._idle_by_key.setdefault(key, []).append(connection)
        while len(self._idle) > self._settings.max_idle:
            self._drop(next(iter(self._idle)))
        self._wake(key.address)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._settings.idle_seconds, self._swept)

    def stop_waiting(self) -> int:
        """End every wait for the answer to a whole message; returns how many there were."""
        return sum([connection.stop_waiting() for connection in list(self._keys)])

    async def close(self) -> None:
        """Close all idle connections and wait for them; those in use close when released."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        idle = list(self._idle)
        for connection in idle:
            self._unpark(connection)
        await asyncio.gather(*(connection.close() for connection in idle))
        leaving = [connection for connection in self._keys if not connection.usable]
        if leaving:
            await asyncio.wait([connection.closed for connection in leaving], timeout=self._limits.quit_seconds)
            for connection in leaving:
                connection.abort()
        await asyncio.sleep(0)

    def _kept(self, key: _Key) -> Connection | None:
        while kept := self._idle_by_key.get(key):
            # The one used last is the least likely to have been closed by the other side.
            connection = kept[-1]
            self._unpark(connection)
            if connection.usable:
                return connection
            connection.leave()
        return None

    async def _woken(self, address: _Address, late_at: float, first: bool) -> bool:
        """Stand in line until a connection to `address` comes back or goes; False when it is too late."""
        seconds = late_at - self._monotonic()
        if seconds <= 0:
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(address, deque())
        # Who was called and found nothing keeps the place.
        line.append(waiter) if first else line.appendleft(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        except BaseException:
            line.remove(waiter)
            if waiter.done():
                self._wake(address)  # the call was for us; somebody else may have it
            raise
        else:
            line.remove(waiter)
        finally:
            if not line and self._waiting.get(address) is line:
                del self._waiting[address]
        return True

    def _make_room(self, address: _Address) -> None:
        """Begin to close an idle connection to `address` that carries other mail, if there is one."""
        for connection in self._idle:
            if self._keys[connection].address == address:
                self._drop(connection)
                return

    def _wake(self, address: _Address) -> None:
        for waiter in self._waiting.get(address, ()):
            if not waiter.done():
                waiter.set_result(None)
                return

    def _gone(self, address: _Address) -> None:
        left = self._open[address] - 1
        if left:
            self._open[address] = left
        else:
            del self._open[address]
        self._wake(address)

    def _unpark(self, connection: Connection) -> None:
        if self._idle.pop(connection, None) is None:
            return
        key = self._keys[connection]
        kept = self._idle_by_key[key]
        kept.remove(connection)
        if not kept:
            del self._idle_by_key[key]

    def _drop(self, connection: Connection) -> None:
        self._unpark(connection)
        connection.leave()

    def _forget(self, connection: Connection) -> None:
        """Its socket is closed, by whomever."""
        self._unpark(connection)
        self._gone(self._keys.pop(connection).address)

    def _swept(self) -> None:
        """Close what was idle for too long or died; look again when the next one is due."""
        self._sweep = None
        now = self._monotonic()
        for connection, since in list(self._idle.items()):
            if now - since >= self._settings.idle_seconds or not connection.usable:
                self._drop(connection)
        if self._idle:
            due = next(iter(self._idle.values())) + self._settings.idle_seconds - now
            self._sweep = asyncio.get_running_loop().call_later(max(0.01, due), self._swept)

    def _source(self, host: str, ip: str) -> str | None:
        """A source address of the same family, the same one for the same host: reputation is per address."""
        version = ipaddress.ip_address(ip).version
        ours = [a for a in self._settings.source_addresses if ipaddress.ip_address(a).version == version]
        return ours[zlib.crc32(host.encode()) % len(ours)] if ours else None
