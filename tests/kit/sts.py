"""A policy host of MTA-STS on loopback: TLS of a private authority, and whatever answer it is told to give."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

import trustme

ENFORCE = "version: STSv1\nmode: enforce\nmx: mx.sink.test\nmax_age: 86400\n"


@dataclass
class PolicyHost:
    """Answers every request with `status`, `kind` and `body`; counts them. `name`: whom its certificate is for."""

    authority: trustme.CA
    body: str = ENFORCE
    status: str = "200 OK"
    kind: str = "text/plain; charset=utf-8"
    name: str = "mta-sts.sink.test"
    asked: list[str] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> PolicyHost:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(self.name).configure_cert(context)
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.partition("\r\n")[0])
            for line in head.lower().split("\r\n"):
                if line.startswith("content-length:"):
                    self.posted.append(await reader.readexactly(int(line.partition(":")[2])))
            body = self.body.encode()
            writer.write(
                f"HTTP/1.1 {self.status}\r\nContent-Type: {self.kind}\r\nLocation: /elsewhere\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        writer.close()
