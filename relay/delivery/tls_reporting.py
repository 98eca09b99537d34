"""Sending TLS reports (RFC 8460): once a day to each domain that asks, by mail and HTTPS, by one process at a time.

Promises that a report by mail is queued in the transaction that ticks it off, so that it goes out once; that what
nobody takes is tried again for a day; that mail is signed by the relay's own domain, and none is sent where it has no
key (§3). A report is made of what `tls_counts` wrote down.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from relay.base import names
from relay.base.clock import DAY, HOUR, Clock, day_start, iso
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.names import Address
from relay.base.resolver import Answer, Later, Resolver
from relay.base.storage import Storage, Tx
from relay.base.storage import outbound_tls as rows
from relay.base.storage.outbound_tls import FAILED, SENT, WAITING, ReportRow, SessionRow
from relay.delivery.tls_policy import Contexts
from relay.intake import Intake
from relay.notices import own
from relay.notices.notices import head
from relay.replies import Verdict
from relay.verify.tls_records import mail_address, report_addresses

log = structlog.get_logger()
DUTY = "tls-reports"
_TURN_SECONDS = 60.0
_ANSWER_BYTES = 2000

_LINE = 76


@dataclass(frozen=True, slots=True)
class TlsReport:
    """What is reported: of the `domain`'s day that begins at `begins` (Unix seconds), by whom, and how often."""

    domain: str
    begins: float
    submitter: str
    contact: str
    report_id: str
    policies: Sequence[Mapping[str, Any]]

    @property
    def successes(self) -> int:
        """Sessions that went as the policy wants."""
        return sum(one["summary"]["total-successful-session-count"] for one in self.policies)

    @property
    def failures(self) -> int:
        """Sessions that didn't."""
        return sum(one["summary"]["total-failure-session-count"] for one in self.policies)

    @property
    def packed(self) -> bytes:
        """The JSON (RFC 8460 §4.4), in gzip (§5.2); the same octets each time."""
        reported = {
            "organization-name": self.submitter,
            "date-range": {"start-datetime": iso(self.begins), "end-datetime": iso(self.begins + DAY - 1)},
            "contact-info": self.contact, "report-id": f"{self.report_id}@{self.submitter}",
            "policies": list(self.policies),
        }
        return gzip.compress(json.dumps(reported, indent=1).encode(), mtime=0)

    @property
    def file_name(self) -> str:
        """RFC 8460 §5.1."""
        ends = int(self.begins + DAY - 1)
        return f"{self.submitter}!{self.domain}!{int(self.begins)}!{ends}!{self.report_id}.json.gz"


def policies_of(domain: str, rows: Sequence[SessionRow], most: int) -> list[dict[str, Any]]:
    """The policies that held on a day with their sums, and of each at most `most` kinds of failures, the most frequent
    ones."""
    groups: dict[tuple[str, str], list[SessionRow]] = {}
    for row in rows:
        groups.setdefault((row.key.policy, row.key.policy_hash), []).append(row)
    found = []
    for (kind, _), sessions in sorted(groups.items()):
        failed = [row for row in sessions if row.key.result]
        reported: dict[str, Any] = {
            "policy": {"policy-type": kind, "policy-domain": domain, **sessions[0].said},
            "summary": {
                "total-successful-session-count": sum(row.n for row in sessions if not row.key.result),
                "total-failure-session-count": sum(row.n for row in failed),
            },
        }
        if failed:
            reported["failure-details"] = [_failure(row) for row in sorted(failed, key=lambda row: -row.n)[:most]]
        found.append(reported)
    return found


def _failure(row: SessionRow) -> dict[str, Any]:
    k = row.key
    reported: dict[str, Any] = {"result-type": k.result}
    where = {"sending-mta-ip": k.source, "receiving-mx-hostname": k.mx, "receiving-ip": k.ip}
    return reported | {name: value for name, value in where.items() if value} | {"failed-session-count": row.n}


def letter(report: TlsReport, *, from_: str, to: Address) -> bytes:
    """The message (RFC 8460 §5.3), CRLF lines, without Date and Message-ID (the intake adds them)."""
    boundary = f"=_{report.report_id}"
    whole_id = f"<{report.report_id}@{report.submitter}>"
    subject = f"Report Domain: {report.domain} Submitter: {report.submitter} Report-ID: {whole_id}"
    more = {
        "TLS-Report-Domain": report.domain, "TLS-Report-Submitter": report.submitter,
        # RFC 8460 §5.3: delivered even where the TLS that it tells of fails; RFC 8689 §5.
        "TLS-Required": "No",
    }
    text = (
        f"This is an aggregate report about TLS between {report.submitter} and the mail servers of\r\n{report.domain}, "
        f"from {iso(report.begins)} to {iso(report.begins + DAY - 1)} (RFC 8460).\r\n\r\n"
        f"Sessions as its policies want: {report.successes}\r\nSessions that failed: {report.failures}\r\n"
    )
    packed = base64.b64encode(report.packed).decode("ascii")
    lines = "\r\n".join(packed[at : at + _LINE] for at in range(0, len(packed), _LINE))
    return head(from_, to.header, subject, automatic="auto-generated", more=more) + (
        f'Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{text}\r\n--{boundary}\r\n"
        "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment;\r\n filename="{report.file_name}"\r\n\r\n{lines}\r\n--{boundary}--\r\n'
    ).encode("ascii")


class _NotTaken(Exception):
    """The queue takes no mail just now."""


@dataclass(frozen=True, slots=True)
class _Try:
    """What one try came to: who has the report besides, and which messages are to be queued with that."""

    taken: tuple[str, ...] = ()
    messages: tuple[tuple[str, Any], ...] = ()
    says: str = ""


class TlsReporting:
    """Sends what is due. Make it where a loop runs; `run` closes it."""

    def __init__(
        self, storage: Storage, intake: Intake, resolver: Resolver, config: Config, clock: Clock, owner: str
    ) -> None:
        self._storage, self._intake, self._resolver, self._config = storage, intake, resolver, config
        self._clock, self._settings = clock, config.tls_reports
        self._duty = Duty(storage, clock, DUTY, owner, 3 * _TURN_SECONDS)
        bounds = HttpBounds(
            self._settings.timeout_seconds, _ANSWER_BYTES, private=config.delivery.allow_private_networks,
            networks=config.delivery_networks,
        )
        trust = Contexts(ca_file=config.delivery.ca_file).verified if config.delivery.ca_file else None
        self._client = HttpClient(bounds, resolver, clock.monotonic, tls=trust)

    async def run(self) -> None:
        """Send what is due, while this process has the duty, until cancelled."""
        try:
            await self._duty.turns(self._turn, _TURN_SECONDS)
        finally:
            await self._duty.leave()
            await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _turn(self) -> None:
        if await self._duty.ours():
            await self.send_due()

    async def send_due(self) -> int:
        """Send up to a batch of reports; returns how many left. Raises StorageError."""
        async with self._storage.read() as tx:
            due = await rows.reports_due(tx, self._clock.now(), self._settings.batch)
        sent = 0
        for row in due:
            sent += await self._send(row)
        return sent

    async def _send(self, row: ReportRow) -> bool:
        asked = await self._resolver.txt(f"_smtp._tls.{row.domain}")
        if isinstance(asked, Later):
            return await self._done(row, None, _Try(says=f"the DNS gives no answer: {asked.reason}"), again=True)
        wanted = report_addresses(asked.texts()) if isinstance(asked, Answer) else ()
        if not wanted:
            return await self._done(row, None, _Try(says="the domain wants no reports any more"), again=False)
        async with self._storage.read() as tx:
            counted = await rows.sessions_of(tx, row.day, row.domain)
        report = TlsReport(
            row.domain, day_start(row.day), submitter(self._config), self._contact(), row.report_id,
            policies_of(row.domain, counted, self._settings.max_failures),
        )
        tried = await self._handed_over(report, wanted[: self._settings.max_addresses])
        return await self._done(row, report, tried, again=True)

    async def _handed_over(self, report: TlsReport, addresses: Sequence[str]) -> _Try:
        found = _Try()
        for uri in addresses:
            address = mail_address(uri)
            if not address:
                answered = await self._client.request("POST", uri, _HEADERS, report.packed)
                if answered.status is not None and 200 <= answered.status < 300:
                    found = replace(found, taken=(*found.taken, uri))
                else:
                    says = answered.says or f"it answers {answered.status}"
                    found = replace(found, says=f"{uri[:200]}: {says}")
                continue
            built = await self._built(report, address)
            if isinstance(built, str):
                found = replace(found, says=f"{address[:200]}: {built}")
            else:
                found = replace(found, messages=(*found.messages, (uri, built)))
        return found

    async def _built(self, report: TlsReport, address: str) -> Any:
        """The message, signed; or in words why there is none."""
        s = self._config.signing
        if not (s.pool_domain and s.pool_key_file):
            return "signing.pool_domain has no key, and reports have to be signed"
        to = names.address(address, smtputf8=True)
        if to.domain in self._config.own_hosts:
            return "the address leads back to this relay"
        built = await self._intake.prepare(own(to, letter(report, from_=_from(self._config), to=to)))
        return built.text() if isinstance(built, Verdict) else built

    async def _done(self, row: ReportRow, report: TlsReport | None, tried: _Try, *, again: bool) -> bool:
        """Write down what a try came to, with the messages that it queues; True when somebody has the report."""
        now = self._clock.now()
        sent_to = [*tried.taken, *(uri for uri, _ in tried.messages)]
        late = now >= day_start(row.day) + DAY + self._settings.spread_seconds + self._settings.give_up_hours * HOUR
        state = SENT if sent_to else FAILED if late or not again else WAITING
        values: dict[str, Any] = {
            "state": state, "sent_to": sent_to, "says": tried.says[:500], "next_at": now + self._settings.retry_seconds,
        }
        if report is not None:
            values |= {"successes": report.successes, "failures": report.failures}

        async def do(tx: Tx) -> bool:
            if not await rows.report_tried(tx, row, **values):
                return False
            for _, built in tried.messages:
                if isinstance(await self._intake.write(tx, built), Verdict):
                    raise _NotTaken
            return True

        try:
            mine = await self._storage.write(do)
        except _NotTaken:
            log.warning("tls_report.not_queued", domain=row.domain, day=row.day)
            return False
        if mine:
            self._intake.wake()
            log.info("tls_report.tried", domain=row.domain, day=row.day, state=state, to=sent_to, says=tried.says)
        return mine and state == SENT

    def _contact(self) -> str:
        return self._config.server.operator_email or self._config.notice_from


_HEADERS = {"Content-Type": "application/tlsrpt+gzip", "User-Agent": "Posthouse-TLS-Reports"}


def submitter(config: Config) -> str:
    """Who reports: the relay's own domain, which signs."""
    return config.signing.pool_domain or config.server.hostname


def _from(config: Config) -> str:
    """The sender, of the domain that signs (RFC 8460 §5.3)."""
    address, domain = config.notice_from, submitter(config)
    return f"TLS reports <{address if address.rpartition('@')[2] == domain else f'postmaster@{domain}'}>"
