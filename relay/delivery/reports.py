"""Posting owed reports: a duty of one process. Facts → report → the queue, in the transaction that ticks it off.

Where to: the domain's forward-to mailbox if set, else postmaster@ the domain (a domain may choose the envelope
sender); never to an address that would come back to us. The relay's own mail has a null sender and is never
reported on, so reports can't make reports.
"""

from __future__ import annotations

import structlog

from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage, Tx, directory, mail
from relay.base.storage.mail import ReportFacts
from relay.bounces import report
from relay.intake import Intake, Recipient, Submission
from relay.replies import Verdict

log = structlog.get_logger()
_BATCH = 50


class Reports:
    """Writes the reports that `queue.settle` has marked as owed."""

    def __init__(self, storage: Storage, intake: Intake, config: Config, clock: Clock) -> None:
        self._storage, self._intake, self._config, self._clock = storage, intake, config, clock

    async def post_due(self) -> int:
        """Post up to a batch of owed reports; returns how many were dealt with. Raises StorageError."""
        async with self._storage.read() as tx:
            owed = await mail.reports_due(tx, _BATCH)
        for recipient_id, kind in owed:
            await self._post(recipient_id, kind)
        return len(owed)

    async def _post(self, recipient_id: int, kind: str) -> None:
        async with self._storage.read() as tx:
            facts = await mail.report_facts(tx, recipient_id)
            domain = await directory.report_to(tx, facts.domain_id) if facts and facts.domain_id else None
        to = self._address(facts, domain) if facts else None
        if facts is None or to is None:
            await self._storage.write(lambda tx: mail.report_done(tx, recipient_id, kind))
            return
        raw = report.compose(
            facts, hostname=self._config.server.hostname, sender=self._config.notice_from, to=to.text,
            now=self._clock.now(),
        )
        built = await self._intake.prepare(
            Submission(None, None, "own", None, [Recipient(to)], raw, smtputf8=facts.smtputf8)
        )
        if isinstance(built, Verdict):
            log.error("report.impossible", recipient_id=recipient_id, cause=built.text())
            return

        async def post(tx: Tx) -> bool:
            mine = await mail.report_done(tx, recipient_id, kind)
            if mine:
                await self._intake.write(tx, built)
            return mine

        if await self._storage.write(post):
            log.info("report.posted", queue_id=facts.queue_id, kind=kind)

    def _address(self, facts: ReportFacts, domain: tuple[str, dict[str, object]] | None) -> names.Address | None:
        name, options = domain or ("", {})
        wanted = str(options.get("forward_to") or "")
        if not wanted:
            wanted = facts.mail_from if options.get("report_to") == "mail_from" or not name else f"postmaster@{name}"
        try:
            address = names.address(wanted)
        except names.BadName:
            return None
        ours = {self._config.bounce_host, self._config.server.hostname, self._config.mx_host}
        comes_back = address.domain in ours or (options.get("replies") and address.domain == name)
        return None if comes_back else address
