"""The load client of the HTTP side: keep-alive connections that post messages, one a request or many.

What it measures has the names that `load.c` uses. A batch's time counts for each of its messages.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.tools import Login, Work

_LINE = "The quick brown fox jumps over the lazy dog, and nobody minds it much.\n"


class _Client:
    """All connections of one piece of work."""

    def __init__(self, login: Login, work: Work, senders: Sequence[str]) -> None:
        self._login, self._work, self._senders = login, work, senders
        self._left = work.messages
        self._text = (_LINE * (work.size // len(_LINE) + 1))[: work.size]
        self._number = 0
        self.accepted, self.refused, self.fault = 0, 0, ""
        self.times: list[float] = []
        self.last = 0.0

    async def connection(self) -> None:
        """Post until nothing is left."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._login.http)
        try:
            while self._left > 0:
                n = min(self._left, self._work.batch)
                self._left -= n
                began = time.monotonic()
                writer.write(self._request([self._message() for _ in range(n)]))
                status, body = await _answer(reader)
                self.last = time.monotonic()
                took = self.last - began
                self._count(status, body, n, took)
        finally:
            writer.close()

    def _message(self) -> dict[str, Any]:
        self._number += 1
        to = [f"user{self._number}-{i}@{self._work.to}" for i in range(self._work.recipients)]
        sender = self._senders[self._number % len(self._senders)]
        return {"from": sender, "to": to, "subject": f"Message {self._number}", "text": self._text}

    def _request(self, messages: list[dict[str, Any]]) -> bytes:
        single = self._work.batch == 1
        body = json.dumps(messages[0] if single else {"messages": messages}).encode()
        path = "/v1/send" if single else "/v1/send/batch"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._login.password}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _count(self, status: int, body: bytes, n: int, took: float) -> None:
        good = n if status == 200 else 0
        if good and self._work.batch > 1:
            good = sum(r["status"] == 200 for r in json.loads(body)["results"])
        self.accepted += good
        self.times += [took] * good
        if good < n:
            self.refused += n - good
            self.fault = f"{status} {body[:200].decode(errors='replace')}"


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    length = next(int(f.partition(b":")[2]) for f in fields if f.startswith(b"content-length:"))
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def load(login: Login, work: Work, *, seconds: float, senders: Sequence[str] = ()) -> dict[str, Any]:
    """Offer the work, from `senders` in turn if there are any; what was measured, as `tools.load` tells it."""
    client = _Client(login, work, senders or [login.sender])
    cpu, started = _cpu(), time.monotonic()
    async with asyncio.timeout(seconds):
        await asyncio.gather(*(client.connection() for _ in range(work.connections)))
    times = sorted(client.times) or [0.0]
    return {
        "accepted": client.accepted, "refused": client.refused, "broken": 0, "fault": client.fault,
        "rate": client.accepted / max(client.last - started, 1e-9), "started": started, "open_p50_ms": 0.0,
        "p50_ms": median(times) * 1e3, "p99_ms": times[int(len(times) * 0.99)] * 1e3 if len(times) > 1 else 0.0,
        "max_ms": times[-1] * 1e3, "client_cpu_ms": (_cpu() - cpu) * 1e3,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
