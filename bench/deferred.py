"""Does a full queue slow acceptance down? The accept rate of an empty relay against one with many deferred recipients.

The queue is filled through submission itself: messages of a hundred recipients for ten domains whose exchanger answers
451, each tried once by the real worker and put off for a day. Then empty and full take turns; the full folder is
kept from turn to turn. What must hold: the full one accepts at least nine tenths of what the empty one does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import report
from bench.dns import LATER_DOMAINS, Names
from bench.ours import Posthouse
from bench.tools import BenchError, Login, Programs, Sink, Work, load
from bench.work import Result, measure, quiet

A_MESSAGE = 100
LEAST_SHARE = 0.9
_LOOK_SECONDS = 2.0
_FILL_A_SECOND = 100  # slower than this is a fault, not a slow machine


async def run(
    programs: Programs, sink: Sink, names: Names, folder: Path, *, count: int, rounds: int, messages: int,
    json: Path | None,
) -> int:  # fmt: skip
    """Fill, compare, print; 0 when a full queue costs less than a tenth of the accept rate."""
    empty = Posthouse(folder / "empty", sink.port, names, name="empty")
    full = Posthouse(folder / "full", sink.port, names, name="full", fresh=False)
    work = Work("sub-n", messages)
    results: dict[tuple[str, str], list[Result]] = {(work.name, "empty"): [], (work.name, "full"): []}
    try:
        await empty.set_up()
        await full.set_up()
        filled = await fill(programs, sink, full, count)
        for _ in range(rounds):
            for server in (empty, full):
                try:
                    login = await server.start()
                    await measure(programs, sink, server, login, Work("warm-up", 200))
                    results[work.name, server.name].append(await measure(programs, sink, server, login, work))
                finally:
                    await server.stop()
    finally:
        empty.group.remove()
        full.group.remove()
    data: dict[str, Any] = report.summary(results, {"deferred": filled}, ["full"], ["empty"])
    sys.stdout.write(report.table(data) + "\n")
    pairs = zip(results[work.name, "full"], results[work.name, "empty"], strict=True)
    share = median(f.accept_rate / e.accept_rate for f, e in pairs)
    verdict = "holds" if share >= LEAST_SHARE else "FAILS"
    sys.stdout.write(
        f"{count} deferred recipients, filled in {filled['seconds']} s, {filled['cpu_ms_a_recipient']} ms CPU each: "
        f"{share:.0%} of the accept rate of an empty queue ({verdict}: at least {LEAST_SHARE:.0%})\n"
    )
    if json:
        report.write(data, json)
    return 0 if share >= LEAST_SHARE else 1


async def fill(programs: Programs, sink: Sink, server: Posthouse, count: int) -> dict[str, Any]:
    """Queue `count` recipients and wait until each has been put off. Raises BenchError when that doesn't happen."""
    start = time.monotonic()
    try:
        login = await server.start()
        await _offer(programs, login, count)
        deferred = await _all_put_off(server, count)
        await quiet(server.group)
        cpu = server.group.cpu()
    finally:
        await server.stop()
    return {"recipients": deferred, "seconds": round(time.monotonic() - start, 1),
            "cpu_ms_a_recipient": round(cpu / count * 1e3, 3)}


async def _offer(programs: Programs, login: Login, count: int) -> None:
    # Without List-Unsubscribe all recipients of a message share one signed head.
    header = "X-Posthouse-Category: transactional"
    for number, domain in enumerate(LATER_DOMAINS):
        messages = len(range(number * A_MESSAGE, count, len(LATER_DOMAINS) * A_MESSAGE))
        if messages:
            work = Work("fill", messages, recipients=A_MESSAGE, to=domain, header=header)
            said = await load(programs, login, work, seconds=60 + count / _FILL_A_SECOND)
            if said["accepted"] != messages:
                raise BenchError(f"the queue could not be filled: {said['fault']}")


async def _all_put_off(server: Posthouse, count: int) -> int:
    """Ask the relay's own metrics until so many tries were put off."""
    end = time.monotonic() + 60 + count / _FILL_A_SECOND
    while time.monotonic() < end:
        if (seen := await server.waiting("deferred")) >= count:
            return seen
        sys.stderr.write(f"\r{seen} of {count} deferred")
        await asyncio.sleep(_LOOK_SECONDS)
    raise BenchError(f"only {await server.waiting('deferred')} of {count} recipients were deferred in time")
