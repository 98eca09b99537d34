"""One TLS report (RFC 8460): counts of a domain's day → the JSON, and the message that carries it. Pure."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.base.clock import DAY, iso
from relay.base.names import Address
from relay.base.storage.outbound_tls import SessionRow
from relay.notices.message import head

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
