"""What the queue is made of, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class NewRecipient:
    """A recipient about to be written. `head` is None where the message's shared head serves."""

    address: str
    destination: str
    next_at: float
    expires_at: float
    head: bytes | None = None
    notify: str | None = None
    orcpt: str | None = None
    lease_owner: str | None = None
    lease_until: float | None = None


@dataclass(slots=True)
class NewMessage:
    """A message about to be written: `row` are columns of `messages`; `head` + `body` are its final bytes.

    `counted` False: its recipients name no domain, so they count in no domain's figures and suppress nobody.
    """

    row: dict[str, Any]
    head: bytes
    body: bytes
    recipients: list[NewRecipient]
    counted: bool = True
    id: int = 0
    recipient_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed recipient with what delivering it needs. `head` and `body` are loaded by `bytes_of`.

    `key_id` is None for what no member handed in: the relay's own mail, and what is forwarded. `tls_required`: True as
    REQUIRETLS wants it, False as `TLS-Required: No` (RFC 8689), None as the recipient's domain asks.
    """

    id: int
    message_id: int
    member_id: int
    domain_id: int | None
    address: str
    destination: str
    attempts: int
    expires_at: float
    notify: str | None
    orcpt: str | None
    queue_id: str
    mail_from: str
    return_path: str
    envid: str | None
    ret: str | None
    smtputf8: bool
    size: int
    received_at: float
    delay_told: bool
    door: str
    category: str
    key_id: int | None
    tls_required: bool | None = None


@dataclass(slots=True)
class Settlement:
    """What became of one try, or of a recipient without one (`attempt` None). `state` None: the lease is only given
    back, nothing else changes."""

    recipient_id: int
    message_id: int
    lease_owner: str
    state: str | None
    next_at: float
    at: float
    code: int | None = None
    says: str = ""
    report_due: str | None = None
    delay_told: bool = False
    attempt: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient of a report. `late`: the other side said it afterwards, in a report of its own."""

    id: int
    address: str
    orcpt: str | None
    code: int | None
    enhanced: str
    says: str
    host: str
    at: float
    expires_at: float
    late: bool


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What a report to the sender is written from. `content` is empty when the message's bytes are gone; `tls_required`
    as in Due."""

    kind: str
    recipients: tuple[ReportedRecipient, ...]
    domain_id: int | None
    queue_id: str
    mail_from: str
    header_from: str
    header_id: str
    envid: str | None
    ret: str | None
    subject: str
    received_at: float
    content: bytes
    tls_required: bool | None = None


@dataclass(frozen=True, slots=True)
class LateBounce:
    """A failure that came after the other side had taken the mail, at `at`; `says`: the first 1000 are kept.

    `report_due`: the report that its sender is owed now, or None.
    """

    recipient_id: int
    message_id: int
    at: float
    code: int | None
    says: str
    report_due: str | None = None


@dataclass(frozen=True, slots=True)
class LateWord:
    """What the report of another host (`host`) said of a recipient; kept as an attempt of the stage `report`.

    `kind` is an attempt's: delivered | later | never.
    """

    recipient_id: int
    at: float
    kind: str
    host: str
    code: int | None
    enhanced: str
    says: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A recipient about whom something came back. `return_path` is the domain of its return path; `notify` and
    `delay_told` say which reports its sender wants (RFC 3461 §4.1), and whether one of a delay has been owed;
    `settled_at` is when it was delivered or given up (Unix seconds)."""

    id: int
    message_id: int
    member_id: int
    domain_id: int | None
    address: str
    state: str
    queue_id: str
    return_path: str
    notify: str | None = None
    delay_told: bool = False
    category: str = ""
    settled_at: float | None = None
