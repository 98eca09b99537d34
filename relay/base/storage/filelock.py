"""Taking turns at writing between processes that share one SQLite file, by a lock on a file beside it.

Promises that a turn is never waited for longer than `patience`, whatever the process that has it is doing (stopped,
hung on its disk), and that nothing of this keeps a process from ending. SQLite's own waiting sleeps; this wakes at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from relay.base.storage.errors import StorageUnavailable


class Turns:
    """This process's place in the line. One coroutine at a time."""

    def __init__(self, file: Path, patience: float) -> None:
        """`patience` in seconds."""
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        self._patience = patience
        self._asked: asyncio.Future[None] | None = None
        self._wanted = False

    @contextlib.asynccontextmanager
    async def mine(self) -> AsyncIterator[None]:
        """The turn, until the block ends. Raises StorageUnavailable."""
        await self._take()
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    async def _take(self) -> None:
        if self._asked is None:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._ask()
        asked = self._asked
        assert asked is not None
        self._wanted = True
        try:
            await asyncio.wait([asked], timeout=self._patience)
        except BaseException:
            if asked.done():
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise
        finally:
            self._wanted = False
        if not asked.done():
            raise StorageUnavailable("locked: another process doesn't finish its transaction")

    def _ask(self) -> None:
        """Wait for the lock in a thread of its own: the wait can't be ended, so nobody may depend on its end."""
        loop = asyncio.get_running_loop()
        asked = self._asked = loop.create_future()
        # Of its own, so that closing ours leaves the thread what it waits with.
        fd = os.dup(self._fd)

        def arrived() -> None:
            self._asked = None
            if not asked.done():
                asked.set_result(None)
            if not self._wanted:
                fcntl.flock(fd, fcntl.LOCK_UN)  # nobody waits for it any more
            os.close(fd)

        def wait() -> None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                loop.call_soon_threadsafe(arrived)
            except RuntimeError:
                os.close(fd)  # the loop has ended

        threading.Thread(target=wait, name="sqlite-turn", daemon=True).start()

    def close(self) -> None:
        """Leave the line."""
        os.close(self._fd)
