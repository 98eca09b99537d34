"""Who this process is among others, whether another one is gone, and waiting that can be ended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import resource
import socket
from pathlib import Path

from relay.base.secrets import random_id

_NO_END = 1 << 20
_OWNER = re.compile(r"(?P<place>[0-9a-f]{16})/(?P<pid>\d+)/[a-z2-7]+\Z")


def _place() -> str:
    """This boot of this machine, in this process namespace: where a process id means something."""
    facts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id",):
        try:
            facts.append(Path(path).read_text(encoding="ascii").strip())
        except OSError:
            facts.append("?")
    try:
        facts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        facts.append("?")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def owner_name() -> str:
    """The name under which this process holds leases: place, process id, a random part."""
    return f"{_place()}/{os.getpid()}/{random_id(5)}"


def is_dead(owner: str) -> bool:
    """True only if `owner` was a process of this place that does not run any more (or is an older self)."""
    found = _OWNER.match(owner)
    if not found or found["place"] != _place():
        return False
    pid = int(found["pid"])
    if pid == os.getpid():
        return True  # the caller has sorted its own name out: the same id under another name is an earlier life
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def most_descriptors() -> int:
    """How many files and sockets this process may have open once `raise_descriptors` has been called."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _NO_END if hard == resource.RLIM_INFINITY else hard


def raise_descriptors() -> None:
    """Open as many as the machine lets us: the usual soft limit of 1024 is for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def stopped(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds`, or less if told to stop; True then."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True
