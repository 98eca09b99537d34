"""One conversation with a mail exchanger, reused for many messages.

Promises: `deliver` answers with one outcome and never raises for what the other side does; the bytes handed in
are the bytes sent; an address that could end a command early is refused before the write; after anything odd the
connection is closed and `usable` is False.

Leaves to others: opening (`opening`), what a reply means (`relay.outcome`), keeping connections (`pool`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from relay.delivery.client.limits import DEFAULTS, Limits
from relay.delivery.client.opening import Opened, Target, open_wire
from relay.delivery.client.transport import WireFailed
from relay.delivery.tls_policy import TlsClient
from relay.outcome import Outcome, Peer, Reply, Scope, Stage, concluded, from_failure, from_reply


def stuffed(chunks: Sequence[bytes], block_bytes: int) -> Iterator[bytes]:
    """The message as blocks of about `block_bytes`, stuffed, ending with the terminating line. Linear in time, without
    a copy of the whole; what the other side unstuffs is what was handed in.

    RFC 5321 §4.5.2: a line that begins with a period gets another one before it. A last line without its CRLF
    gets one, else the dot would not stand alone."""
    last = b"\r\n"  # the message begins at the start of a line
    whole = chunks if sum(map(len, chunks)) > block_bytes else (b"".join(chunks),)
    for chunk in whole:
        for start in range(0, len(chunk), block_bytes):
            piece = chunk if len(chunk) <= block_bytes else chunk[start : start + block_bytes]
            block = piece.replace(b"\r\n.", b"\r\n..")
            # A line may begin at the seam of two pieces.
            if last == b"\r\n" and piece.startswith(b"."):
                block = b"." + block
            elif last.endswith(b"\r") and piece.startswith(b"\n."):
                block = b"\n.." + block[2:]
            last = (last + piece)[-2:] if len(piece) < 2 else piece[-2:]
            if len(whole) == 1 and len(chunk) <= block_bytes:
                yield block + (b".\r\n" if last == b"\r\n" else b"\r\n.\r\n")
                return
            yield block
    yield b".\r\n" if last == b"\r\n" else b"\r\n.\r\n"


def has_bare_line_ends(chunks: Sequence[bytes]) -> bool:
    """True when a CR or LF stands alone, which another server may read as an end of data (RFC 5321 §2.3.8).

    A pair split between two chunks counts as bare: nothing here cuts a message there."""
    for chunk in chunks:
        pairs = chunk.count(b"\r\n")
        if chunk.count(b"\n") != pairs or chunk.count(b"\r") != pairs:
            return True
    return False


# Nothing that ends a path, a parameter or a line (RFC 5321 §4.1.2), but within quotes blanks and brackets end none;
# controls and separators of Unicode neither.
_UNSEEN = r"\x7f-\xa0\u2028\u2029\ud800-\udfff"
_PATH = re.compile(rf'(?:"(?:[^\x00-\x1f"\\{_UNSEEN}]|\\[ -~])*"|[^\x00-\x20<>"{_UNSEEN}])*')
# RFC 3461 §4: xtext.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE)
_RESET = b"RSET\r\n"
_ORCPT = re.compile(r"[A-Za-z0-9-]+;[!-*,-~+]+")


@dataclass(slots=True)
class Transaction:
    """One message to one recipient: every recipient has a return path of its own (VERP), so nobody shares.

    The message is the joined `chunks`, with CRLF line ends; `size` in octets, None: counted. `sender` may be empty
    (RFC 5321 §4.5.5). `envid` and `orcpt` are xtext as they came; `envid`, `ret`, `notify`, `orcpt` are passed on where
    the server offers DSN (RFC 3461 §5.1). `checked`: that no CR or LF stands alone in the last chunk is known.
    `require_tls`: only to a server that offers REQUIRETLS, and with it (RFC 8689 §4.2.1)."""

    sender: str
    recipient: str
    chunks: Sequence[bytes]
    size: int | None = None
    smtputf8: bool = False
    envid: str | None = None
    ret: str | None = None
    notify: str | None = None
    orcpt: str | None = None
    checked: bool = False
    require_tls: bool = False


class Connection:
    """An open conversation. One coroutine at a time; make it with `open`."""

    def __init__(self, opened: Opened, target: Target, limits: Limits) -> None:
        self._wire = opened.wire
        self._loop = asyncio.get_running_loop()
        self.offers = opened.offers
        self._dsn = "DSN" in opened.offers
        self.peer: Peer = replace(opened.peer, dsn=self._dsn)
        self.target = target
        self.limits = limits
        self.deliveries = 0
        self._delivery: _Delivery | None = None
        self._needs_reset = False
        size = opened.offers.get("SIZE", "")
        # RFC 1870 §4: no number, or 0, is no announced limit.
        self._size_limit = int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0
        self._pipelining = "PIPELINING" in opened.offers
        self._8bitmime = "8BITMIME" in opened.offers
        self._smtputf8 = "SMTPUTF8" in opened.offers

    @classmethod
    async def open(cls, target: Target, tls: TlsClient, limits: Limits = DEFAULTS) -> Connection | Outcome:
        """Connect to the target and introduce ourselves, under its policy.

        Returns an outcome, always `later`, when no conversation can be had. Raises ValueError for a bad `helo`."""
        opened = await open_wire(target, tls, limits)
        return opened if isinstance(opened, Outcome) else cls(opened, target, limits)

    @property
    def usable(self) -> bool:
        """True while another delivery may be tried here."""
        return self._wire.failure is None

    @property
    def downgraded(self) -> bool:
        """True in plaintext with a host that offers TLS: it could not be had this time."""
        return self.peer.downgraded

    @property
    def source(self) -> str:
        """Our own address in it; "" once it is closed."""
        return self._wire.source

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the socket is closed."""
        return self._wire.closed

    async def deliver(self, mail: Transaction) -> Outcome:
        """Carry one message to its recipient. Raises nothing but cancellation, which closes."""
        delivery = self._delivery = _Delivery(self, mail)
        self._wire.deadline = delivery.begun + self.limits.conversation_seconds
        try:
            size = sum(map(len, mail.chunks)) if mail.size is None else mail.size
            ascii_only = all(chunk.isascii() for chunk in mail.chunks)
            impossible = delivery.impossible(size, ascii_only)
            if impossible is not None:
                return impossible
            self.deliveries += 1
            lines = self._mail_line(mail, size, ascii_only), self._rcpt_line(mail)
            await (delivery.pipelined(*lines) if self._pipelining else delivery.step_by_step(*lines))
        except WireFailed as failed:
            delivery.decide(
                from_failure(
                    failed.failure, delivery.stage, self.peer, said=self._wire.last_words,
                    duration_seconds=delivery.seconds(), unanswered=delivery.written,
                )
            )
            self._wire.abort()
        except BaseException:
            # Cancelled in mid-conversation: nobody can tell any more which reply belongs to what.
            self._wire.abort()
            raise
        finally:
            self._delivery = None
        # What nobody decided is tried again.
        return delivery.outcome or from_failure("internal", delivery.stage, self.peer)

    def _mail_line(self, mail: Transaction, size: int, ascii_only: bool) -> bytes:
        line = b"MAIL FROM:<" + mail.sender.encode() + b">"
        if "SIZE" in self.offers:
            line += b" SIZE=%d" % size
        if not ascii_only and self._8bitmime:
            line += b" BODY=8BITMIME"
        if mail.smtputf8:
            line += b" SMTPUTF8"
        if mail.require_tls:
            line += b" REQUIRETLS"
        if self._dsn:
            line += _word(b" RET=", mail.ret, ("FULL", "HDRS")) + _matching(b" ENVID=", mail.envid, _XTEXT)
        return line

    def _rcpt_line(self, mail: Transaction) -> bytes:
        line = b"RCPT TO:<" + mail.recipient.encode() + b">"
        if self._dsn:
            line += _matching(b" NOTIFY=", mail.notify, _NOTIFY) + _matching(b" ORCPT=", mail.orcpt, _ORCPT)
        return line

    async def close(self) -> None:
        """Say QUIT, wait briefly for the answer, and close. Leaves nothing behind."""
        if self._wire.failure is None:
            self._wire.deadline = self._loop.time() + self.limits.quit_seconds
            try:
                self._wire.send(b"QUIT\r\n", 1)
                await self._wire.gather(1, self.limits.quit_seconds)
            finally:
                self._wire.abort()
        else:
            self._wire.abort()
        await asyncio.wait([self._wire.closed], timeout=self.limits.quit_seconds)

    def stop_waiting(self) -> bool:
        """If all of a message is written and its answer awaited, end that wait with the outcome that it has then."""
        if self._delivery is None or not self._delivery.written:
            return False
        self._wire.fail("stopped")
        return True

    def leave(self) -> None:
        """Say QUIT and close without waiting for an answer."""
        # RFC 5321 §4.1.1.10 wants the answer awaited; a host that is slow even here is not worth a worker.
        self._wire.leave(b"QUIT\r\n")

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()


class _Delivery:
    """One transaction: the state between MAIL and the answer to the dot. What is decided first stays."""

    def __init__(self, connection: Connection, mail: Transaction) -> None:
        self.connection = connection
        self.wire = connection._wire
        self.limits = connection.limits
        self.peer = connection.peer
        self.mail = mail
        self.outcome: Outcome | None = None
        self.stage: Stage = "mail"
        self.written = False  # all of the message, the final dot included
        self.begun = connection._loop.time()

    def seconds(self) -> float:
        return self.connection._loop.time() - self.begun

    def decide(self, outcome: Outcome) -> None:
        """The recipient's outcome, unless it has one."""
        if self.outcome is None:
            self.outcome = outcome

    def judged(self, reply: Reply) -> Outcome:
        return from_reply(reply, self.stage, self.peer, duration_seconds=self.seconds())

    def _never(self, enhanced: str, code: int, text: str, stage: Stage, scope: Scope) -> Outcome:
        return concluded("never", enhanced, text, stage, scope, self.peer, code=code)

    def impossible(self, size: int, ascii_only: bool) -> Outcome | None:
        """Why this message can't go to this server at all, or None."""
        connection, limits, mail = self.connection, self.limits, self.mail
        if mail.require_tls and not (self.peer.tls_verified and "REQUIRETLS" in connection.offers):
            # RFC 8689 §4.2.1: not to this one; the next exchanger may offer it.
            peer = replace(self.peer, tls_result="requiretls")
            says = "the remote host does not offer REQUIRETLS"
            return concluded("later", "4.7.30", says, "starttls", "host", peer)
        if not (_PATH.fullmatch(mail.sender) and len(mail.sender) <= limits.address_bytes):
            return self._never("5.1.7", 553, "the sender address is malformed", "mail", "message")
        if has_bare_line_ends(mail.chunks[:-1] if mail.checked else mail.chunks):
            # What we would send might be read as two messages (SMTP smuggling).
            return self._never("5.6.0", 554, "the message holds a bare CR or LF", "data", "message")
        if (mail.smtputf8 and not connection._smtputf8) or not (mail.smtputf8 or mail.sender.isascii()):
            # RFC 6531 §3.2: not to a server that does not offer it.
            text = "the message needs SMTPUTF8, which the remote host does not offer"
            return self._never("5.6.7", 550, text, "mail", "message")
        if not (ascii_only or connection._8bitmime or limits.send_8bit_anyway):
            # RFC 6152 §3: no 8-bit content then "under any circumstances"; signed content is never re-encoded.
            text = "the message holds 8-bit content and the remote host does not offer 8BITMIME"
            return self._never("5.6.3", 554, text, "mail", "message")
        if 0 < connection._size_limit < size:
            # RFC 1870 §4: larger than the announced maximum.
            text = f"the message has {size} octets, the remote host takes {connection._size_limit}"
            return self._never("5.3.4", 552, text, "mail", "message")
        if not (_PATH.fullmatch(mail.recipient) and 0 < len(mail.recipient) <= limits.address_bytes):
            return self._never("5.1.3", 553, "the recipient address is malformed", "rcpt", "recipient")
        if not (mail.smtputf8 or mail.recipient.isascii()):
            return self._never("5.6.7", 553, "the recipient address needs SMTPUTF8", "rcpt", "recipient")
        return None

    async def pipelined(self, mail: bytes, rcpt: bytes) -> None:
        """RFC 2920 §3.1: MAIL, RCPT and DATA in one write; then the body."""
        wire, lines = self.wire, [mail, rcpt, b"DATA\r\n"]
        resets = self.connection._needs_reset
        if resets:
            lines.insert(0, b"RSET")
        self.connection._needs_reset = True
        wire.send(b"\r\n".join(lines), len(lines))
        await wire.gather(len(lines), self.limits.command_seconds)
        if resets:
            self._in_order(wire.take())
        self._mail(wire.take())
        self.stage = "rcpt"
        # After a refused MAIL every later command is refused too; that says nothing about the recipient.
        self._rcpt(wire.take())
        self.stage = "data"
        reply = wire.take()
        if reply.code == 354 and self.outcome is not None:
            # RFC 2920 §3.1: the recipient was not taken, yet the server waits for content: it gets none.
            wire.send(b".\r\n", 1)
            self._in_order(await wire.reply(self.limits.dot_seconds))
            return
        await self._content(reply)

    async def step_by_step(self, mail: bytes, rcpt: bytes) -> None:
        """One command, one reply, for servers without PIPELINING."""
        if self.connection._needs_reset:
            self._in_order(await self._ask(b"RSET"))
        self.connection._needs_reset = True
        self._mail(await self._ask(mail))
        if self.outcome is not None:
            return
        self.stage = "rcpt"
        self._rcpt(await self._ask(rcpt))
        if self.outcome is not None:
            return
        self.stage = "data"
        self.wire.send(b"DATA\r\n", 1)
        await self._content(await self.wire.reply(self.limits.data_seconds))

    async def _ask(self, line: bytes) -> Reply:
        self.wire.send(line + b"\r\n", 1)
        return await self.wire.reply(self.limits.command_seconds)

    def _in_order(self, reply: Reply) -> None:
        """A reply whose words don't matter; 421 closes (RFC 5321 §3.8)."""
        if reply.code == 421:
            self.wire.last_words = reply
            self.wire.abort()

    def _mail(self, reply: Reply) -> None:
        if reply.code // 100 == 2:
            return
        self.decide(self.judged(reply))
        self._in_order(reply)
        # 503: it takes our commands for others than they are; a reused connection that does so is of no use.
        if reply.code == 503 or reply.code // 100 not in (4, 5):
            self.wire.abort()

    def _rcpt(self, reply: Reply) -> None:
        # RFC 5321 §4.1.1.3: 250 or 251 (will forward); 252 (can't verify, will try) too.
        if reply.code // 100 != 2:
            self.decide(self.judged(reply))
        self._in_order(reply)
        if reply.code // 100 not in (2, 4, 5):
            self.wire.abort()

    async def _content(self, reply: Reply) -> None:
        """After the reply to DATA: send the message and judge the answer to the dot."""
        wire = self.wire
        if reply.code != 354:
            self.decide(self.judged(reply))
            self._in_order(reply)
            if reply.code // 100 not in (4, 5):
                # A 2xx or an unknown code: it may wait for content or for commands; nobody knows.
                wire.abort()
            return
        self.stage = "dot"
        if wire.failure is not None or wire.replies_waiting:
            # An answer to the dot before there was one is no answer.
            raise WireFailed(wire.failure or "out_of_step")
        blocks = stuffed(self.mail.chunks, self.limits.block_bytes)
        block = next(blocks)
        wire.owed += 1
        for following in blocks:
            wire.send(block, 0)
            block = following
            if not await wire.drained(self.limits.block_seconds):
                self._answered_early()
                return
        self.written = True
        if self.connection._pipelining:
            wire.send(block + _RESET, 1)
        else:
            wire.send(block, 0)
        answer = await wire.reply(self.limits.dot_seconds)
        outcome = self.judged(answer)
        if answer.code == 421 or answer.code // 100 not in (2, 4, 5):
            self.decide(outcome)
            self._in_order(answer)
            wire.abort()
            return
        await self._in_step()
        self.decide(outcome)
        self.connection._needs_reset = False

    async def _in_step(self) -> None:
        """See by the answer to RSET that the one before was the answer to the dot. Raises WireFailed if it was not.

        A reply too many, from wherever it came, would else pass for "I have your message", and the true answer, which
        may be a refusal, would come to nobody. RFC 2920 §3.1: RSET may follow the dot in the same write; there it
        costs no time. A host that closes now, or has no answer for RSET, has answered the dot all the same."""
        wire = self.wire
        if not self.connection._pipelining:
            wire.send(_RESET, 1)
        await wire.gather(1, self.limits.reset_seconds)
        if wire.replies_waiting:
            reply = wire.take()
            if reply.code == 421:
                # RFC 5321 §3.8: it closes, and whatever comes now is about nothing any more.
                wire.abort()
                return
            if reply.code // 100 != 2:
                # RFC 5321 §4.3.2: RSET is answered by 250 alone. Is this the true answer to the dot, with RSET's to
                # follow, or does the host refuse RSET? A last command tells: which gets one answer, or two.
                wire.last_words = reply
                wire.send(b"QUIT\r\n", 1)
                await wire.gather(2, self.limits.reset_seconds)
                if wire.failure is None:
                    wire.abort()
        if wire.failure == "out_of_step":
            raise WireFailed("out_of_step")

    def _answered_early(self) -> None:
        """The server failed or answered while the message was still under way: it does not have the message."""
        if not self.wire.replies_waiting:
            raise WireFailed(self.wire.failure or "out_of_step")
        reply = self.wire.take()
        if reply.code // 100 in (4, 5):
            self.stage = "data"  # before the final dot
            self.decide(self.judged(reply))
            self.wire.abort()
            return
        self.wire.last_words = reply
        raise WireFailed("out_of_step")


def _word(keyword: bytes, value: str | None, allowed: tuple[str, ...]) -> bytes:
    return keyword + value.upper().encode("ascii") if value and value.upper() in allowed else b""


def _matching(keyword: bytes, value: str | None, pattern: re.Pattern[str]) -> bytes:
    """A DSN parameter, or nothing: a value that is not what RFC 3461 §4 allows never reaches the wire."""
    if not value or len(value) > 500 or not pattern.fullmatch(value):
        return b""
    return keyword + value.encode("ascii")
