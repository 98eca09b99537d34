"""Port 25: its sessions, without a login, and the listener that makes them. Whom a recipient's address stands for is
asked here; `dispatch` takes the message.
"""

from __future__ import annotations

from dataclasses import replace

from relay import replies
from relay.aggregate import AggregateRecords
from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.names import Address
from relay.base.secrets import Vault
from relay.base.storage import Storage, StorageError
from relay.base.tls import Certificate
from relay.bounces.record import Records, Whose
from relay.directory import Directory
from relay.inbound.dispatch import Aggregate, Arrival, Dispatch
from relay.inbound.forwards import Forwards, Incoming
from relay.inbound.vouching import Vouching
from relay.intake import Intake
from relay.refusals import Refusals
from relay.replies import Verdict
from relay.smtpd.bounds import Bounds
from relay.smtpd.listener import Listener
from relay.smtpd.parameters import MailArgument, RcptArgument
from relay.smtpd.session import Session, Transaction
from relay.unsubscribe import Leaving, Unsubscribe
from relay.verify import AsksRecords

ROLES = frozenset({"postmaster", "abuse", "fbl"})


class Mail(Transaction):
    """The message under way, with what its recipients stand for; `size` as said at MAIL."""

    __slots__ = ("forward", "leavers", "reports", "returned", "roles", "size")

    def __init__(self) -> None:
        super().__init__()
        self.returned: dict[Address, Whose] = {}
        self.roles: dict[Address, str] = {}
        self.leavers: dict[Address, Leaving] = {}
        self.forward: Address | None = None
        self.reports = False
        self.size: int | None = None


class InboundSession(Session[Mail]):
    """One host that has something to tell us."""

    listener: InboundServer
    help = "DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY; https://www.rfc-editor.org/rfc/rfc5321"

    def begin(self) -> Mail:
        """A transaction in which nothing has been said."""
        return Mail()

    def greeting(self) -> list[str]:
        """220 for everybody: there is no login to wait for."""
        self.welcome()
        return super().greeting()

    def offers(self) -> list[str]:
        """What EHLO announces: what works now."""
        b = self.bounds
        offers = ["PIPELINING", f"SIZE {b.max_message_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        # RFC 9422 §3.
        offers.append(f"LIMITS MAILMAX={b.max_messages_a_connection} RCPTMAX={b.max_recipients}")
        return [*offers, *([] if self.secure else ["STARTTLS"]), "HELP"]

    def ready(self) -> bool:
        """False, and answered, before EHLO."""
        if self.helo:
            return True
        self.bad(replies.BAD_SEQUENCE, "send EHLO first")
        return False

    def full(self) -> bool:
        """Whether the disk is known to be full."""
        return self.listener.dispatch.full

    def take_sender(self, given: MailArgument) -> bool:
        """Whoever sends may say so, in whatever form real mail has; reports have a null sender, but not all do.
        False: nothing that could be one."""
        try:
            sender = names.reverse_path(given.path, smtputf8=given.smtputf8) or names.NULL
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_SENDER, saw=e.reason))
            return False
        self.transaction.sender, self.transaction.size = sender, given.size
        return True

    def recipient_path(self, path: str) -> str:
        """RFC 5321 §4.5.1: "postmaster" stands without a domain too. §4.1.1.3: a source route is left out."""
        return f"postmaster@{self.hostname}" if path.lower() == "postmaster" else names.without_route(path)

    async def take_recipient(self, to: Address, given: RcptArgument) -> Address | None:
        """Keep what the address stands for; None: refused, and answered."""
        if len(self.transaction.recipients) >= self.bounds.max_recipients:
            self.turn_down(Verdict(replies.TOO_MANY_RECIPIENTS, wanted=str(self.bounds.max_recipients)))
            return None
        refused = await self._know(to)
        if refused is None:
            return to
        if refused.reply.temporary:
            self.turn_down(refused)
        else:
            self.refuse(refused)
            # Counted like a wrong command: whoever guesses return paths gets few guesses a connection.
            self.count_bad()
        return None

    async def _know(self, to: Address) -> Verdict | None:
        """Keep what the address stands for, or refuse it."""
        listener, t = self.listener, self.transaction
        if listener.unsubscribe.claims(to):
            return await self._leaves(to)
        if to.text.lower() == listener.report_address:
            if t.forward is not None:
                return Verdict(replies.ONE_FORWARD)
            t.reports = True
            return None
        ours = listener.is_ours(to.domain)
        # A return path stays good while its domain is paused or proved again: `whose` knows what it was sent with.
        if ours or listener.records.claims(to):
            whose = None
            role = ours and to.local.lower() in ROLES
            if not role:
                try:
                    whose = await listener.records.whose(to)
                except StorageError:
                    return Verdict(replies.UNAVAILABLE)
            if role or whose is not None:
                # What is forwarded goes alone: else a failure of one half would have the other half come twice.
                if t.forward is not None:
                    return Verdict(replies.ONE_FORWARD)
                if whose is None:
                    t.roles[to] = to.text
                else:
                    t.returned[to] = whose
                return None
        return self._forwarded(to)

    def _forwarded(self, to: Address) -> Verdict | None:
        t = self.transaction
        refused = self.listener.forwards.wanted(to, self.address, t.size)
        if refused is not None:
            return refused
        if t.returned or t.roles or t.reports or (t.forward is not None and t.forward.domain != to.domain):
            return Verdict(replies.ONE_FORWARD)
        # Several addresses of one domain lead to one mailbox: it gets one copy.
        t.forward = t.forward or to
        return None

    async def _leaves(self, to: Address) -> Verdict | None:
        try:
            found = await self.listener.unsubscribe.whose(to)
        except StorageError:
            return Verdict(replies.UNAVAILABLE)
        if found is None:
            return Verdict(replies.NO_SUCH_ADDRESS)
        self.transaction.leavers[to] = found
        return None

    async def hand_in(self, raw: bytes) -> str | Verdict:
        """Have it read and applied, or passed on."""
        t = self.transaction
        sender = t.sender if t.sender != names.NULL else None
        said = sender.text if sender is not None else ""
        forward = None
        if t.forward is not None:
            forward = Incoming(t.forward, sender, raw, self.address, self.helo, self.tls_version, t.smtputf8)
        taken = await self.listener.dispatch.accept(
            Arrival(
                said, tuple({w.id: w for w in t.returned.values()}.values()), tuple(t.roles.values()), raw,
                self.address, forward, leaving=tuple(t.leavers.values()), helo=self.helo, reports=t.reports,
            )
        )
        return taken if isinstance(taken, Verdict) else replies.line(replies.OK_QUEUED, taken.queue_id)


class InboundServer(Listener):
    """Port 25. `start` binds, `stop` ends; `ports` says where."""

    def __init__(
        self, *, config: Config, storage: Storage, vault: Vault, directory: Directory, intake: Intake,
        refusals: Refusals, certificate: Certificate, clock: Clock, resolver: AsksRecords,
    ) -> None:
        i = config.inbound
        bounds = replace(
            Bounds.of(config), max_recipients=i.max_recipients, max_message_bytes=i.max_message_bytes,
            max_connections=i.max_connections, max_connections_an_address=i.max_connections_an_address,
        )
        super().__init__(
            "inbound", config=config, bounds=bounds, refusals=refusals, certificate=certificate, listen=i.listen
        )
        self.directory = directory
        self.records = Records(storage, vault, config, clock)
        self.forwards = Forwards(intake, directory, resolver, vault, config, clock)
        self.unsubscribe = Unsubscribe(storage, vault, config, clock)
        vouching = Vouching(resolver, config, clock)
        aggregate = Aggregate(AggregateRecords(storage, config, clock), resolver, config)
        self.report_address = config.report_address.lower()
        self.dispatch = Dispatch(
            self.records, vouching, self.forwards, self.unsubscribe, intake, config, clock, aggregate=aggregate
        )
        hosts = (config.server.hostname, config.bounce_host, config.mx_host, config.signing.pool_domain)
        self._own = frozenset(h.lower() for h in hosts if h)

    def is_ours(self, domain: str) -> bool:
        """True for the relay's own domains and the verified return-path domains of members."""
        return domain in self._own or self.directory.is_return_path(domain)

    def conversation(self, *, implicit_tls: bool) -> InboundSession:
        """A session for a connection that is about to come."""
        return InboundSession(self, implicit_tls=implicit_tls)
