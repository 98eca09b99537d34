"""Where the CPU goes in the serving process: `python -m bench.profile [--messages 2000] [--work sub-n] [--top 25]`.

The relay runs as always, with cProfile in its process; a hook starts a profile of its own in every thread. Starting
and warming up are left out. The figures say what is dear relative to what: the profiler itself makes small functions
look dearer than they are, so tune by them and then measure with `bench.run`. Packages are counted by the time spent in
their own code; a C function counts as what it is.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import marshal
import os
import pstats
import signal
import sys
import sysconfig
import tempfile
import threading
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import dns, meter, tools
from bench.ours import Posthouse
from bench.run import WARM_UP, WORKS
from bench.tools import BenchError
from bench.work import measure

_WAITS = ("_lsprof", "select.epoll", "acquire", "_queue.SimpleQueue", "time.sleep", "run_until_complete", "uvloop")
ROOT = Path(__file__).resolve().parent.parent
Function = tuple[str, int, str]
Stats = dict[Function, tuple[int, int, float, float]]
"""function → calls without recursion, calls, own seconds, seconds with what it called."""
Row = tuple[Function, int, float, float]
"""function, calls, own seconds, seconds with what it called."""


def inside(target: str) -> None:
    """Serve with a profile in every thread; what happened between SIGUSR1 and the end is written to `target`."""
    from posthouse.serve import run

    profiles: list[cProfile.Profile] = []
    before: Stats = {}

    def hook(*_: Any) -> None:
        profile = cProfile.Profile()
        profiles.append(profile)
        profile.enable()  # takes this hook's place in its thread

    signal.signal(signal.SIGUSR1, lambda *_: before.update(together(profiles)))
    threading.setprofile(hook)
    hook()
    code = run(Path(sys.argv[2]))
    after = together(profiles)
    used: dict[Function, tuple[Any, ...]] = {}
    for function, a in after.items():
        b = before.get(function, (0, 0, 0.0, 0.0))
        if a[1] > b[1]:
            used[function] = (a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], {})
    Path(target).write_bytes(marshal.dumps(used))
    sys.exit(code)


def together(profiles: list[cProfile.Profile]) -> Stats:
    """The sums of all threads so far."""
    sums: Stats = {}
    for profile in profiles:
        profile.snapshot_stats()
        for function, (calls, every, own, whole, _) in profile.stats.items():
            s = sums.get(function, (0, 0, 0.0, 0.0))
            sums[function] = (s[0] + calls, s[1] + every, s[2] + own, s[3] + whole)
    return sums


async def outside(a: argparse.Namespace) -> int:
    """Drive a profiled relay and print what its profile says."""
    work = replace(WORKS[a.work], messages=a.messages)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-profile-")))
        programs = await tools.build(folder)
        names = await stack.enter_async_context(dns.names())
        sink = await stack.enter_async_context(tools.sink(programs))
        target = folder / "profile"
        config = folder / "relay" / "posthouse.toml"
        start = f"from bench.profile import inside; inside({str(target)!r})"
        relay = Posthouse(
            folder / "relay", sink.port, names, serve=[sys.executable, "-c", start, "inside", str(config)]
        )
        stack.callback(relay.group.remove)
        await relay.set_up()
        try:
            login = await relay.start()
            await measure(programs, sink, relay, login, replace(work, messages=WARM_UP))
            os.kill(relay.pids[0], signal.SIGUSR1)
            before = meter.threads(relay.pids[0])
            result = await measure(programs, sink, relay, login, work)
            after = meter.threads(relay.pids[0])
        finally:
            await relay.stop()
        if not target.exists():
            raise BenchError(f"the relay left no profile: {relay.log.read_text(errors='replace')[-1000:]}")
        rows = read(target)
    print_all(rows, a.messages, a.top)
    sys.stdout.write(f"\nprofiled: {result.accept_rate:.0f}/s, {result.cpu_ms:.2f} ms a message; by thread:\n")
    for name, seconds in sorted(after.items(), key=lambda item: -item[1])[:8]:
        used = (seconds - before.get(name, 0.0)) / a.messages * 1e3
        sys.stdout.write(f"  {used:7.3f} ms a message  {name}\n")
    return 0


def read(path: Path) -> list[Row]:
    """The rows of a profile."""
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    return [(function, calls, own, whole) for function, (_, calls, own, whole, _) in stats.items()]


def print_all(rows: list[Row], messages: int, top: int) -> None:
    """The packages, then the dearest functions."""
    packages: defaultdict[str, float] = defaultdict(float)
    for function, _, own, _ in rows:
        packages[package(function)] += own
    waiting = packages.pop("waiting", 0.0)
    total = sum(packages.values())
    sys.stdout.write(f"own time by package, ms a message ({waiting:.1f} s of waiting and profiling left out)\n")
    for name, own in sorted(packages.items(), key=lambda item: -item[1]):
        if own / total > 0.005:
            sys.stdout.write(f"  {own / messages * 1e3:7.3f}  {own / total:6.1%}  {name}\n")
    sys.stdout.write(f"\nthe {top} dearest functions by own time\n")
    sys.stdout.write(f"  {'own ms':>8}{'with callees':>14}{'calls':>8}   a message\n")
    dear = sorted((row for row in rows if package(row[0]) != "waiting"), key=lambda row: -row[2])
    for function, calls, own, whole in dear[:top]:
        sys.stdout.write(
            f"  {own / messages * 1e3:8.4f}{whole / messages * 1e3:14.3f}{calls / messages:8.1f}   {where(function)}\n"
        )


def package(function: Function) -> str:
    """The package, the library or the part of the standard library that a function belongs to."""
    file, _, name = function
    if file == "~":
        if any(waits in name for waits in _WAITS) and "release" not in name:
            return "waiting"
        return f"C: {name.strip('<>').removeprefix('built-in method ').split(' of ')[-1].removesuffix(' objects')}"
    path = Path(file)
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        parts = path.relative_to(ROOT).with_suffix("").parts
        return "/".join(parts[:3] if parts[:2] == ("relay", "base") else parts[:2])
    for base in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
        if path.is_relative_to(base):
            return path.relative_to(base).parts[0].removesuffix(".py")
    return path.name


def where(function: Function) -> str:
    """A function as people look for it."""
    file, line, name = function
    if file == "~":
        return name
    path = Path(file)
    for base in (Path(sysconfig.get_path("purelib")), ROOT, Path(sysconfig.get_path("stdlib"))):
        if path.is_relative_to(base):
            path = path.relative_to(base)
            break
    return f"{path}:{line} {name}"


def command() -> int:
    """The options, and mistakes as lines."""
    p = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the CPU goes.")
    p.add_argument("--messages", type=int, default=2000, help="100 to 100000")
    p.add_argument("--work", choices=sorted(WORKS), default="sub-n")
    p.add_argument("--top", type=int, default=25, help="functions in the list")
    a = p.parse_args()
    if not 100 <= a.messages <= 100_000:
        p.error("--messages is out of bounds")
    try:
        return asyncio.run(outside(a))
    except BenchError as e:
        sys.stderr.write(f"bench: {e}\n")
        return 1


if __name__ == "__main__":
    sys.exit(command())
