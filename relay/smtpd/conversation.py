"""Command lines in, each to its command: grammar, time limits, budgets, and the unforeseen.

Promises: a command line ends in CRLF and is bounded; replies to pipelined commands leave together; a time limit is
said (421) before the connection closes; what an exception says stays in the log. What the commands mean is
`relay.smtpd.session`'s and its subclasses'.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from relay import replies
from relay.base import metrics
from relay.base.secrets import random_id
from relay.replies import Reply, Verdict
from relay.smtpd.bounds import Pace
from relay.smtpd.connection import LOST, Connection
from relay.smtpd.data import Content
from relay.smtpd.parameters import HTTP, MAX_LINE, MAX_LINES

if TYPE_CHECKING:
    from relay.smtpd.listener import Listener

log = structlog.get_logger()

_TURN_COMMANDS = 16

Command = Callable[[Any, str], Awaitable[None]]


class Conversation(Connection):
    """Lines and commands. `commands` is a subclass's table, `lines` says which lines may be longer than others."""

    commands: ClassVar[Mapping[str, Command]] = {}
    lines: ClassVar[Mapping[str, int]] = MAX_LINES
    any_octets: ClassVar[frozenset[bytes]] = frozenset()  # words behind which other octets than UTF-8 may stand

    def __init__(self, listener: Listener, *, implicit_tls: bool) -> None:
        super().__init__(listener, implicit_tls=implicit_tls)
        self.hostname = listener.config.server.hostname
        self._bad = self._idle = 0
        self._deadline = math.inf
        self._coming: tuple[Content, Pace] | None = None
        self._together = 0

    # -- what a subclass is asked ----------------------------------------------------------------------------

    def greeting(self) -> list[str]:
        """The first reply's lines; a conversation that doesn't begin with 220 ends there."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the transaction."""
        raise NotImplementedError

    # -- the walk --------------------------------------------------------------------------------------------

    async def converse(self) -> None:
        """Handshake where TLS comes first, greeting, then command after command."""
        if self.implicit_tls:
            await self.start_tls()
        self.arm()
        greeting = self.greeting()
        self.say(*greeting)
        if not greeting[0].startswith("220"):
            return
        while not self.closing:
            line = await self.read_line(MAX_LINE)
            if line is not None:
                await self._obey(line)
                self.arm()

    async def _obey(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        name = word.upper()
        command = self.commands.get(name)
        if command is None:
            # A browser or a scanner: the rest of what it sends would only be more bad commands.
            if name in HTTP:
                self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            else:
                self.bad(replies.BAD_COMMAND)
            return
        try:
            await command(self, argument.strip(" \t"))
        except LOST:
            raise
        except Exception:
            self._coming = None
            self._failed(name)

    def _failed(self, command: str) -> None:
        """The unforeseen: the cause to the log, a reference to the client, and a session as after RSET."""
        reference = random_id(6)
        log.exception(f"{self.listener.name}.failed", command=command, client=self.address, reference=reference)
        self.reset()
        self.refuse(Verdict(replies.INTERNAL, reference=reference))

    # -- time ------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """The next command must be here in time; until the client is welcome there is a limit for all of it."""
        # RFC 5321 §4.5.3.2.7: at least 5 minutes for a command.
        self._deadline = min(self.loop.time() + self.bounds.command_timeout_seconds, self.open_by)

    def welcome(self) -> None:
        """The client has done what the listener wants first: only the limit for each command is left."""
        self.open_by = math.inf
        self.arm()

    def disarm(self) -> None:
        """We are at work ourselves: no limit on the client."""
        self._deadline = math.inf

    def late(self, now: float) -> bool:
        """True when a command, or the content of a message, is overdue."""
        if self._coming is None:
            return now >= self._deadline
        content, pace = self._coming
        return pace.late(content.received + len(self.reader.arrived), now)

    # -- in --------------------------------------------------------------------------------------------------

    async def read_line(self, limit: int) -> str | None:
        """The next line without CRLF, or None when it was refused (and answered). Bounded by the reader's limit."""
        if b"\n" not in self.reader.arrived:
            await self.flush()
            # RFC 5321 §3.8: a server that goes says 421 whenever it likes.
            if self._leaving:
                self.say(replies.line(replies.SHUTTING_DOWN), close=True)
                return None
        else:
            # Commands that came together are obeyed without a wait; others get their turn in between.
            self._together += 1
            if self._together % _TURN_COMMANDS == 0:
                await asyncio.sleep(0)
        self._waiting = True
        try:
            raw = await self.reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            # Nobody who speaks SMTP sends a command of 64 KiB.
            await self.reader.readexactly(overrun.consumed)
            self.say(replies.line(replies.BAD_LINE), replies.line(replies.TOO_MANY_ERRORS), close=True)
            self._overrun = True
            return None
        finally:
            self._waiting = False
        line = raw[:-2]
        # RFC 5321 §2.3.8: only CRLF ends a line. What two programs could split differently ends the conversation.
        if raw[-2:] != b"\r\n" or b"\r" in line:
            self.say(replies.line(replies.SMUGGLING), close=True)
            return None
        if len(raw) > limit:
            word = raw[:5].partition(b" ")[0].upper().decode("ascii", "replace")
            if len(raw) > self.lines.get(word, limit):
                self.bad(replies.BAD_LINE)
                return None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            # What is no UTF-8 is no command, but for a word behind which anything may stand.
            known = line.partition(b" ")[0].upper() in self.any_octets
            text = line.decode("utf-8", "replace") if known else "\0"
        if "\0" in text:
            self.bad(replies.BAD_LINE)
            return None
        return text

    # -- answers ---------------------------------------------------------------------------------------------

    def refuse(self, verdict: Verdict) -> None:
        """Say a verdict in our reply table's words."""
        metrics.REFUSED.labels(self.listener.name, verdict.reply.name).inc()
        self.say(*verdict.smtp_lines(self.listener.config.server.public_url), close=verdict.reply.closes)

    def bad(self, reply: Reply, saw: str = "") -> None:
        """Say that a command was wrong, and count it."""
        metrics.REFUSED.labels(self.listener.name, reply.name).inc()
        self.say(replies.line(reply, saw))
        self.count_bad()

    def count_bad(self) -> None:
        """Count a wrong command; too many end the conversation."""
        self._bad += 1
        if self._bad >= self.bounds.max_bad_commands:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)

    def idle(self) -> bool:
        """Count a command that leads nowhere; False when there have been too many (and it is said)."""
        self._idle += 1
        if self._idle > self.bounds.max_idle_commands:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            return False
        return True
