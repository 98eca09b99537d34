"""The commands of port 25: those of submission without a login, and MAIL and RCPT of its own. Decides nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from relay import replies
from relay.base import names
from relay.base.names import Address
from relay.base.storage import StorageError
from relay.inbound.arrivals import Arrival
from relay.inbound.forwards import Incoming
from relay.intake import Recipient
from relay.replies import Verdict
from relay.submission import parameters
from relay.submission.conversation import Command
from relay.submission.parameters import BadArgument
from relay.submission.session import SubmissionSession
from relay.unsubscribe import Leaving

_NULL = Address("", "")
ROLES = frozenset({"postmaster", "abuse", "fbl"})


class InboundSession(SubmissionSession):
    """One host that has something to tell us."""

    house: Any

    def __init__(self, rooms: Any, *, implicit_tls: bool) -> None:
        super().__init__(rooms, implicit_tls=implicit_tls)
        self._returned: dict[Address, int] = {}
        self._roles: dict[Address, str] = {}
        self._leavers: dict[Address, Leaving] = {}
        self._forward: Address | None = None
        self._size: int | None = None

    def _set_rset_state(self) -> None:
        super()._set_rset_state()
        self._returned, self._roles, self._leavers = {}, {}, {}
        self._forward = self._size = None

    def greeting(self) -> list[str]:
        """220 for everybody: there is no login, so its time limit ends here."""
        self._login_by = math.inf
        self._arm()
        return [f"220 {self.hostname} ESMTP Posthouse"]

    def offers(self) -> list[str]:
        """What EHLO announces: what works now."""
        s = self.limits
        offers = ["PIPELINING", f"SIZE {s.max_message_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        # RFC 9422 §3.
        offers.append(f"LIMITS MAILMAX={s.max_messages_a_connection} RCPTMAX={s.max_recipients}")
        return [self.hostname, *offers, *([] if self.secure else ["STARTTLS"]), "HELP"]

    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1."""
        if not self.idle():
            return
        if not hostname or not hostname.isascii() or len(hostname) > 255 or " " in hostname:
            self.bad(replies.BAD_ARGUMENTS, "EHLO needs your host's name")
            return
        self._set_rset_state()
        self.client.extended_smtp = True
        self.client.host_name = hostname
        offers = self.offers()
        self.say(*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    def _ready(self) -> bool:
        if self.client.host_name:
            return True
        self.bad(replies.BAD_SEQUENCE, "send EHLO first")
        return False

    async def smtp_MAIL(self, argument: str) -> None:
        """RFC 5321 §4.1.1.2. Whoever sends may say so; reports have a null sender, but not all do."""
        if not self._ready():
            return
        t = self.transaction
        if t.sender is not None:
            self.bad(replies.BAD_SEQUENCE, "MAIL twice")
            return
        try:
            given = parameters.mail(argument, extended=self.client.extended_smtp)
        except BadArgument as e:
            self.bad(e.reply, e.saw)
            return
        self._messages += 1
        if self._messages > self.limits.max_messages_a_connection:
            self.say(replies.line(replies.TOO_MANY_MESSAGES), close=True)
            return
        # RFC 1870 §6.1.
        if given.size is not None and given.size > self.limits.max_message_bytes:
            self.turn_down(Verdict(replies.TOO_LARGE, wanted=str(self.limits.max_message_bytes)))
            return
        try:
            sender = names.address(given.path, smtputf8=given.smtputf8) if given.path else _NULL
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_SENDER, saw=e.reason))
            return
        t.sender, t.smtputf8, self._size = sender, given.smtputf8, given.size
        self.say(replies.line(replies.OK_SENDER))

    async def smtp_RCPT(self, argument: str) -> None:
        """RFC 5321 §4.1.1.3."""
        if not self._ready():
            return
        t = self.transaction
        if t.sender is None:
            self.bad(replies.BAD_SEQUENCE, "MAIL first")
            return
        try:
            given = parameters.rcpt(argument, extended=self.client.extended_smtp)
            # RFC 5321 §4.5.1: "postmaster" stands without a domain too.
            path = f"postmaster@{self.hostname}" if given.path.lower() == "postmaster" else given.path
            to = names.address(path, smtputf8=t.smtputf8)
        except BadArgument as e:
            self.bad(e.reply, e.saw)
            return
        except names.BadName as e:
            self.turn_down(Verdict(replies.INVALID_RECIPIENT, saw=e.reason))
            return
        t.named += 1
        if to in t.recipients:
            self.say(replies.line(replies.OK_RECIPIENT))
            return
        if len(t.recipients) >= self.limits.max_recipients:
            self.turn_down(Verdict(replies.TOO_MANY_RECIPIENTS, wanted=str(self.limits.max_recipients)))
            return
        refused = await self._know(to)
        if refused is not None and refused.reply.temporary:
            self.turn_down(refused)
            return
        if refused is not None:
            # Counted like a wrong command: whoever guesses return paths gets few guesses a connection.
            self._bad += 1
            self.refuse(refused)
            if self._bad >= self.limits.max_bad_commands:
                self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            return
        t.recipients[to] = Recipient(to)
        self.say(replies.line(replies.OK_RECIPIENT))

    async def _know(self, to: Address) -> Verdict | None:
        """Keep what the address stands for, or refuse it."""
        house = self.house
        if house.unsubscribe.claims(to):
            return await self._leaves(to)
        ours = house.is_ours(to.domain)
        # A return path stays good while its domain is paused or proved again: `whose` knows what it was sent with.
        if ours or house.records.claims(to):
            recipient_id = None
            role = ours and to.local.lower() in ROLES
            if not role:
                try:
                    recipient_id = await house.records.whose(to)
                except StorageError:
                    return Verdict(replies.UNAVAILABLE)
            if role or recipient_id is not None:
                # What is forwarded goes alone: else a failure of one half would have the other half come twice.
                if self._forward is not None:
                    return Verdict(replies.ONE_FORWARD)
                if recipient_id is None:
                    self._roles[to] = to.text
                else:
                    self._returned[to] = recipient_id
                return None
        return self._forwarded(to)

    def _forwarded(self, to: Address) -> Verdict | None:
        refused: Verdict | None = self.house.forwards.wanted(to, self.address, self._size)
        if refused is not None:
            return refused
        if self._returned or self._roles or (self._forward is not None and self._forward.domain != to.domain):
            return Verdict(replies.ONE_FORWARD)
        # Several addresses of one domain lead to one mailbox: it gets one copy.
        self._forward = self._forward or to
        return None

    async def _leaves(self, to: Address) -> Verdict | None:
        try:
            found = await self.house.unsubscribe.whose(to)
        except StorageError:
            return Verdict(replies.UNAVAILABLE)
        if found is None:
            return Verdict(replies.NO_SUCH_ADDRESS)
        self._leavers[to] = found
        return None

    def _submission(self, raw: bytes) -> Any:
        t = self.transaction
        sender = t.sender.text if t.sender is not None and t.sender != _NULL else ""
        forward = None
        if self._forward is not None:
            forward = Incoming(
                self._forward, sender, raw, self.address, self.client.host_name or "", self.tls_version, t.smtputf8
            )
        return Arrival(
            sender, tuple(dict.fromkeys(self._returned.values())), tuple(self._roles.values()), raw, self.address,
            forward, leaving=tuple(self._leavers.values()),
        )

    commands: ClassVar[Mapping[str, Command]] = {
        **{name: command for name, command in SubmissionSession.commands.items() if name != "AUTH"},
        "EHLO": smtp_EHLO, "MAIL": smtp_MAIL, "RCPT": smtp_RCPT,
    }
