"""The two C programs: compiled on the spot, run as processes. Promises that neither outlives the command."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import shutil
import struct
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COUNTERS = struct.Struct("=QQQQ")
NANO = 1e-9


class BenchError(Exception):
    """The benchmark can't go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths of the compiled load client and sink."""

    load: Path
    sink: Path


async def build(folder: Path) -> Programs:
    """Compile both into `folder`. Raises BenchError without a C compiler or OpenSSL's headers."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchError("no C compiler: install one (Debian: build-essential libssl-dev)")
    made = Programs(folder / "load", folder / "sink")
    for source, target, libraries in (("load.c", made.load, ["-lssl", "-lcrypto"]), ("sink.c", made.sink, [])):
        await call([compiler, "-O2", "-pthread", "-o", str(target), str(HERE / source), *libraries], seconds=120)
    return made


async def call(
    command: list[str], *, env: dict[str, str] | None = None, seconds: float = 60.0, ok: tuple[int, ...] = (0,)
) -> str:
    """Run a command to its end; its standard output. Raises BenchError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **(env or {})}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        raise BenchError(f"{command[0]} did not end within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode not in ok:
        said = (err or out).decode(errors="replace").strip()[-2000:]
        raise BenchError(f"{' '.join(command[:6])} failed ({process.returncode}): {said}")
    return out.decode()


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load. per_connection 0: all messages of a connection over it. size: octets of the body.

    rate: messages a second that are offered; 0: as many as the server takes. batch: by HTTP, so many messages a
    request; 0: by SMTP.
    """

    name: str
    messages: int
    connections: int = 20
    per_connection: int = 0
    size: int = 4096
    recipients: int = 1
    to: str = "sink.test"
    header: str = ""
    rate: float = 0.0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Login:
    """How a client signs in, and as whom it writes. `http`: the port of the HTTP side, 0 where there is none."""

    port: int
    user: str
    password: str
    sender: str
    http: int = 0


async def load(programs: Programs, login: Login, work: Work, *, seconds: float = 120.0) -> dict[str, Any]:
    """Offer the work: STARTTLS, AUTH PLAIN, pipelined. What the client measured (rates a second, times in ms)."""
    said = await call(
        [
            str(programs.load), "-T", "-P", "-p", str(login.port), "-n", str(work.messages),
            "-c", str(work.connections), "-m", str(work.per_connection), "-s", str(work.size),
            "-r", str(work.recipients), "-a", login.user, "-f", login.sender,
            "-d", work.to, "-H", work.header, "-w", str(seconds), "-R", str(work.rate),
        ],
        env={"LOAD_PASSWORD": login.password}, seconds=seconds + 70, ok=(0, 1),
    )  # fmt: skip
    got: dict[str, Any] = json.loads(said)
    return got


class Sink:
    """The running sink: its port, and what it has counted."""

    def __init__(self, port: int, counters: mmap.mmap, samples: Path, envelopes: Path) -> None:
        self.port, self._counters, self._samples, self.envelopes = port, counters, samples, envelopes

    @property
    def messages(self) -> int:
        """Messages taken since its start."""
        return int(COUNTERS.unpack_from(self._counters)[0])

    @property
    def last_at(self) -> float:
        """When it took the last one, on the monotonic clock, seconds."""
        return float(COUNTERS.unpack_from(self._counters)[2]) * NANO

    async def arrived(self, total: int, *, seconds: float, idle_seconds: float = 20.0) -> bool:
        """Wait until it has `total` messages; False after `seconds`, or `idle_seconds` without one."""
        start = time.monotonic()
        while self.messages < total:
            now = time.monotonic()
            if now - start > seconds or now - max(start, self.last_at) > idle_seconds:
                return False
            await asyncio.sleep(0.01)
        return True

    def samples(self) -> list[bytes]:
        """The messages it has kept, in order; they are forgotten with that."""
        kept = []
        for path in sorted(self._samples.glob("*.eml")):
            kept.append(path.read_bytes())
            path.unlink()
        return kept


@asynccontextmanager
async def sink(programs: Programs, *, every: int = 50, envelopes: bool = False) -> AsyncIterator[Sink]:
    """Run the sink until the block ends; it keeps every `every`-th message, the newest 200 of them.

    `envelopes`: it writes sender and recipient of each to the file `Sink.envelopes`, one line a message.
    """
    with tempfile.TemporaryDirectory(prefix="posthouse-sink-") as made:
        folder = Path(made)
        process = await asyncio.create_subprocess_exec(
            str(programs.sink), "0", str(folder / "counters"), made, str(every),
            *([str(folder / "envelopes")] if envelopes else []),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(await process.stdout.readline())
            with (folder / "counters").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as seen:
                yield Sink(port, seen, folder, folder / "envelopes")
        finally:
            process.stdin.close()
            await process.wait()


async def listening(port: int, *, seconds: float = 20.0) -> None:
    """Wait until a server greets on `port`. Raises BenchError when it doesn't."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            async with asyncio.timeout(5):
                greeting = await reader.readline()
        except (OSError, TimeoutError):
            greeting = b""
        finally:
            writer.close()
        if greeting.startswith(b"220"):
            return
        await asyncio.sleep(0.05)
    raise BenchError(f"nothing greets on port {port} after {seconds:g} s")
