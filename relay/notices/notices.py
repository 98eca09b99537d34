"""`Notices`: mail of the relay's own to one address, through the one way into the queue.

Promises that a notice and the change it tells of commit together: `prepare` writes and signs the message with no
transaction open and returns what joins the change's transaction, so a notice is neither lost nor sent twice. When
the relay can't take mail just now, `prepare` refuses and the change waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from relay import replies
from relay.base import names
from relay.base.config import Config
from relay.base.names import Address
from relay.base.storage import Tx
from relay.intake import Intake, Recipient, Submission
from relay.notices.message import letter, sender
from relay.notices.texts import Notice
from relay.replies import Refused, Verdict

log = structlog.get_logger("notices")
Join = Callable[[Tx], Awaitable[None]]
"""Writes the prepared notice within the caller's transaction. Raises NoticeLater."""


class NoticeLater(Refused):
    """The relay can't take the notice just now; what it tells of waits with it."""

    def __init__(self) -> None:
        super().__init__(replies.UNAVAILABLE)


class Notices:
    """Writes in the relay's own name, with a null sender."""

    def __init__(self, intake: Intake, config: Config) -> None:
        self._intake, self._config = intake, config

    async def prepare(self, to: str, notice: Notice, *, about: str) -> Join:
        """The notice for the address `to`. `about`: for the log. Raises NoticeLater.

        Without a usable address nothing is written, and the log says so.
        """
        try:
            recipient = names.address(to)
        except names.BadName:
            log.warning("notice.unaddressed", about=about, subject=notice.subject)
            return _nothing
        built = await self._intake.prepare(own(recipient, letter(sender(self._config), recipient, notice)))
        if isinstance(built, Verdict):
            if built.reply.temporary:
                log.warning("notice.delayed", about=about, rule=built.reply.name)
                raise NoticeLater
            log.error("notice.refused", about=about, rule=built.reply.name, saw=built.saw)
            return _nothing

        async def join(tx: Tx) -> None:
            if isinstance(await self._intake.write(tx, built), Verdict):
                raise NoticeLater

        return join


def own(to: Address, raw: bytes, *, require_tls: bool = False) -> Submission:
    """A message of the relay's own. RFC 5321 §4.5.5: what a program writes about mail has a null sender, so that it
    makes no loops and can't come back as a report."""
    return Submission(
        login=None, domain=None, door="own", mail_from=None, recipients=[Recipient(to)], raw=raw,
        category="transactional", smtputf8=to.smtputf8, require_tls=require_tls,
    )


async def _nothing(tx: Tx) -> None:
    """No notice to write."""
