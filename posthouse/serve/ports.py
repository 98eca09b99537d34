"""Ports and folders that another relay is using: found before anything listens, since SO_REUSEPORT lets two relays of
different databases share a port in silence, and each client then meets either.

Processes of one database do share their ports, so a port is claimed for a database: by a socket in the abstract
namespace (unix(7)), which has the same reach as the ports themselves (the machine, or the container's network) and
ends with its process. Where the system has no such sockets, nothing is claimed and nothing is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from relay.base.config import Config
from relay.base.secrets import random_id
from relay.base.storage.location import place

_PREFIX = "posthouse-port"
_LISTING = Path("/proc/net/unix")
_WILD = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, not listened on
_NAME_MAX = 107  # octets, with the first, which is 0
_LOCK = "serving.lock"


class Taken(Exception):
    """Somebody else's. `lines` says whose."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("; ".join(lines))


class Claims:
    """The ports that this process claims for its database, and its hold on the data folder, until `close`."""

    def __init__(self, config: Config) -> None:
        where = place(config)
        self._shown = str(where.file) if where.file is not None else where.server
        self._database = _identity(where.file) if where.file is not None else _digest(where.server)
        self._folder = config.server.data_dir
        self._sockets: list[socket.socket] = []
        self._lock: int | None = None

    def folder(self, *, alone: bool) -> None:
        """Hold the data folder, `alone` or beside others of its kind. Raises Taken."""
        with contextlib.suppress(PermissionError):
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            used = "a relay or another demo" if alone else "a demo"
            raise Taken([f"{self._folder} is in use by {used}: stop it, or name another folder"]) from None
        except OSError:
            return  # a file system without locks

    def ports(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Claim them; those that the system will choose are nobody's. Raises Taken."""
        wanted = [(host, port) for host, port in addresses if port]
        for host, port in wanted:
            # First claimed, then looked: of two that start at once, one sees the other at least.
            self._claim(host, port)
        if found := [line for host, port in wanted for line in self._others(host, port)]:
            raise Taken(found)

    def close(self) -> None:
        """Let go of everything."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.remove_reader(one)
            one.close()
        self._sockets.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self, host: str, port: int) -> None:
        if not _LISTING.exists():
            return
        shown = self._shown.encode("ascii", "replace").decode("ascii").replace(" ", "?")
        name = "/".join((_PREFIX, f"{host}:{port}", self._database, random_id(6), ""))
        room = _NAME_MAX - 1 - len(name)
        name += shown if len(shown) <= room else f"...{shown[3 - room :]}"
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            one.setblocking(False)
            one.bind(f"\0{name}")
            one.listen()
        except OSError:
            one.close()
            return
        self._sockets.append(one)
        asyncio.get_running_loop().add_reader(one, _drop, one)

    def _others(self, host: str, port: int) -> list[str]:
        """Who else holds it: a line each."""
        found = {}
        for name in _claimed():
            _, address, database, rest = name.split("/", 3)
            at, _, number = address.rpartition(":")
            same = at == host or (_WILD & {at, host} and (":" in at) == (":" in host))
            if not same or number != str(port) or database == self._database:
                continue
            if (pid := _holder(name)) is not None:
                found[pid] = (
                    f"{host}:{port} belongs to the relay of another database ({rest.partition('/')[2]}, process "
                    f"{pid}): stop that one, or use a different port for this one"
                )
        return list(found.values())


def _claimed() -> list[str]:
    try:
        lines = _LISTING.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.split()[-1].removeprefix("@") for line in lines if f" @{_PREFIX}/" in line]


def _holder(name: str) -> int | None:
    """The process behind a claim; None when it has just gone, or is another user's, who can't share our ports."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        try:
            one.connect(f"\0{name}")
            said = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    pid, user, _ = struct.unpack("3i", said)
    return int(pid) if user == os.geteuid() else None


def _drop(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.accept()[0].close()


def _identity(file: Path) -> str:
    """Of a database file, which needn't exist yet: its folder, whatever that is called, and its name there."""
    whole = file.resolve()
    with contextlib.suppress(OSError):
        at = whole.parent.stat()
        return _digest(f"{at.st_dev}:{at.st_ino}/{whole.name}")
    return _digest(str(whole))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
