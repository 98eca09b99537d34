"""The sockets of the authoritative server: UDP and TCP on one port, bounded, and unmoved by trouble.

Promises that no packet ends it, that work in progress and connections have a ceiling, and that idle connections
are closed. What is answered is decided in `answer`, how often to one network by `RateLimit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, cast

from enroll.zone.answer import Faults, answer, ask_by_tcp
from enroll.zone.data import Zones
from relay.base.netguard import client_key, within


class DnsServer:
    """`async with DnsServer(zones, host, port) as server:` answers on `server.port` until the block ends.

    port 0 takes a free one, the same for UDP and TCP. open_world and faults: see `answer`. reuse_port lets several
    processes share the port (not with port 0). Beyond max_pending packets in work new ones are dropped, beyond
    max_connections new connections are closed, as are those of one address beyond its own bound. limit: how much one
    network is answered over UDP; None for a server that only its own machine can reach. Raises OSError when the port
    can't be had.
    """

    def __init__(
        self,
        zones: Zones,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        open_world: bool = False,
        faults: Faults | None = None,
        reuse_port: bool = False,
        max_pending: int = 1000,
        max_connections: int = 100,
        max_connections_an_address: int = 100,
        limit: RateLimit | None = None,
        max_query_octets: int = 4096,
        idle_timeout_seconds: float = 10.0,
        answer_timeout_seconds: float = 5.0,
    ) -> None:
        self.zones = zones
        self.host = host
        self.port = port
        self.faults = faults
        self._open_world = open_world
        self._reuse_port = reuse_port and port != 0
        self._max_pending = max_pending
        self._max_connections = max_connections
        self._max_an_address = max_connections_an_address
        self._limit = limit
        self._from: Counter[str] = Counter()
        self._max_query_octets = max_query_octets
        self._idle_timeout_seconds = idle_timeout_seconds
        self._answer_timeout_seconds = answer_timeout_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> DnsServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, attempts: int = 20) -> None:
        """Open both sockets. With port 0 a free TCP port may be taken in UDP: then another is tried."""
        for left in range(attempts - 1, -1, -1):
            server = await asyncio.start_server(
                self._on_connection, self.host, self.port, reuse_port=self._reuse_port or None, limit=2**16
            )
            port = server.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Datagrams(self),
                    local_addr=(self.host, port),
                    reuse_port=self._reuse_port or None,
                )
            except OSError:
                server.close()
                await server.wait_closed()
                if self.port != 0 or not left:
                    raise
                continue
            self._server, self.port = server, port
            return

    async def close(self) -> None:
        """Close the sockets and end what is under way."""
        if self._udp is not None:
            self._udp.close()
        if self._server is not None:
            self._server.close()
        tasks = [*self._tasks, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._udp = self._server = None

    async def reply(self, wire: bytes, *, udp: bool) -> bytes | None:
        """The answer to one packet; None when there is none, or it took too long."""
        try:
            async with asyncio.timeout(self._answer_timeout_seconds):
                return await answer(
                    self.zones, wire, udp=udp, open_world=self._open_world, faults=self.faults
                )
        except TimeoutError:
            return None

    def on_datagram(self, transport: asyncio.DatagramTransport, data: bytes, addr: Any) -> None:
        """Answer a UDP packet in a task of its own, while there is room for one more."""
        if len(self._tasks) >= self._max_pending or len(data) > self._max_query_octets:
            return
        # RFC 5358 §4: the source of a packet may be forged, and its true owner must not be flooded by us.
        ruling = "answer" if self._limit is None else self._limit.rule(addr[0])
        if ruling == "slip":
            packet = ask_by_tcp(data)
            if packet is not None and not transport.is_closing():
                transport.sendto(packet, addr)
        if ruling != "answer":
            return
        task = asyncio.create_task(self._answer_datagram(transport, data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, transport: asyncio.DatagramTransport, data: bytes, addr: Any) -> None:
        packet = await self.reply(data, udp=True)
        if packet is not None and not transport.is_closing():
            transport.sendto(packet, addr)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = client_key(str((writer.get_extra_info("peername") or ("",))[0]))
        try:
            # RFC 7766 §6.2.2: connections are bounded in number, and for each client too.
            if len(self._connections) < self._max_connections and self._from[peer] < self._max_an_address:
                self._connections.add(task)
                self._from[peer] += 1
                try:
                    await self._converse(reader, writer)
                finally:
                    self._from[peer] -= 1
                    if not self._from[peer]:
                        del self._from[peer]
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # Only close() cancels; the streams machinery would log a cancelled callback as an error.
            pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # RFC 7766 §6.2.1: several questions may come on one connection; §6.2.3: idle ones are closed.
        while True:
            async with asyncio.timeout(self._idle_timeout_seconds):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                if length > self._max_query_octets:
                    return
                wire = await reader.readexactly(length)
            packet = await self.reply(wire, udp=False)
            if packet is None:
                return
            async with asyncio.timeout(self._idle_timeout_seconds):
                writer.write(struct.pack("!H", len(packet)) + packet)
                await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is none by its base class, so there is nothing to test for.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._transport is not None:
            self._server.on_datagram(self._transport, data, addr)


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
