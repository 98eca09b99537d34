"""The program around a node: configuration, log, signals, exit code.

0: stopped as asked (SIGTERM, SIGINT). 1: a part of the work was given up; the service manager starts anew. 3: the
configuration or the machine doesn't allow a start; the lines on standard error say why.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import structlog
from pydantic import TypeAdapter

from posthouse import gc_tuning
from posthouse.check_config import mistakes, warnings
from posthouse.entry import ends_as_asked
from posthouse.fitting import fitted, shrunk
from posthouse.serve.node import Node, StartError
from relay.base.clock import Clock
from relay.base.config import Config, ConfigError, load
from relay.base.config.model import Role
from relay.base.log import configure, in_background, one_line
from relay.base.runtime import most_descriptors, raise_descriptors

log = structlog.get_logger("process")
OK, FAILED, CONFIG = 0, 1, 3

_SWITCH_SECONDS = 0.001
_M_ARENA_MAX = -8  # mallopt(3)


def run(path: Path | None, roles: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    ends_as_asked()
    try:
        config = load(path)
        if roles:
            # What the operator wrote must still be told from the defaults.
            config = config.model_copy(update={"roles": TypeAdapter(list[Role]).validate_python(list(roles))})
    except (ConfigError, ValueError) as e:
        return _say(e.lines if isinstance(e, ConfigError) else [f"--role: one of {', '.join(_roles())}"])
    found = mistakes(config, Clock(), path=path)
    if found:
        return _say([str(m) for m in found])
    configure(config)
    raise_descriptors()
    with in_background(config):
        return _run(config)


def _run(given: Config) -> int:
    """The process from here on: nothing waits for who reads the log."""
    config = fitted(given, most_descriptors())
    if less := shrunk(given, config):
        log.warning("limits.shrunk", descriptors=most_descriptors(), **less)
    for one in warnings(config):
        log.warning("config.doubtful", key=one.key, text=one.text)
    # Files that hold mail and keys: nobody else's, whatever the shell's umask.
    os.umask(0o077)
    # The loop, and each of its calls into SQLite or a socket, waits for the interpreter while a thread signs or parses:
    # at Python's 5 ms, several waits in a row keep everybody from being served (docs/performance.md).
    sys.setswitchinterval(_SWITCH_SECONDS)
    _share_heap()
    # asyncio's own loop: under load uvloop 0.23 loses STARTTLS handshakes (docs/decisions.md).
    try:
        return asyncio.run(_serve(config))
    except Exception:
        # Said here: what the interpreter itself writes at the end waits for a reader.
        log.exception("process.crashed")
        return FAILED


def _share_heap() -> None:
    """One heap for all threads (glibc; elsewhere nothing): what a thread frees in a heap of its own is of no use to the
    others, and a busy relay's memory creeps up by half as much again (docs/performance.md)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _roles() -> tuple[str, ...]:
    return get_args(Role)


def _say(lines: Sequence[str]) -> int:
    for line in lines:
        sys.stderr.write(f"posthouse: {one_line(line)}\n")
    return CONFIG


async def _serve(config: Config) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked = asyncio.create_task(stop.wait())
    try:
        node = await _started(config, asked)
    except StartError as e:
        return _say(e.lines)
    if node is None:
        log.info("process.stopped_at_start")
        return OK
    gc_tuning.is_over()
    if node.submission is not None:
        loop.add_signal_handler(signal.SIGHUP, node.submission.certificate.refresh)
    _notify("READY=1")
    pulse = asyncio.create_task(_pulse(), name="watchdog")
    try:
        ends: set[asyncio.Future[Any]] = {asked, node.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        failed = node.failed.result() if node.failed.done() else ""
    finally:
        _notify("STOPPING=1")
        for task in (pulse, asked):
            task.cancel()
        await asyncio.gather(pulse, asked, return_exceptions=True)
    await node.stop()
    if failed:
        log.error("process.failed", task=failed)
        return FAILED
    return OK


async def _started(config: Config, asked: asyncio.Future[Any]) -> Node | None:
    """The node; None when the end was asked for before it stood. What was begun is undone then, or as whole as after
    a start: a migration is one transaction."""
    starting = asyncio.create_task(Node.start(config), name="start")
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    if asked.done() and not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        if starting.cancelled() or starting.exception() is not None:
            return None
    return starting.result()


async def _pulse() -> None:
    """systemd's watchdog (sd_notify(3)): fed by the event loop, so a loop that hangs is noticed."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit():
        return
    while True:
        _notify("WATCHDOG=1")
        await asyncio.sleep(int(microseconds) / 1e6 / 2)


def _notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.setblocking(False)  # a manager that reads nothing stops nothing
        s.connect("\0" + address[1:] if address.startswith("@") else address)
        s.sendall(state.encode())
