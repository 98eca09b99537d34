"""Ports for programs that must be told one before they start."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that a system hands out by itself (Linux: from 32768 on), so nobody gets one in between.
_FROM, _TO = 20_000, 32_000


def free_port() -> int:
    """A port of 127.0.0.1 that is free for TCP and UDP, and that no other test is given by the system."""
    while True:
        port = random.randrange(_FROM, _TO)
        with (
            contextlib.suppress(OSError), socket.socket() as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
