"""The commands of SMTP that every port has (RFC 5321, 3207, 1870), and the frame of MAIL, RCPT and DATA around what
a subclass decides.

A subclass says what it offers, when a client is ready for mail, whose sender and recipient it takes, and what becomes
of the message; the order of commands, their grammar, their budgets and the reading of DATA are decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from relay import replies
from relay.base import names
from relay.base.names import Address
from relay.replies import Verdict
from relay.smtpd import parameters
from relay.smtpd.bounds import Pace
from relay.smtpd.conversation import Command, Conversation
from relay.smtpd.data import Content, Endless
from relay.smtpd.parameters import BadArgument, MailArgument, RcptArgument

if TYPE_CHECKING:
    from relay.smtpd.listener import Listener

# So many times the permitted recipients may be named in one transaction before the connection is cut: a list sent
# by a client that reads its 452s is served (RFC 5321 §4.5.3.1.10), one that doesn't read them is not.
_NAMED_FACTOR = 10
_HELO = re.compile(r"[!-~]{1,255}")


class Transaction:
    """The message under way: from MAIL on there is a sender. `recipients` are those that were taken, with what RCPT
    said of each; `named` counts also the others; `put_off`: one of them was refused for now only."""

    __slots__ = ("named", "put_off", "recipients", "sender", "smtputf8")

    def __init__(self) -> None:
        self.sender: Address | None = None
        self.recipients: dict[Address, RcptArgument] = {}
        self.named = 0
        self.put_off = False
        self.smtputf8 = False


T = TypeVar("T", bound=Transaction)


class Session(Conversation, Generic[T]):
    """One client. Subclasses implement what is asked of it."""

    help: ClassVar[str]
    transaction: T

    def __init__(self, listener: Listener, *, implicit_tls: bool) -> None:
        super().__init__(listener, implicit_tls=implicit_tls)
        self.helo = ""
        self.extended = False
        self._messages = 0
        self.reset()

    # -- what a subclass answers ----------------------------------------------------------------------------

    def begin(self) -> T:
        """A transaction in which nothing has been said."""
        raise NotImplementedError

    def offers(self) -> list[str]:
        """What EHLO announces after the host's name: what works now."""
        raise NotImplementedError

    def offers_require_tls(self) -> bool:
        """Whether REQUIRETLS (RFC 8689) can be asked for now."""
        return False

    def ready(self) -> bool:
        """False, and answered, when something is missing before mail."""
        raise NotImplementedError

    def full(self) -> bool:
        """Whether the disk is known to be full."""
        raise NotImplementedError

    def take_sender(self, given: MailArgument) -> bool:
        """Put the sender into the transaction; False: it is refused, and answered."""
        raise NotImplementedError

    async def take_recipient(self, to: Address, given: RcptArgument) -> Address | None:
        """The recipient as it goes into the transaction; None: it is refused, and answered."""
        raise NotImplementedError

    async def hand_in(self, raw: bytes) -> str | Verdict:
        """Take the message: what is said as soon as it is on disk, or why not."""
        raise NotImplementedError

    def recipient_path(self, path: str) -> str:
        """The address that a path between brackets means."""
        return path

    def client_name(self, argument: str) -> str:
        """The name that a client gives itself in EHLO or HELO; "": it is refused."""
        return argument if _HELO.fullmatch(argument) else ""

    def member_id(self, verdict: Verdict) -> int | None:
        """Who is refused, where that is known."""
        return verdict.member_id

    # -- what is known, and refused --------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget the transaction."""
        self.transaction = self.begin()

    def forget(self) -> None:
        """RFC 3207 §4.2: all that was known of the client is forgotten."""
        self.reset()
        self.helo, self.extended = "", False

    def recorded(self, verdict: Verdict) -> Verdict:
        """The verdict with a reference under which it can be looked up."""
        t = self.transaction
        asked = {
            "mail_from": t.sender.text if t.sender else None, "to": [a.text for a in t.recipients], "helo": self.helo,
        }
        return self.listener.refusals.record(
            verdict, door="smtp", address=self.address, member_id=self.member_id(verdict), request=asked
        )

    def turn_down(self, verdict: Verdict) -> None:
        """Record a refusal of policy (it then has its page), and say it."""
        if self.transaction.sender is not None and verdict.reply.temporary:
            self.transaction.put_off = True
        self.refuse(self.recorded(verdict) if verdict.reply.policy else verdict)

    def _too_large(self) -> Verdict:
        return Verdict(replies.TOO_LARGE, wanted=str(self.bounds.max_message_bytes))

    # -- greeting --------------------------------------------------------------------------------------------

    def greeting(self) -> list[str]:
        """220."""
        return [f"220 {self.hostname} ESMTP Posthouse"]

    async def smtp_HELO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1."""
        if self._greeted("HELO", hostname):
            self.extended = False
            # RFC 2034 §4: no enhanced code here.
            self.say(f"250 {self.hostname}")

    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1: what is announced is what works now."""
        if self._greeted("EHLO", hostname):
            self.extended = True
            offers = [self.hostname, *self.offers()]
            self.say(*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    def _greeted(self, word: str, hostname: str) -> bool:
        if not self.idle():
            return False
        name = self.client_name(hostname)
        if not name:
            self.bad(replies.BAD_ARGUMENTS, f"{word} needs your host's name")
            return False
        # RFC 5321 §4.1.4: both are a RSET too.
        self.reset()
        self.helo = name
        return True

    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207 §4."""
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "STARTTLS takes no argument")
        elif self.secure:
            self.bad(replies.BAD_SEQUENCE, "TLS is on already")
        else:
            self.say(replies.line(replies.OK_TLS))
            await self.flush()
            await self.start_tls()

    # -- MAIL and RCPT ---------------------------------------------------------------------------------------

    async def smtp_MAIL(self, argument: str) -> None:
        """RFC 5321 §4.1.1.2."""
        if not self.ready():
            return
        t = self.transaction
        if t.sender is not None:
            self.bad(replies.BAD_SEQUENCE, "MAIL twice")
            return
        try:
            given = parameters.mail(argument, extended=self.extended, tls_offered=self.offers_require_tls())
        except BadArgument as e:
            self.bad(e.reply, e.saw)
            return
        # RFC 9422 §4.1: MAILMAX counts MAIL commands.
        self._messages += 1
        if self._messages > self.bounds.max_messages_a_connection:
            self.say(replies.line(replies.TOO_MANY_MESSAGES), close=True)
            return
        # RFC 1870 §6.1.
        if given.size is not None and given.size > self.bounds.max_message_bytes:
            self.turn_down(self._too_large())
        elif self.full():
            # Said before the message is sent, for which there is no room.
            self.turn_down(Verdict(replies.DISK_FULL))
        elif self.take_sender(given):
            t.smtputf8 = given.smtputf8
            self.say(replies.line(replies.OK_SENDER))

    async def smtp_RCPT(self, argument: str) -> None:
        """RFC 5321 §4.1.1.3."""
        if not self.ready():
            return
        t = self.transaction
        if t.sender is None:
            self.bad(replies.BAD_SEQUENCE, "MAIL first")
            return
        # Malformed ones count too: they cost as much, and a list is as likely to hold them as others.
        t.named += 1
        if t.named > _NAMED_FACTOR * self.bounds.max_recipients:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            return
        try:
            given = parameters.rcpt(argument, extended=self.extended)
            # RFC 6531 §3.5: other than ASCII only where MAIL said SMTPUTF8.
            to = names.address(self.recipient_path(given.path), smtputf8=t.smtputf8)
        except BadArgument as e:
            if e.reply is replies.INVALID_RECIPIENT:
                self.turn_down(Verdict(e.reply, saw=e.saw))
            else:
                self.bad(e.reply, e.saw)
            return
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_RECIPIENT, saw=e.reason))
            return
        # Named twice, sent once, with the first one's wishes; it must not meet a limit that it doesn't touch.
        if to not in t.recipients:
            taken = await self.take_recipient(to, given)
            if taken is None:
                return
            t.recipients[taken] = given
        self.say(replies.line(replies.OK_RECIPIENT))

    # -- DATA ------------------------------------------------------------------------------------------------

    async def smtp_DATA(self, argument: str) -> None:
        """RFC 5321 §4.1.1.4."""
        if not self.ready():
            return
        t = self.transaction
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "DATA takes no argument")
        elif t.sender is None or not t.named:
            self.bad(replies.BAD_SEQUENCE, "MAIL and RCPT first")
        elif not t.recipients:
            # RFC 5321 §3.3: 554 when no recipient was accepted; but what may be taken later must not bounce now.
            self.say(replies.line(replies.RECIPIENTS_LATER if t.put_off else replies.NO_RECIPIENTS))
        elif self.listener.memory.full:
            self.turn_down(Verdict(replies.UNAVAILABLE))
        else:
            self.say(replies.line(replies.GO_AHEAD))
            await self.flush()
            await self._take()

    async def _take(self) -> None:
        """Read the message and hand it in. The reply comes when it is on disk; the client's leaving stops nothing."""
        with Content(self.reader, self.listener.memory, self.bounds.max_message_bytes) as content:
            self._coming = content, Pace(self.bounds, self.loop.time())
            try:
                raw = await content.read()
            except Endless:
                self.turn_down(self._too_large())
                self.closing = self._overrun = True
                return
            except BaseException:
                # Where the content ends is not known any more: what follows must never be read as commands.
                self.closing = True
                raise
            finally:
                self._coming = None
            if self.closing:
                return  # cut for slowness, and told so, with the last octets on their way
            self.disarm()
            if raw is not None:
                found = await self.hand_in(raw)
            else:
                found = self._too_large() if content.too_large else Verdict(replies.UNAVAILABLE)
            if isinstance(found, Verdict):
                self.turn_down(found)
            else:
                self._idle = 0
                self.say(found)
            self.reset()

    # -- the rest --------------------------------------------------------------------------------------------

    async def smtp_RSET(self, argument: str) -> None:
        """RFC 5321 §4.1.1.5; the login stays."""
        if not self.idle():
            return
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "RSET takes no argument")
            return
        self.reset()
        self.say(replies.line(replies.OK))

    async def smtp_NOOP(self, argument: str) -> None:
        """RFC 5321 §4.1.1.9."""
        if self.idle():
            self.say(replies.line(replies.OK))

    async def smtp_HELP(self, argument: str) -> None:
        """RFC 5321 §4.1.1.8."""
        if self.idle():
            self.say(replies.line(replies.OK_HELP, self.help))

    async def smtp_VRFY(self, argument: str) -> None:
        """RFC 5321 §3.5.3, §7.3: 252 for everything; who exists is nobody's business."""
        if self.idle():
            if argument:
                self.say(replies.line(replies.OK_VRFY))
            else:
                self.bad(replies.BAD_ARGUMENTS, "VRFY needs an address")

    async def smtp_EXPN(self, argument: str) -> None:
        """RFC 5321 §3.5.2: there are no lists here."""
        self.bad(replies.NOT_IMPLEMENTED)

    async def smtp_QUIT(self, argument: str) -> None:
        """RFC 5321 §4.1.1.10."""
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "QUIT takes no argument")
        else:
            self.say(replies.line(replies.OK_BYE), close=True)

    commands: ClassVar[Mapping[str, Command]] = {
        "HELO": smtp_HELO, "EHLO": smtp_EHLO, "STARTTLS": smtp_STARTTLS, "MAIL": smtp_MAIL, "RCPT": smtp_RCPT,
        "DATA": smtp_DATA, "RSET": smtp_RSET, "NOOP": smtp_NOOP, "HELP": smtp_HELP, "VRFY": smtp_VRFY,
        "EXPN": smtp_EXPN, "QUIT": smtp_QUIT,
    }
