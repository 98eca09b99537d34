"""Work in the background: a task that dies is noticed, logged, started again with a growing pause, or given up.

What is given up makes `failed` complete, and the process ends with it: a relay that only looks alive is worse than
one that its service manager starts anew. Tasks that belong to a service and can't be started again are only watched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from relay.base.clock import Clock

log = structlog.get_logger("tasks")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a task may die: `deaths` within `window_seconds`; the pause before a new start doubles."""

    deaths: int = 5
    window_seconds: float = 600.0
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    look_every_seconds: float = 1.0


@dataclass(slots=True)
class _Kept:
    start: Callable[[], Awaitable[None]]
    task: asyncio.Task[None] | None = None
    trouble: str = ""
    may_end: bool = False
    deaths: deque[float] = field(default_factory=deque)


class Tasks:
    """The background work of one process."""

    def __init__(self, clock: Clock, patience: Patience | None = None) -> None:
        self._clock, self._patience = clock, patience or Patience()
        self._kept: dict[str, _Kept] = {}
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def keep(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        """Run `start()` until `stop`; when it ends or raises, run it again after a pause."""
        kept = self._kept[name] = _Kept(start)
        kept.task = asyncio.create_task(self._run(name, kept), name=name)

    def let_end(self, name: str) -> None:
        """From now on the task may end by itself: it was asked to."""
        if name in self._kept:
            self._kept[name].may_end = True

    def watch(self, name: str, task: asyncio.Task[None] | None) -> None:
        """Notice when a service's own task ends; it can't be started again from here."""
        if task is not None:
            self._watched[name] = task
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._look(), name="watch")

    def troubles(self) -> Mapping[str, str]:
        """Each task by name: what is wrong with it now, or ""."""
        found = {name: kept.trouble for name, kept in self._kept.items()}
        return found | {name: "ended" if task.done() else "" for name, task in self._watched.items()}

    @property
    def well(self) -> bool:
        """True while nothing is wrong."""
        return not any(self.troubles().values())

    async def stop(self, *names: str) -> None:
        """End the named tasks, or all of them, and wait for that."""
        chosen = [self._kept[n] for n in names if n in self._kept] if names else list(self._kept.values())
        tasks = [k.task for k in chosen if k.task is not None]
        if not names and self._watcher is not None:
            tasks.append(self._watcher)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not names and not self.failed.done():
            self.failed.cancel()

    async def _run(self, name: str, kept: _Kept) -> None:
        patience = self._patience
        while True:
            try:
                await kept.start()
                if kept.may_end:
                    return
                kept.trouble = "ended by itself"
                log.error("task.ended", task=name)
            except Exception as e:
                kept.trouble = f"died ({type(e).__name__})"
                log.exception("task.died", task=name)
            now = self._clock.monotonic()
            kept.deaths.append(now)
            while kept.deaths and kept.deaths[0] < now - patience.window_seconds:
                kept.deaths.popleft()
            if len(kept.deaths) >= patience.deaths:
                self._give_up(name)
                return
            pause = patience.first_pause_seconds * 2 ** (len(kept.deaths) - 1)
            await asyncio.sleep(min(pause, patience.longest_pause_seconds))
            kept.trouble = ""
            log.info("task.restarted", task=name)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._patience.look_every_seconds)
            for name, task in self._watched.items():
                if task.done():
                    cause = None if task.cancelled() else task.exception()
                    log.error("task.died", task=name, exc_info=cause)
                    self._give_up(name)
                    return

    def _give_up(self, name: str) -> None:
        log.error("task.given_up", task=name)
        if not self.failed.done():
            self.failed.set_result(name)
