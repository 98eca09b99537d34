"""Mail from the relay to a domain's owner, through the one gate into the queue.

Promises that a notice and the change it tells of commit together: `prepare` writes and signs the message with no
transaction open and returns what joins the change's transaction, so a notice is neither lost nor sent twice. When
the relay can't take mail just now, `prepare` refuses and the change waits. Who gets told what, and when, is the
caller's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import structlog

from enroll.errors import EnrollError
from enroll.letter import letter
from relay.base import names
from relay.base.config import Config
from relay.base.storage import Tx
from relay.intake import Intake, Recipient, Submission
from relay.replies import UNAVAILABLE, Verdict

log = structlog.get_logger("notices")
Join = Callable[[Tx], Awaitable[None]]
"""Writes the prepared notice within the caller's transaction."""
Kind = Literal["verified", "failing", "lost", "taken", "resting"]
_MAX_FINDINGS = 20


class Notices:
    """Writes to owners in the relay's own name, with a null sender."""

    def __init__(self, intake: Intake, config: Config) -> None:
        self._intake, self._config = intake, config

    async def prepare(
        self, kind: Kind, *, to: str, handle: str, domain: str, findings: Iterable[dict[str, Any]] = ()
    ) -> Join:
        """A notice about `domain` for the owner's address `to`.

        findings: of the look that caused it, as rows keep them; those that are facts against it are told. Without a
        usable address nothing is written and the log says so. Raises EnrollError 503 when the relay can't take the
        notice just now.
        """
        subject, text = self._words(kind, handle, names.to_unicode(domain), findings)
        return await self.mail(to, subject, text, about=domain)

    async def mail(self, to: str, subject: str, text: str, *, about: str) -> Join:
        """Any short letter of the relay's to one address; else as `prepare`. `about` is for the log."""
        try:
            recipient = names.address(to)
        except names.BadName:
            log.warning("notice.unaddressed", about=about, subject=subject)
            return _nothing
        raw = letter(self._config.notice_from, recipient, subject, text)
        # RFC 5321 §4.5.5: mail that a program writes about mail has a null sender, so it makes no loops.
        submission = Submission(
            login=None, domain=None, door="own", mail_from=None, recipients=[Recipient(recipient)], raw=raw,
            category="transactional", smtputf8=recipient.smtputf8,
        )
        built = await self._intake.prepare(submission)
        if isinstance(built, Verdict):
            if built.reply.temporary:
                log.warning("notice.delayed", about=about, rule=built.reply.name)
                raise _later()
            log.error("notice.refused", about=about, rule=built.reply.name, saw=built.saw)
            return _nothing

        async def join(tx: Tx) -> None:
            written = await self._intake.write(tx, built)
            if isinstance(written, Verdict):
                raise _later()

        return join

    def _words(
        self, kind: Kind, handle: str, domain: str, findings: Iterable[dict[str, Any]]
    ) -> tuple[str, str]:
        page = f"{self._config.server.public_url}/account"
        e = self._config.enrollment
        if kind == "verified":
            return f"{domain} is verified", (
                f"Hello {handle},\n\nall required DNS records of {domain} have been found. Mail from this domain is "
                f"accepted and signed from now on.\n\n{page}\n"
            )
        if kind == "taken":
            return f"{domain} is no longer verified for you", (
                f"Hello {handle},\n\nanother member has proved in DNS that {domain} is theirs. Mail from it under "
                "your account is refused from now on. If the domain is still yours, publish the new ownership "
                f"record shown on your page, remove what you don't know, and verify again.\n\n{page}\n"
            )
        listed = _listed(findings)
        if kind == "resting":
            return f"An option of {domain} rests", (
                f"Hello {handle},\n\nmail from {domain} is sent as before, but a record that an option of the domain "
                "needs is missing or different. Until it is back, what that option does rests: bounces come back to "
                "the relay's own name, links lead over the relay's own name, or replies are not forwarded."
                f"\n\n{listed}\nMend the record, or switch the option off, then press Verify:\n{page}\n"
            )
        if kind == "failing":
            return f"DNS records of {domain} need attention", (
                f"Hello {handle},\n\na regular look at the DNS of {domain} found required records missing or "
                f"different. Mail is still sent. After {e.failed_rechecks} such looks in a row (one every "
                f"{e.recheck_verified_hours:g} hours) the domain is no longer verified and its mail is refused."
                f"\n\n{listed}\nMend the records, then press Verify:\n{page}\n"
            )
        return f"{domain} is no longer verified", (
            f"Hello {handle},\n\nrequired DNS records of {domain} were missing or different "
            f"{e.failed_rechecks} times in a row. Mail from this domain is refused until they are back.\n\n"
            f"{listed}\nMend the records, then press Verify:\n{page}\n"
        )


def _listed(findings: Iterable[dict[str, Any]]) -> str:
    wrong = [f for f in findings if f.get("ok") is False]
    return "".join(
        f"  {f['name']}\n    {f.get('says', '')}\n" + (f"    {f['fix']}\n" if f.get("fix") else "")
        for f in wrong[:_MAX_FINDINGS]
    )


def _later() -> EnrollError:
    return EnrollError(UNAVAILABLE, "Temporary failure, try again later")


async def _nothing(tx: Tx) -> None:
    """No notice to write."""
