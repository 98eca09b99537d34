"""A client that wants nothing but NOOP answered, in a process of its own: only the server's work delays it.

    python -m bench.probe PORT SECONDS

Prints a JSON array: for each NOOP, ms from when it was due to its reply, so that a server which stands still for a
second is charged for every NOOP of that second, not for one. Connections are made before the clock starts, as many as
the bound on idle commands asks for. Loopback only.
"""

from __future__ import annotations

import json
import socket
import sys
import time

EVERY_SECONDS = 0.02
_A_CONNECTION = 150  # below the server's bound on idle commands
_PATIENCE = 30.0


def probe(port: int, seconds: float) -> list[float]:
    """ms for each NOOP. Raises OSError when the server hangs up or says anything but 250."""
    count = max(1, round(seconds / EVERY_SECONDS))
    connections = [_connected(port) for _ in range(-(-count // _A_CONNECTION))]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    begun, waits = time.monotonic(), []
    try:
        for number in range(count):
            due = begun + number * EVERY_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))
            _asked(connections[number // _A_CONNECTION], b"NOOP\r\n", b"250")
            waits.append((time.monotonic() - due) * 1e3)
    finally:
        for connection in connections:
            connection.close()
    return waits


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _asked(connection, b"", b"220")
    return connection


def _asked(connection: socket.socket, command: bytes, wanted: bytes) -> None:
    """One command, its one-line reply."""
    connection.sendall(command)
    said = b""
    while not said.endswith(b"\r\n"):
        more = connection.recv(1000)
        if not more:
            raise ConnectionError("the server hung up on the probe")
        said += more
    if not said.startswith(wanted):
        raise ConnectionError(f"the server said {said[:100]!r} to the probe")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(int(sys.argv[1]), float(sys.argv[2]))) + "\n")
