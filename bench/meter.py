"""What the processes of a server use: CPU time, memory; and how fast the machine is just now.

CPU comes from a control group where one can be made (root, cgroup v2 or v1): that counts processes that live for one
delivery only. Else it is summed over the process tree, children that have ended included once their parent has
waited for them. Memory is anonymous memory: what a process has for itself, shared libraries and file pages left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_CALIBRATE_SECONDS = 0.1
_SAMPLE_SECONDS = 0.2


class Group:
    """The processes of one server. `enter` is the command that starts one of them inside."""

    def __init__(self, name: str) -> None:
        self._roots: list[int] = []
        self._path, self._v2 = _make(f"posthouse-bench-{os.getpid()}-{name}")

    @property
    def how(self) -> str:
        """Where the CPU time is read."""
        return ("cgroup v2" if self._v2 else "cgroup v1") if self._path else "process tree"

    def enter(self, command: list[str]) -> list[str]:
        """`command`, to be started as a member of the group."""
        if self._path is None:
            return command
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._path / "cgroup.procs"), *command]

    def root(self, pid: int) -> None:
        """A process whose tree belongs to the server."""
        self._roots.append(pid)

    def pids(self) -> list[int]:
        """All processes of the server that live now."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                return [int(line) for line in (self._path / "cgroup.procs").read_text().split()]
            return []
        return sorted(_tree(self._roots))

    def cpu(self) -> float:
        """CPU seconds used so far, user and system."""
        if self._path is None:
            return sum(_spent(pid) for pid in self.pids())
        if self._v2:
            facts = dict(line.split() for line in (self._path / "cpu.stat").read_text().splitlines())
            return int(facts["usage_usec"]) / 1e6
        return int((self._path / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        """Take the group away; its processes must have ended."""
        if self._path is None:
            return
        for _ in range(50):
            try:
                self._path.rmdir()
                return
            except OSError:
                time.sleep(0.05)


@dataclass
class Peaks:
    """Anonymous memory in MiB: of the whole server, and of its largest process. processes: most at once."""

    total: float = 0.0
    largest: float = 0.0
    processes: int = 0


@dataclass
class Sampler:
    """Looks at a group's memory until the block ends: `async with Sampler(group) as s: …`, then `s.peaks`."""

    group: Group
    peaks: Peaks = field(default_factory=Peaks)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Sampler:
        self._task = asyncio.create_task(self._run(), name="sampler")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._look()

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _look(self) -> None:
        sizes = [anonymous(pid) for pid in self.group.pids()]
        self.peaks.total = max(self.peaks.total, sum(sizes))
        self.peaks.largest = max([self.peaks.largest, *sizes])
        self.peaks.processes = max(self.peaks.processes, len(sizes))


def anonymous(pid: int) -> float:
    """Anonymous memory of a process in MiB; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return 0.0


def threads(pid: int) -> dict[str, float]:
    """CPU seconds of each thread of a process, by name and number."""
    used = {}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                name = (task / "comm").read_text().strip()
                used[f"{name} {task.name}"] = _ticks(task / "stat", own_only=True)
    return used


def calibrate() -> float:
    """How fast a core is now: MiB of SHA-256 a CPU second. Other machines on the same host make it drift."""
    block, done, start = bytes(1 << 20), 0, time.thread_time()
    while (spent := time.thread_time() - start) < _CALIBRATE_SECONDS:
        hashlib.sha256(block).digest()
        done += 1
    return done / spent


def stolen() -> float:
    """Seconds that the host has taken from this machine's cores, all together."""
    with Path("/proc/stat").open() as file:
        return int(file.readline().split()[8]) / _TICK


def _make(name: str) -> tuple[Path | None, bool]:
    """A control group of this name: where it lies, and whether it is of version 2."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        v2 = kind == "cgroup2"
        if not v2 and not (kind == "cgroup" and "cpuacct" in options.split(",")):
            continue
        path = Path(place) / name
        try:
            path.mkdir()
        except OSError:
            continue
        counter = path / ("cpu.stat" if v2 else "cpuacct.usage")
        if counter.exists() and os.access(path / "cgroup.procs", os.W_OK):
            return path, v2
        path.rmdir()
    return None, False


def _tree(roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    line = [pid for pid in roots if Path(f"/proc/{pid}").exists()]
    while line:
        pid = line.pop()
        if pid not in found:
            found.add(pid)
            line += children.get(pid, [])
    return found


def _spent(pid: int) -> float:
    try:
        return _ticks(Path(f"/proc/{pid}/stat"), own_only=False)
    except OSError:
        return 0.0


def _ticks(stat: Path, *, own_only: bool) -> float:
    """Fields 14 to 17 of proc(5) stat: user and system time, own and of children that were waited for."""
    facts = stat.read_text().rpartition(")")[2].split()
    return sum(int(n) for n in facts[11 : 13 if own_only else 15]) / _TICK
