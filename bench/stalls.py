"""How long one callback keeps the event loop, in CPU time: what a machine under other load can still be asked.

`inside(target)` serves with each callback measured; from SIGUSR1 on they count, and at the end the longest are written
to `target`, as JSON, longest first: seconds of CPU of the loop's thread, seconds by the clock, what ran, and where it
stood afterwards. The measuring costs some hundred nanoseconds a callback.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

_KEPT = 40
_FROM = 0.002  # seconds of CPU


def inside(target: str) -> None:
    """Serve until the end, as `posthouse serve` does, and write the longest callbacks."""
    from posthouse.serve import run

    longest: list[tuple[float, float, int, str]] = []
    count = [0]
    asyncio.events.Handle._run = _measured(asyncio.events.Handle._run, longest, count)  # type: ignore[method-assign]
    gc.callbacks.append(_collections(longest, count))
    signal.signal(signal.SIGUSR1, lambda *_: longest.clear())
    try:
        run(Path(sys.argv[2]))
    finally:
        found = [(cpu, wall, what) for cpu, wall, _, what in sorted(longest, reverse=True)]
        Path(target).write_text(json.dumps(found), encoding="utf-8")


def _measured(plain: Any, longest: list[tuple[float, float, int, str]], count: list[int]) -> Any:
    cpu_time, clock = time.thread_time, time.monotonic

    def run(handle: asyncio.Handle) -> None:
        cpu, at = cpu_time(), clock()
        plain(handle)
        cpu = cpu_time() - cpu
        if cpu > _FROM:
            _keep(longest, count, cpu, clock() - at, _name(handle))

    return run


def _collections(longest: list[tuple[float, float, int, str]], count: list[int]) -> Any:
    began = [0.0]

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            began[0] = time.thread_time()
        elif (cpu := time.thread_time() - began[0]) > _FROM:
            _keep(longest, count, cpu, cpu, f"garbage collection, generation {info['generation']}")

    return seen


def _keep(longest: list[tuple[float, float, int, str]], count: list[int], cpu: float, wall: float, what: str) -> None:
    count[0] += 1
    heapq.heappush(longest, (cpu, wall, count[0], what))
    if len(longest) > _KEPT:
        heapq.heappop(longest)


def _name(handle: asyncio.Handle) -> str:
    """The task that was stepped, and where it waits now; else the callback."""
    callback: Any = getattr(handle, "_callback", None)
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return getattr(callback, "__qualname__", repr(callback))
    places = [f"{frame.f_code.co_name}:{frame.f_lineno}" for frame in task.get_stack(limit=3)]
    inner: Any = task.get_coro()
    while (awaited := getattr(inner, "cr_await", None)) is not None and hasattr(awaited, "cr_code"):
        inner = awaited
        places.append(f"{inner.cr_code.co_name}")
    return f"{task.get_name()} → {' '.join(places)}"


def read(target: Path) -> list[tuple[float, float, str]]:
    """What `inside` has written."""
    return [tuple(row) for row in json.loads(target.read_text(encoding="utf-8"))]
