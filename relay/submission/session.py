"""The commands of submission (RFC 6409) and what each asks of the rooms behind. Decides nothing itself.

Order of a message: EHLO, STARTTLS, EHLO, AUTH (directory.login), MAIL (policy.sender), RCPT (policy.recipient),
DATA (intake.accept, called once with the whole message). A `Verdict` becomes a reply, an exception a 451.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import structlog

from relay import replies
from relay.base import names
from relay.base.names import Address
from relay.directory import DomainEntry, Login
from relay.intake import Accepted, Recipient, Submission
from relay.replies import Verdict
from relay.submission import auth, parameters
from relay.submission.conversation import Command, Conversation
from relay.submission.data import Content, Endless
from relay.submission.parameters import BadArgument
from relay.submission.rooms import Rooms

log = structlog.get_logger()

# So many times the permitted recipients may be named in one transaction before the connection is cut: a list sent
# by a client that reads its 452s is served (RFC 5321 §4.5.3.1.10), one that doesn't read them is not.
_NAMED_FACTOR = 10
_HELO = re.compile(r"[!-~]{1,255}")
_HELP = "AUTH DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY; https://www.rfc-editor.org/rfc/rfc6409"


class Transaction:
    """The message under way, in the place of aiosmtpd's envelope."""

    __slots__ = ("domain", "envid", "named", "recipients", "ret", "sender", "smtputf8")

    def __init__(self) -> None:
        self.sender: Address | None = None
        self.domain: DomainEntry | None = None
        self.recipients: dict[Address, Recipient] = {}
        self.named = 0
        self.ret: str | None = None
        self.envid: str | None = None
        self.smtputf8 = False


class SubmissionSession(Conversation):
    """One client on 587 or 465."""

    house: Rooms

    def __init__(self, rooms: Rooms, *, implicit_tls: bool) -> None:
        super().__init__(rooms, implicit_tls=implicit_tls)
        self.transaction = Transaction()
        self.login: Login | None = None
        self._failures = 0
        self._messages = 0

    def _set_rset_state(self) -> None:
        self.transaction = Transaction()

    def _recorded(self, verdict: Verdict) -> Verdict:
        member_id = self.login.member_id if self.login else verdict.member_id
        t = self.transaction
        asked = {
            "mail_from": t.sender.text if t.sender else None, "to": [a.text for a in t.recipients],
            "helo": self.client.host_name or "",
        }
        return self.house.refusals.record(
            verdict, door="smtp", address=self.address, member_id=member_id, request=asked
        )

    def turn_down(self, verdict: Verdict) -> None:
        """Record a refusal of policy (it then has its page), and say it."""
        self.refuse(self._recorded(verdict) if verdict.reply.policy else verdict)

    # -- greeting --------------------------------------------------------------------------------------------

    def greeting(self) -> list[str]:
        """220, or the 521 of an address that only suspended members use."""
        refused = self.house.directory.greeting(self.address)
        if refused is not None:
            return self._recorded(refused).smtp_lines(self.house.config.server.public_url)
        return [f"220 {self.hostname} ESMTP Posthouse"]

    async def smtp_HELO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1. Without EHLO there is no AUTH, so this leads to little."""
        if not self.idle():
            return
        if not _HELO.fullmatch(hostname):
            self.bad(replies.BAD_ARGUMENTS, "HELO needs your host's name")
            return
        await super().smtp_HELO(hostname)

    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1: what is announced is what works now."""
        if not self.idle():
            return
        if not _HELO.fullmatch(hostname):
            self.bad(replies.BAD_ARGUMENTS, "EHLO needs your host's name")
            return
        self._set_rset_state()
        self.client.extended_smtp = True
        self.client.host_name = hostname
        s = self.limits
        offers = [
            self.hostname, "PIPELINING", f"SIZE {s.max_message_bytes}", "8BITMIME", "SMTPUTF8",
            "ENHANCEDSTATUSCODES", "DSN",
            # RFC 9422 §3.
            f"LIMITS MAILMAX={s.max_messages_a_connection} RCPTMAX={s.max_recipients}",
            # RFC 4954 §4, RFC 8314 §4.1: passwords are asked for only under TLS.
            "AUTH " + " ".join(auth.MECHANISMS) if self.secure else "STARTTLS",
            "HELP",
        ]
        self.say(*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207 §4."""
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "STARTTLS takes no argument")
        elif self.secure:
            self.bad(replies.BAD_SEQUENCE, "TLS is on already")
        else:
            self.say(replies.line(replies.OK_TLS))
            await self._flush()
            await self._start_tls()

    # -- AUTH ------------------------------------------------------------------------------------------------

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954 §4. Nothing the client says here is ever repeated or logged."""
        if not self.secure:
            self.bad(replies.TLS_REQUIRED)
            return
        # RFC 4954 §4: not before EHLO, not twice, not inside a transaction.
        if not (self.client.host_name and self.client.extended_smtp):
            self.bad(replies.BAD_SEQUENCE, "send EHLO first")
            return
        if self.login is not None:
            self.bad(replies.BAD_SEQUENCE, "already authenticated")
            return
        if self.transaction.sender is not None:
            self.bad(replies.BAD_SEQUENCE, "not inside a transaction")
            return
        mechanism, _, initial = argument.partition(" ")
        # RFC 4422 §3.1 writes mechanism names in upper case; clients don't always.
        if mechanism.upper() not in auth.MECHANISMS:
            self.bad(replies.BAD_MECHANISM if mechanism else replies.BAD_ARGUMENTS, "AUTH needs a mechanism")
            return
        if " " in initial:
            self.bad(replies.BAD_ARGUMENTS, "AUTH takes a mechanism and one response")
            return
        try:
            given = await self._credentials(mechanism.upper(), initial)
        except auth.BadResponse:
            self.bad(replies.AUTH_BAD_ENCODING)
            return
        if given is not None:
            self._log_in(given)

    async def _credentials(self, mechanism: str, initial: str) -> auth.Credentials | None:
        """The exchange; None when the client cancelled it or sent no line. Raises BadResponse."""
        if mechanism == "PLAIN":
            response = initial or await self._challenge("")
            return None if response is None else auth.plain(auth.decode(response))
        user = initial or await self._challenge(auth.ASK_USER)
        if user is None:
            return None
        username = auth.decode(user)
        secret = await self._challenge(auth.ASK_PASSWORD)
        return None if secret is None else auth.login(username, auth.decode(secret))

    async def _challenge(self, words: str) -> str | None:
        # RFC 4954 §4: the blank after 334 stands also before an empty challenge.
        self.say(f"334 {words}")
        response = await self._read_line(auth.MAX_LINE)
        if response == "*":
            self.bad(replies.AUTH_CANCELLED)
            return None
        if response == "":
            raise auth.BadResponse
        return response

    def _log_in(self, given: auth.Credentials) -> None:
        found: Login | Verdict
        if given.for_itself:
            found = self.house.directory.login(given.username, given.secret, self.address)
        else:
            found = Verdict(replies.AUTH_FAILED)
        if isinstance(found, Login):
            self.login = found
            self._arm(logged_in=True)
            self.say(replies.line(replies.OK_AUTH))
            return
        self.turn_down(found)
        log.info("submission.login_refused", client=self.address, reply=found.reply.name)
        if found.reply is replies.AUTH_FAILED:
            self._failures += 1
            if self._failures >= self.limits.max_auth_failures:
                self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)

    # -- MAIL and RCPT ---------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """False, and answered, when TLS, a greeting or a login is missing."""
        if not self.secure:
            self.bad(replies.STARTTLS_FIRST)
        elif not self.client.host_name:
            self.bad(replies.BAD_SEQUENCE, "send EHLO first")
        elif self.login is None:
            self.bad(replies.AUTH_REQUIRED)
        else:
            return True
        return False

    async def smtp_MAIL(self, argument: str) -> None:
        """RFC 5321 §4.1.1.2."""
        if not self._ready():
            return
        assert self.login is not None
        t = self.transaction
        if t.sender is not None:
            self.bad(replies.BAD_SEQUENCE, "MAIL twice")
            return
        try:
            given = parameters.mail(argument, extended=self.client.extended_smtp)
        except BadArgument as e:
            self.bad(e.reply, e.saw)
            return
        # RFC 9422 §4.1: MAILMAX counts MAIL commands.
        self._messages += 1
        if self._messages > self.limits.max_messages_a_connection:
            self.say(replies.line(replies.TOO_MANY_MESSAGES), close=True)
            return
        # RFC 1870 §6.1.
        if given.size is not None and given.size > self.limits.max_message_bytes:
            self.turn_down(Verdict(replies.TOO_LARGE, wanted=str(self.limits.max_message_bytes)))
            return
        domain = self.house.policy.sender(self.login, given.path)
        if isinstance(domain, Verdict):
            self.turn_down(domain)
            if domain.reply is replies.AUTH_FAILED:
                self.login = None  # the key was revoked under an open session
            return
        try:
            sender = names.address(given.path, smtputf8=given.smtputf8)
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_SENDER, saw=e.reason))
            return
        t.sender, t.domain = sender, domain
        t.ret, t.envid, t.smtputf8 = given.ret, given.envid, given.smtputf8
        self.say(replies.line(replies.OK_SENDER))

    async def smtp_RCPT(self, argument: str) -> None:
        """RFC 5321 §4.1.1.3."""
        if not self._ready():
            return
        t = self.transaction
        if t.sender is None or t.domain is None or self.login is None:
            self.bad(replies.BAD_SEQUENCE, "MAIL first")
            return
        try:
            given = parameters.rcpt(argument, extended=self.client.extended_smtp)
            # RFC 6531 §3.5: other than ASCII only where MAIL said SMTPUTF8.
            to = names.address(given.path, smtputf8=t.smtputf8)
        except BadArgument as e:
            self.bad(e.reply, e.saw)
            return
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_RECIPIENT, saw=e.reason))
            return
        t.named += 1
        if t.named > _NAMED_FACTOR * self.limits.max_recipients:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            return
        if to in t.recipients:
            # Named twice, sent once, with the first one's wishes; it must not meet a limit that it doesn't touch.
            self.say(replies.line(replies.OK_RECIPIENT))
            return
        found = await self.house.policy.recipient(
            self.login, t.domain, given.path, category=None, named=len(t.recipients)
        )
        if isinstance(found, Verdict):
            self.turn_down(found)
            return
        t.recipients[found] = Recipient(found, given.notify, given.orcpt)
        self.say(replies.line(replies.OK_RECIPIENT))

    # -- DATA ------------------------------------------------------------------------------------------------

    async def smtp_DATA(self, argument: str) -> None:
        """RFC 5321 §4.1.1.4."""
        if not self._ready():
            return
        t = self.transaction
        if argument:
            self.bad(replies.BAD_ARGUMENTS, "DATA takes no argument")
        elif t.sender is None or not t.named:
            self.bad(replies.BAD_SEQUENCE, "MAIL and RCPT first")
        elif not t.recipients:
            # RFC 5321 §3.3: 554 when no recipient was accepted.
            self.say(replies.line(replies.NO_RECIPIENTS))
        elif self.house.memory.full:
            self.turn_down(Verdict(replies.UNAVAILABLE))
        else:
            self.say(replies.line(replies.GO_AHEAD))
            await self._flush()
            await self._take()

    async def _take(self) -> None:
        """Read the message and hand it in. The reply comes when it is on disk; the client's leaving stops nothing."""
        with Content(self._reader, self.house.memory, self.limits.max_message_bytes) as content:
            self._content_since = self._content_moved = self.loop.time()
            self._content_seen, self._content = 0, content
            try:
                raw = await content.read()
            except Endless:
                self.turn_down(Verdict(replies.TOO_LARGE, wanted=str(self.limits.max_message_bytes)))
                self._closing = self._overrun = True
                return
            except BaseException:
                # Where the content ends is not known any more: what follows must never be read as commands.
                self._closing = True
                raise
            finally:
                self._content = None
            if self._closing:
                return  # cut for slowness, and told so, with the last octets on their way
            self._disarm()
            if raw is None:
                reply = replies.TOO_LARGE if content.too_large else replies.UNAVAILABLE
                found: Accepted | Verdict = Verdict(reply, wanted=str(self.limits.max_message_bytes))
            else:
                found = await self.house.intake.accept(self._submission(raw))
            if isinstance(found, Verdict):
                self.turn_down(found)
            else:
                self._idle = 0
                self.say(replies.line(replies.OK_QUEUED, found.queue_id))
            self._set_rset_state()

    def _submission(self, raw: bytes) -> Submission:
        t = self.transaction
        return Submission(
            self.login, t.domain, "smtp", t.sender, list(t.recipients.values()), raw, envid=t.envid, ret=t.ret,
            smtputf8=t.smtputf8, helo=self.client.host_name or "", client_address=self.address,
            tls=self.tls_version,
        )

    # -- the rest --------------------------------------------------------------------------------------------

    async def smtp_RSET(self, argument: str) -> None:
        """RFC 5321 §4.1.1.5; the login stays."""
        if self.idle():
            await super().smtp_RSET(argument)

    async def smtp_NOOP(self, argument: str) -> None:
        """RFC 5321 §4.1.1.9."""
        if self.idle():
            await super().smtp_NOOP(argument)

    async def smtp_HELP(self, argument: str) -> None:
        """RFC 5321 §4.1.1.8."""
        if self.idle():
            self.say(replies.line(replies.OK_HELP, _HELP))

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
        "HELO": smtp_HELO, "EHLO": smtp_EHLO, "STARTTLS": smtp_STARTTLS, "AUTH": smtp_AUTH, "MAIL": smtp_MAIL,
        "RCPT": smtp_RCPT, "DATA": smtp_DATA, "RSET": smtp_RSET, "NOOP": smtp_NOOP, "HELP": smtp_HELP,
        "VRFY": smtp_VRFY, "EXPN": smtp_EXPN, "QUIT": smtp_QUIT,
    }
