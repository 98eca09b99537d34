"""Ports for programs that must be told one before they start."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

# Below those that a system hands out by itself (Linux: from 32768 on), so nobody gets one in between.
_FROM, _TO = 20_000, 32_000
# Each process of a test run has numbers of its own and gives them in turn: a port stays free until somebody started
# listens, and must not be given again before.
_PROCESSES = 8
_mine = range(_FROM + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PROCESSES, _TO, _PROCESSES)
_ports = itertools.cycle(random.sample(_mine, len(_mine)))


def free_port() -> int:
    """A port of 127.0.0.1 that is free for TCP and UDP, and that no other test is given."""
    for port in _ports:
        with (
            contextlib.suppress(OSError), socket.socket() as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports go round")
