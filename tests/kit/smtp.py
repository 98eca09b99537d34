"""A raw SMTP client for tests: bytes out, whole replies in, TLS when told. It checks nothing and trusts nobody."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from types import TracebackType

WAIT = 10.0


def trusting() -> ssl.SSLContext:
    """A client context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Talk:
    """One connection. `async with await Talk.to(port) as t: await t.ask("EHLO x")`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int, *, tls: bool = False) -> Talk:
        """Connect; reads nothing."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting() if tls else None))

    @classmethod
    async def secured(cls, port: int, *, helo: str = "client.test") -> Talk:
        """Greeting, EHLO, STARTTLS, EHLO."""
        talk = await cls.to(port)
        assert (await talk.reply()).startswith("220 ")
        await talk.ask(f"EHLO {helo}")
        await talk.starttls()
        await talk.ask(f"EHLO {helo}")
        return talk

    @classmethod
    async def logged_in(cls, port: int, username: str, secret: str) -> Talk:
        """`secured`, and AUTH PLAIN."""
        talk = await cls.secured(port)
        said = await talk.ask(f"AUTH PLAIN {plain(username, secret)}")
        assert said.startswith("235 2.7.0"), said
        return talk

    async def __aenter__(self) -> Talk:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), WAIT)

    async def starttls(self) -> None:
        """STARTTLS and the handshake."""
        said = await self.ask("STARTTLS")
        assert said.startswith("220 2.0.0"), said
        await self.handshake()

    async def handshake(self) -> None:
        """TLS from here on."""
        await asyncio.wait_for(self.writer.start_tls(trusting(), server_hostname="localhost"), WAIT)

    async def send(self, data: bytes) -> None:
        """These bytes and no others."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, line: str) -> str:
        """A command, its reply."""
        await self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def reply(self) -> str:
        """One whole reply, its lines joined by a line feed; "" at the end of the stream."""
        lines = []
        while True:
            raw = await asyncio.wait_for(self.reader.readline(), WAIT)
            lines.append(raw.decode("ascii").removesuffix("\r\n"))
            if raw[3:4] != b"-":
                return "\n".join(lines)

    async def closed(self) -> bool:
        """True when the server has closed and said no more."""
        try:
            return await asyncio.wait_for(self.reader.read(1000), WAIT) == b""
        except ConnectionError:
            return True


def plain(username: str, secret: str, acts_as: str = "") -> str:
    """AUTH PLAIN's message in base64."""
    return b64(f"{acts_as}\0{username}\0{secret}")


def b64(text: str) -> str:
    """UTF-8 in base64."""
    return base64.b64encode(text.encode()).decode()
