"""Two `serve` processes on one database and the same ports: so many messages by SMTP and HTTP, each delivered once.

    python -m bench.processes [--engine sqlite|postgresql] [--messages 10000] [--processes 2] [--connections 16]

Exit 0 when every message was acknowledged and came exactly once. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.kit.ports import free_port
from tests.kit.served import Town
from tests.kit.storage import PostgresServer


async def share(wanted: Any, url: str, folder: Path) -> list[str]:
    """Send and count; returns the faults."""
    names = [f"u{i:06d}" for i in range(wanted.messages)]
    port = free_port()
    faults = []
    async with Town.made(folder, url) as town, AsyncExitStack() as stack:
        serving = (
            stack.enter_async_context(town.serve(SUBMISSION__LISTEN=f'["127.0.0.1:{port}"]'))
            for _ in range(wanted.processes)
        )
        nodes = list(await asyncio.gather(*serving))
        since = time.monotonic()
        acked = await town.flood(nodes, list(names), connections=wanted.connections, http_every=4)
        await town.all_arrived(acked, 300.0)
        took = time.monotonic() - since
        codes = [await node.stop() for node in nodes]
        arrived = town.arrived()
        if sorted(acked) != names:
            faults.append(f"{len(names) - len(acked)} were not acknowledged")
        if arrived != Counter(acked):
            faults.append(f"{len(set(acked) - set(arrived))} lost, {sum(n > 1 for n in arrived.values())} twice")
        if any(codes):
            faults.append(f"exit codes {codes}")
        faults += [str(line) for node in nodes for line in node.events("error", "critical")]
        sys.stdout.write(
            f"{wanted.engine}: {len(acked)} messages over {wanted.processes} processes in {took:.1f} s "
            f"(clients and exchanger on the same cores), {len(faults)} faults\n"
        )
    return faults


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.processes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    wanted = parser.parse_args()
    postgres = PostgresServer() if wanted.engine == "postgresql" else None
    folder = Path(tempfile.mkdtemp(prefix="ph-processes-"))
    try:
        url = postgres.url() if postgres else "sqlite:///posthouse.db"
        faults = asyncio.run(share(wanted, url, folder))
    finally:
        if postgres:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for fault in faults:
        sys.stdout.write(f"  {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
