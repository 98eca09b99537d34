"""One measured piece of work on a running server: offer, wait until everything has arrived, wait until it is quiet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from bench import http, meter
from bench.tools import BenchError, Login, Programs, Sink, Work, load

_QUIET_SECONDS = 0.25
_QUIET_CPU = 0.004
_MOST_QUIET_LOOKS = 40


class Server(Protocol):
    """A server under test, set up in a folder of its own. start may be called again after stop."""

    name: str
    group: meter.Group
    version: str

    async def start(self) -> Login: ...
    async def stop(self) -> None: ...
    def keys(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What one piece of work took. Rates a second, times in ms, memory in MiB; see README.md for each."""

    accept_rate: float
    through_rate: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    open_p50_ms: float
    memory_mb: float
    largest_mb: float
    processes: int
    refused: int
    lost: int
    speed: float
    stolen_seconds: float
    client_cpu_ms: float
    fault: str

    def numbers(self) -> dict[str, Any]:
        """As a table for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


async def measure(
    programs: Programs, sink: Sink, server: Server, login: Login, work: Work, *, seconds: float = 180.0
) -> Result:
    """Do the work on a started server. Raises BenchError when nothing of it was accepted."""
    speed, steal = meter.calibrate(), meter.stolen()
    before, cpu = sink.messages, server.group.cpu()
    expected = work.messages * work.recipients
    async with meter.Sampler(server.group) as sampler:
        if work.batch:
            said = await http.load(login, work, seconds=seconds)
        else:
            said = await load(programs, login, work, seconds=seconds)
        if not said["accepted"]:
            raise BenchError(f"{server.name} accepted nothing: {said['fault']}")
        complete = await sink.arrived(before + said["accepted"] * work.recipients, seconds=seconds)
        took = sink.last_at - said["started"]
        await quiet(server.group)
    arrived = sink.messages - before
    spent = server.group.cpu() - cpu
    return Result(
        accept_rate=said["rate"], through_rate=arrived / took if took > 0 else 0.0,
        cpu_ms=spent / max(arrived, 1) * 1e3,
        p50_ms=said["p50_ms"], p99_ms=said["p99_ms"], max_ms=said["max_ms"], open_p50_ms=said["open_p50_ms"],
        memory_mb=sampler.peaks.total, largest_mb=sampler.peaks.largest, processes=sampler.peaks.processes,
        refused=said["refused"] + said["broken"], lost=expected - arrived if not complete or arrived < expected else 0,
        speed=(speed + meter.calibrate()) / 2, stolen_seconds=meter.stolen() - steal,
        client_cpu_ms=said["client_cpu_ms"], fault=said["fault"],
    )  # fmt: skip


async def quiet(group: meter.Group) -> None:
    """Wait until a server has nothing more to do: what it writes after the last delivery is its work too."""
    last = group.cpu()
    for _ in range(_MOST_QUIET_LOOKS):
        await asyncio.sleep(_QUIET_SECONDS)
        now = group.cpu()
        if now - last < _QUIET_CPU:
            return
        last = now
