"""Taking connections from a port: a few at a time, and not at all for a moment when the process can have no more files.

asyncio's own server tries the whole backlog again and again where no descriptor is left, each time with a traceback;
that is a core and a log full of it. Here the port rests for a second, and says so in one line.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger("accept")

_BACKLOG = 512
_AT_ONCE = 16  # connections taken before others get their turn
_PAUSE_SECONDS = 1.0


class Acceptor:
    """One listening socket. `factory` makes the protocol of each connection. Raises OSError where it can't listen.

    Several processes may listen on the same port (SO_REUSEPORT), but not where the system chooses it.
    """

    def __init__(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol], *, shared: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._paused: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if self._socket.family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((host, port))
            self._socket.listen(_BACKLOG)
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._address = f"{host}:{self.port}"
        self._listen()

    def close(self) -> None:
        """Take no more connections."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _listen(self) -> None:
        self._paused = None
        self._loop.add_reader(self._socket, self._ready)

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                log.error("accept.failed", address=self._address, cause=os.strerror(e.errno or 0).lower())
                self._loop.remove_reader(self._socket)
                self._paused = self._loop.call_later(_PAUSE_SECONDS, self._listen)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except Exception:
            connection.close()
            log.exception("accept.broken", address=self._address)
