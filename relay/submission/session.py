"""Submission (RFC 6409), ports 587 and 465: an SMTP session with AUTH that asks directory, policy and intake, and the
listener that makes one for each connection.

Order of a message: EHLO, STARTTLS, EHLO, AUTH (directory.login), MAIL (policy.sender), RCPT (policy.recipient),
DATA (intake.accept, called once with the whole message). Decides nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import structlog

from relay import replies
from relay.base import names
from relay.base.config import Config
from relay.base.names import Address
from relay.base.tls import Certificate
from relay.directory import Directory, DomainEntry, Login
from relay.intake import Intake, Recipient, Submission
from relay.policy import Policy
from relay.refusals import Refusals
from relay.replies import Verdict
from relay.smtpd.bounds import Bounds
from relay.smtpd.conversation import Command
from relay.smtpd.listener import Listener
from relay.smtpd.parameters import MAX_LINES, MailArgument, RcptArgument
from relay.smtpd.session import Session, Transaction
from relay.submission import auth

log = structlog.get_logger()
_UNKNOWN = "unknown"
# RFC 5321 §4.1.1.1: a host's name, with or without the dot of the root, or an address literal.
_NAME = re.compile(
    r"(?=.{1,255}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\.?"
    r"|\[[A-Za-z0-9:.]+\])"
)


class Mail(Transaction):
    """The message under way, with what submission wants to know of it."""

    __slots__ = ("domain", "envid", "require_tls", "ret")

    def __init__(self) -> None:
        super().__init__()
        self.domain: DomainEntry | None = None
        self.ret: str | None = None
        self.envid: str | None = None
        self.require_tls = False


class SubmissionSession(Session[Mail]):
    """One client on 587 or 465."""

    help = "AUTH DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY; https://www.rfc-editor.org/rfc/rfc6409"
    # RFC 4954 §4.3: AUTH has a bound of its own.
    listener: SubmissionServer
    lines: ClassVar[Mapping[str, int]] = {**MAX_LINES, "AUTH": auth.MAX_LINE}
    any_octets: ClassVar[frozenset[bytes]] = frozenset({b"EHLO", b"HELO"})

    def __init__(self, listener: SubmissionServer, *, implicit_tls: bool) -> None:
        self.login: Login | None = None
        self._suspended: Verdict | None = None  # whoever tried to log in is, and was told so with this
        self._failures = 0
        super().__init__(listener, implicit_tls=implicit_tls)

    def begin(self) -> Mail:
        """A transaction in which nothing has been said."""
        return Mail()

    def member_id(self, verdict: Verdict) -> int | None:
        """The member who is logged in, or whom the verdict names."""
        return self.login.member_id if self.login else verdict.member_id

    # -- greeting --------------------------------------------------------------------------------------------

    def client_name(self, argument: str) -> str:
        """RFC 5321 §4.1.4: nobody is refused for the name. A login says who it is; a name that is none is unknown."""
        return argument if _NAME.fullmatch(argument) else _UNKNOWN

    def greeting(self) -> list[str]:
        """220, or the 521 of an address that only suspended members use."""
        refused = self.listener.directory.greeting(self.address)
        if refused is not None:
            return self.recorded(refused).smtp_lines(self.listener.config.server.public_url)
        return super().greeting()

    def offers(self) -> list[str]:
        """What EHLO announces: what works now."""
        b = self.bounds
        return [
            "PIPELINING", f"SIZE {b.max_message_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN",
            # RFC 9422 §3.
            f"LIMITS MAILMAX={b.max_messages_a_connection} RCPTMAX={b.max_recipients}",
            # RFC 4954 §4, RFC 8314 §4.1: passwords are asked for only under TLS.
            "AUTH " + " ".join(auth.MECHANISMS) if self.secure else "STARTTLS",
            *(["REQUIRETLS"] if self.offers_require_tls() else []), "HELP",
        ]

    def offers_require_tls(self) -> bool:
        """RFC 8689 §2: over TLS only."""
        return self.secure

    # -- AUTH ------------------------------------------------------------------------------------------------

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954 §4. Nothing the client says here is ever repeated or logged."""
        if not self.secure:
            self.bad(replies.TLS_REQUIRED)
            return
        # RFC 4954 §4: not before EHLO, not twice, not inside a transaction.
        if not (self.helo and self.extended):
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
        response = await self.read_line(auth.MAX_LINE)
        response = response.strip(" \t") if response is not None else None
        if response == "*":
            self.bad(replies.AUTH_CANCELLED)
            return None
        if response == "":
            raise auth.BadResponse
        return response

    def _log_in(self, given: auth.Credentials) -> None:
        found = self.listener.directory.login(given.username, given.secret, self.address, acts_as=given.acts_as)
        self._suspended = None
        if isinstance(found, Login):
            self.login = found
            self.welcome()
            self.say(replies.line(replies.OK_AUTH))
            return
        refused = self.recorded(found) if found.reply.policy else found
        self.refuse(refused)
        log.info("submission.login_refused", client=self.address, reply=found.reply.name)
        # The refusal is said, and kept open behind it: clients try one mechanism after the other, and show the last
        # answer they got.
        if found.reply is replies.MEMBER_SUSPENDED:
            self._suspended = refused
        if not found.guess:
            self.count_bad()
            return
        self._failures += 1
        if self._failures >= self.listener.config.submission.max_auth_failures:
            self.say(replies.line(replies.TOO_MANY_LOGINS), close=True)

    # -- a message -------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """False, and answered, when TLS, a greeting or a login is missing."""
        if not self.secure:
            self.bad(replies.STARTTLS_FIRST)
        elif not self.helo:
            self.bad(replies.BAD_SEQUENCE, "send EHLO first")
        elif self._suspended is not None:
            self.refuse(self._suspended)
            self.count_bad()
        elif self.login is None:
            self.bad(replies.AUTH_REQUIRED)
        else:
            return True
        return False

    def full(self) -> bool:
        """Whether the disk is known to be full."""
        return self.listener.intake.full

    def take_sender(self, given: MailArgument) -> bool:
        """Ask the policy whose domain it is; False: refused, and answered."""
        assert self.login is not None
        policy = self.listener.policy
        domain = policy.sender(self.login, given.path) if given.path else policy.null_sender(self.login)
        if isinstance(domain, Verdict):
            self.turn_down(domain)
            if domain.reply is replies.AUTH_FAILED:
                self.login = None  # the key was revoked under an open session
            elif domain.reply is replies.MEMBER_SUSPENDED:
                self.count_bad()
            return False
        try:
            sender = names.own_address(given.path, smtputf8=given.smtputf8) if given.path else names.NULL
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_SENDER, saw=e.reason))
            return False
        t = self.transaction
        t.sender, t.domain, t.ret, t.envid = sender, domain, given.ret, given.envid
        t.require_tls = given.require_tls
        return True

    async def take_recipient(self, to: Address, given: RcptArgument) -> Address | None:
        """Ask the policy; None: refused, and answered."""
        t = self.transaction
        assert self.login is not None
        found = await self.listener.policy.recipient(self.login, t.domain, given.path, named=len(t.recipients))
        if isinstance(found, Verdict):
            self.turn_down(found)
            return None
        return found

    async def hand_in(self, raw: bytes) -> str | Verdict:
        """Call the intake, once."""
        t = self.transaction
        taken = await self.listener.intake.accept(
            Submission(
                self.login, t.domain, "smtp", None if t.sender == names.NULL else t.sender,
                [Recipient(to, given.notify, given.orcpt) for to, given in t.recipients.items()], raw, envid=t.envid,
                ret=t.ret, smtputf8=t.smtputf8, helo=self.helo, client_address=self.address, tls=self.tls_version,
                as_came=True, require_tls=t.require_tls,
            )
        )
        if isinstance(taken, Verdict):
            return taken
        return replies.line(replies.OK_QUEUED if taken.recipients else replies.OK_REPEATED, taken.queue_id)

    commands: ClassVar[Mapping[str, Command]] = {**Session.commands, "AUTH": smtp_AUTH}


class SubmissionServer(Listener):
    """Both ports of submission. `start` binds them, `stop` ends them; `ports`, `tls_ports` say where."""

    def __init__(
        self, *, config: Config, directory: Directory, policy: Policy, intake: Intake, refusals: Refusals,
        certificate: Certificate,
    ) -> None:
        s = config.submission
        super().__init__(
            "submission", config=config, bounds=Bounds.of(config), refusals=refusals, certificate=certificate,
            listen=s.listen, listen_tls=s.listen_tls,
        )
        self.directory, self.policy, self.intake = directory, policy, intake

    def conversation(self, *, implicit_tls: bool) -> SubmissionSession:
        """A session for a connection that is about to come."""
        return SubmissionSession(self, implicit_tls=implicit_tls)
