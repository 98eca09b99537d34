"""Posting owed reports: facts → report → the queue, in the transaction that ticks it off, so it goes out once.

Recipients of one message with the same news share a report; while the message has open recipients, news waits a
moment for theirs. Where to: the domain's forward-to mailbox if set, else postmaster@ the domain; the envelope sender
first, where the domain chose that. Never to an address that would come back to us, nor to one that the report is
about. The relay's own mail has a null sender and is never reported on, so reports can't make reports.
"""

from __future__ import annotations

import asyncio

import structlog

from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.names import Address
from relay.base.storage import Storage, Tx, directory, mail
from relay.base.storage.mail import ReportFacts
from relay.bounces import report
from relay.intake import Intake
from relay.notices import own
from relay.notices.notices import sender
from relay.replies import Verdict

log = structlog.get_logger()
_BATCH = 50


class Reports:
    """Writes the reports that the queue and `relay.bounces.record` have marked as owed."""

    def __init__(self, storage: Storage, intake: Intake, config: Config, clock: Clock) -> None:
        self._storage, self._intake, self._config, self._clock = storage, intake, config, clock

    async def post_due(self) -> int:
        """Post up to a batch of owed reports; returns how many were dealt with. Raises StorageError."""
        ripe = self._clock.now() - self._config.delivery.report_gather_seconds
        async with self._storage.read() as tx:
            owed = await mail.reports_due(tx, _BATCH, ripe)
        # Side by side, so that they share transactions.
        return sum(await asyncio.gather(*(self._post(message_id, kind) for message_id, kind in owed)))

    async def _post(self, message_id: int, kind: str) -> bool:
        """Whether this report is dealt with."""
        d = self._config.delivery
        async with self._storage.glance() as tx:
            most = max(d.report_whole_max_bytes, self._config.submission.max_header_bytes) + 1
            facts = await mail.report_facts(tx, message_id, kind, d.report_max_recipients, most)
            domain = await directory.report_to(tx, facts.domain_id) if facts and facts.domain_id else None
        if facts is None:
            return False
        ids = [r.id for r in facts.recipients]
        to = destination(facts, domain and (domain[0], Options.read(domain[1])), self._config)
        if to is None:
            log.info("report.nowhere", queue_id=facts.queue_id, kind=kind)
            return await self._storage.write(lambda tx: mail.report_done(tx, ids, kind))
        raw = report.compose(
            facts, hostname=self._config.server.hostname, sender=sender(self._config, "Mail delivery"), to=to.header,
            now=self._clock.now(), whole_max=d.report_whole_max_bytes,
        )
        # RFC 8689 §4.2.2: a report of mail with REQUIRETLS is sent with it too.
        built = await self._intake.prepare(own(to, raw, require_tls=facts.tls_required is True))
        if isinstance(built, Verdict):
            log.error("report.impossible", queue_id=facts.queue_id, kind=kind, cause=built.text())
            if built.reply.temporary:
                return False
            return await self._storage.write(lambda tx: mail.report_done(tx, ids, kind))

        async def post(tx: Tx) -> bool:
            mine = await mail.report_done(tx, ids, kind, to.text)
            if mine:
                await self._intake.write(tx, built)
            return mine

        posted = await self._storage.write(post)
        if posted:
            log.info("report.posted", queue_id=facts.queue_id, kind=kind, recipients=len(ids))
        return posted


def destination(facts: ReportFacts, domain: tuple[str, Options] | None, config: Config) -> Address | None:
    """The address for this report; None when there is none that mail should go to. `domain` is its name and options."""
    name, options = domain or ("", Options())
    candidates = [options.forward_to, f"postmaster@{name}" if name else ""]
    if options.report_to == "mail_from" or not name:
        candidates.insert(0, facts.mail_from)
    # Mail to these names comes in on our own port 25, which takes none of it.
    ours = config.own_hosts
    about = {r.address.lower() for r in facts.recipients}
    for candidate in candidates:
        try:
            address = names.address(candidate, smtputf8=True)
        except names.BadName:
            continue
        comes_back = address.domain in ours or (options.replies and address.domain == name)
        if not comes_back and address.text.lower() not in about:
            return address
    return None
