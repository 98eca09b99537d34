"""The demo as a program: start, walk, then stay up until Ctrl-C; or, with --check, answer once and end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from posthouse import gc_tuning
from posthouse.check_config import cannot_listen
from posthouse.demo import hints
from posthouse.demo.folder import HOST, Ports, configuration, demo_zones
from posthouse.demo.receiver import Receiver
from posthouse.demo.walk import Report, Stumble, Walk
from posthouse.fitting import fitted
from posthouse.serve import Node, StartError
from relay.base.log import configure, in_background, one_line
from relay.base.runtime import most_descriptors, raise_descriptors

OK, FAILED, CONFIG = 0, 1, 3
WALK_SECONDS = 45.0


def run(*, check: bool = False, data: Path | None = None, port_base: int | None = None) -> int:
    """Run it; returns the exit code: 0, 1 when a step fails, 3 when it can't start."""
    with ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-demo-")))
        try:
            return asyncio.run(_demo(check, data.absolute(), port_base, stack))
        except KeyboardInterrupt:
            return OK


async def _demo(check: bool, data: Path, port_base: int | None, stack: ExitStack) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    zones, receiver = demo_zones(), Receiver()
    try:
        ports = Ports.from_base(port_base)
        raise_descriptors()
        config = fitted(configuration(ports, data, quiet=check), most_descriptors())
        configure(config)
        stack.enter_context(in_background(config, printed=True))
        node = await Node.start(config, zones=zones, alone=True)
        try:
            await receiver.start(HOST, ports.webhook)
        except OSError as e:
            await receiver.close()
            await node.stop(0.0)
            raise StartError([cannot_listen(f"{HOST}:{ports.webhook}", e)]) from None
    except (StartError, OSError) as e:
        lines = e.lines if isinstance(e, StartError) else [e.strerror or "no free port"]
        # Other ports help where ports are the trouble.
        of_ports = port_base != 0 and any(line.startswith(f"{HOST}:") for line in lines)
        hint = "posthouse demo --port-base 0 takes free ports" if of_ports else ""
        return _cannot_start(check, [*lines, *([hint] if hint else [])])
    gc_tuning.is_over()
    walk = Walk(node, zones, ports, (lambda text: None) if check else _say, receiver)
    try:
        await _until(stop, walk, courses=check)
        if check:
            sys.stdout.write(json.dumps(walk.report.json(), ensure_ascii=False) + "\n")
        elif walk.report.ok and walk.account is not None:
            _say(hints.text(walk.account, ports, walk.certificate))
            receiver.tell = _say
            await stop.wait()
        elif walk.report.error:
            sys.stderr.write(f"posthouse: {one_line(walk.report.error)}\n")
        return OK if walk.report.ok or (stop.is_set() and not check) else FAILED
    finally:
        await node.stop()
        await receiver.close()


async def _until(stop: asyncio.Event, walk: Walk, *, courses: bool) -> None:
    """The walk, and with `courses` what may become of mail, unless somebody wants to stop, or it takes too long; what
    went wrong stands in its report."""

    async def everything() -> None:
        await walk.all()
        if courses:
            await walk.courses()

    walking = asyncio.create_task(everything())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({walking, stopped}, timeout=WALK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    late = not walking.done() and not stopped.done()
    for task in (walking, stopped):
        task.cancel()
    result, _ = await asyncio.gather(walking, stopped, return_exceptions=True)
    if late:
        walk.report.error = f"not done within {WALK_SECONDS:g} s"
    elif isinstance(result, Stumble):
        walk.report.error = str(result)
    elif isinstance(result, Exception):
        raise result


def _cannot_start(check: bool, lines: list[str]) -> int:
    if check:
        sys.stdout.write(json.dumps(Report(error="; ".join(lines)).json()) + "\n")
        return FAILED
    for line in lines:
        sys.stderr.write(f"posthouse: {one_line(line)}\n")
    return CONFIG


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
