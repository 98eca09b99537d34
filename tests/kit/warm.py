"""Processes of the relay without the wait: one that has loaded the program makes copies of itself.

    process = await warm.start(["serve"], environment)      # stderr, pid, returncode, wait() as asyncio's have them

Loading takes two seconds of CPU, and dozens of tests and each of hundreds of kills in `bench.crash` start a relay. A
copy is a process of its own: pid, environment, files, signals and end. Starting as an operator does is tried by
test_serve, test_demo and the stage of other people's clients.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_LARGEST = 1 << 18  # more than a socket takes at once


class Copy:
    """One process. `stderr` is what it says; `pid` its own."""

    def __init__(self, pid: int, stderr: asyncio.StreamReader, end: asyncio.StreamReader) -> None:
        self.pid, self.stderr = pid, stderr
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._ended(end))

    async def wait(self) -> int:
        """The exit code, as soon as there is one; less than 0 for a signal."""
        return await asyncio.shield(self._end)

    async def _ended(self, end: asyncio.StreamReader) -> int:
        self.returncode = int(await end.read())
        return self.returncode


async def start(arguments: Sequence[str], environ: Mapping[str, str]) -> Copy:
    """`posthouse` with these arguments in this environment, here."""
    order = {"arguments": list(arguments), "environ": dict(environ), "folder": os.getcwd()}
    (said, says), (end, ends) = os.pipe(), os.pipe()
    try:
        socket.send_fds(_loaded(), [json.dumps(order).encode()], [says, ends])
    finally:
        os.close(says)
        os.close(ends)
    shown = await _reader(end)
    if not (pid := await shown.readline()):
        _loaded.cache_clear()
        raise AssertionError("the process that makes copies has ended: its own standard error says why")
    return Copy(int(pid), await _reader(said), shown)


async def _reader(pipe: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    return reader


@functools.cache
def _loaded() -> socket.socket:
    """Where the one that has loaded the program takes orders; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        process = subprocess.Popen([sys.executable, "-m", __name__, str(number)], cwd=_ROOT, pass_fds=[number])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _until_copied(orders: socket.socket) -> None:
    """Take orders; returns in each copy, set up for its own."""
    while True:
        said, pipes, _, _ = socket.recv_fds(orders, _LARGEST, 2)
        if not said:
            sys.exit()
        if os.fork() == 0:
            orders.close()
            _watched(*pipes)
            order = json.loads(said)
            os.environ.clear()
            os.environ.update(order["environ"])
            os.chdir(order["folder"])
            sys.argv = ["posthouse", *order["arguments"]]
            return
        for pipe in pipes:
            os.close(pipe)


def _watched(says: int, ends: int) -> None:
    """Become the copy, below a process that tells how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(says)
        os.write(ends, b"%d\n" % pid)
        os.write(ends, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(ends)
    os.dup2(says, sys.stderr.fileno())
    os.close(says)


if __name__ == "__main__":
    import posthouse.serve  # noqa: F401 (to be there in every copy)
    from posthouse.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    _until_copied(socket.socket(fileno=int(sys.argv[1])))
    main()
