"""A mail exchanger on loopback that answers as it is told, and keeps what it was given.

    async with Sink() as sink:
        sink.on("RCPT", "451 4.7.1 later", "250 2.1.5 ok")   # one after the other; the last one stays
        …
        [message] = await sink.wait_for(1)

Stages: CONNECT, EHLO, HELO, STARTTLS, AUTH, MAIL, RCPT, DATA, DOT, RSET, QUIT. A reply is a line, `DROP` (close),
`SILENCE` (not a word from then on), raw bytes (as they are: giant, too many; without a line end silence follows),
`Slow` (one byte at a time), `Held` (once an event is set), `Endless` (the same bytes until the client has had
enough), or a function of the command that returns one.
It speaks real SMTP over a real socket, with real TLS; it parses little, so that tests see the client's bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Slow:
    """One byte at a time, `seconds` apart."""

    data: bytes
    seconds: float


@dataclass(frozen=True)
class Endless:
    """The same bytes again and again."""

    data: bytes


@dataclass(frozen=True)
class Held:
    """The answer, but not before the event."""

    until: asyncio.Event
    data: str


class Silence:
    """No answer, to this or anything after it."""


class Drop:
    """The connection closes instead of an answer."""


SILENCE = Silence()
DROP = Drop()
Answer = str | bytes | Slow | Endless | Held | Silence | Drop
Rule = Answer | Callable[[bytes], Answer]

_DEFAULTS: dict[str, str] = {
    "CONNECT": "220 sink.test ESMTP", "HELO": "250 sink.test", "STARTTLS": "220 2.0.0 go ahead",
    "AUTH": "235 2.7.0 welcome", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go ahead",
    "DOT": "250 2.0.0 taken", "RSET": "250 2.0.0 ok", "NOOP": "250 2.0.0 ok", "QUIT": "221 2.0.0 bye",
}


@dataclass
class Taken:
    """One message as it came: commands verbatim without CRLF, content dot-unstuffed."""

    mail: bytes
    rcpts: list[bytes]
    raw: bytes
    helo: bytes
    tls: str | None

    @property
    def mail_from(self) -> str:
        return self.mail.split(b"<", 1)[1].split(b">", 1)[0].decode()

    @property
    def rcpt_tos(self) -> list[str]:
        return [line.split(b"<", 1)[1].split(b">", 1)[0].decode() for line in self.rcpts]


@dataclass
class Sink:
    """A scripted exchanger. `offers` are EHLO's keyword lines; STARTTLS is offered when `tls` is given."""

    offers: tuple[str, ...] = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    # Sent instead of a ServerHello after the 220.
    broken_tls: bytes | None = None
    host: str = "127.0.0.1"
    port: int = 0
    messages: list[Taken] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0

    def __post_init__(self) -> None:
        self._rules: dict[str, list[Rule]] = {}
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, stage: str, *answers: Rule) -> None:
        """From now on `stage` is answered so: each answer once, the last one for ever."""
        self._rules[stage.upper()] = list(answers)

    async def __aenter__(self) -> Sink:
        self._server = await asyncio.start_server(
            self._accepted, self.host, self.port, limit=2**26, ssl=self.tls if self.implicit_tls else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for(self, count: int, seconds: float = 5.0) -> list[Taken]:
        """The first `count` messages, as soon as they are here."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return self.messages[:count]

    async def wait_closed(self, seconds: float = 5.0) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self.open_now == 0)

    def verbs(self) -> list[str]:
        """The commands' first words, in order."""
        return [command.split(b" ", 1)[0].split(b":", 1)[0].upper().decode() for command in self.commands]

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        try:
            with contextlib.suppress(_Gone, OSError, ssl.SSLError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        finally:
            writer.transport.abort()
            self.open_now -= 1
            async with self._changed:
                self._changed.notify_all()

    def _rule(self, stage: str, line: bytes) -> Answer:
        rules = self._rules.get(stage)
        if not rules:
            if stage == "EHLO":
                return self._ehlo()
            return _DEFAULTS.get(stage, "500 5.5.2 what?")
        rule = rules.pop(0) if len(rules) > 1 else rules[0]
        return rule(line) if callable(rule) else rule

    def _ehlo(self) -> bytes:
        lines = ["sink.test", *self.offers]
        if self.tls is not None and not self.implicit_tls:
            lines.append("STARTTLS")
        return "".join(f"250{'-' if i < len(lines) - 1 else ' '}{text}\r\n" for i, text in enumerate(lines)).encode()

    async def _keep(self, taken: Taken) -> None:
        async with self._changed:
            self.messages.append(taken)
            self._changed.notify_all()


class _Gone(Exception):
    """The conversation is over."""


class _Session:
    def __init__(self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink, self.reader, self.writer = sink, reader, writer
        self.helo = self.mail = b""
        self.rcpts: list[bytes] = []

    async def run(self) -> None:
        await self.answer("CONNECT", b"")
        while line := await self.reader.readline():
            line = line.rstrip(b"\r\n")
            self.sink.commands.append(line)
            verb = line.split(b" ", 1)[0].upper().decode("latin-1")
            code = await self.answer(verb, line)
            if verb in ("EHLO", "HELO"):
                self.helo = line[5:]
            elif verb == "MAIL":
                self.mail, self.rcpts = line, []
            elif verb == "RCPT" and code.startswith(b"2"):
                self.rcpts.append(line)
            elif verb == "RSET":
                self.rcpts = []
            elif verb == "DATA" and code.startswith(b"354"):
                await self.content()
            elif verb == "STARTTLS" and code.startswith(b"220"):
                await self.start_tls()
            elif verb == "AUTH" and code.startswith(b"334"):
                self.sink.commands.append((await self.reader.readline()).rstrip())
                await self.say("334 UGFzc3dvcmQ6")
                self.sink.commands.append((await self.reader.readline()).rstrip())
                await self.say("235 2.7.0 welcome")
            elif verb == "QUIT":
                return

    async def answer(self, stage: str, line: bytes) -> bytes:
        return await self.say(self.sink._rule(stage, line))

    async def say(self, answer: Answer) -> bytes:
        """Write an answer; returns its first bytes."""
        if isinstance(answer, Drop):
            raise _Gone
        if isinstance(answer, Silence):
            await self.silence()
        if isinstance(answer, Held):
            await answer.until.wait()
            answer = answer.data
        if isinstance(answer, Endless):
            much = answer.data * (65536 // len(answer.data))
            while True:
                self.writer.write(much)
                await self.writer.drain()
        if isinstance(answer, Slow):
            for i in range(len(answer.data)):
                self.writer.write(answer.data[i : i + 1])
                await self.writer.drain()
                await asyncio.sleep(answer.seconds)
            return answer.data[:3]
        data = answer if isinstance(answer, bytes) else answer.encode() + b"\r\n"
        self.writer.write(data)
        await self.writer.drain()
        if data and not data.endswith(b"\n"):
            await self.silence()
        return data[:3]

    async def silence(self) -> None:
        """Listen without a word until the client goes."""
        while await self.reader.read(65536):
            pass
        raise _Gone

    async def content(self) -> None:
        lines: list[bytes] = []
        # RFC 5321 §4.5.2: only CRLF ends a line; one leading period comes off.
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        raw = b"".join(lines)
        code = await self.answer("DOT", b"")
        if code.startswith(b"2"):
            tls: Any = self.writer.get_extra_info("ssl_object")
            taken = Taken(self.mail, self.rcpts, raw, self.helo, tls.version() if tls else None)
            await self.sink._keep(taken)
        self.mail, self.rcpts = b"", []

    async def start_tls(self) -> None:
        if self.sink.broken_tls is not None:
            # Not before the ClientHello: earlier bytes would be an injection, another fault.
            await self.reader.read(1)
            self.writer.write(self.sink.broken_tls)
            await self.writer.drain()
            raise _Gone
        assert self.sink.tls is not None
        await self.writer.start_tls(self.sink.tls)
        self.rcpts, self.mail = [], b""
