"""What listeners hand in and what they get back: plain values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from relay.base.names import Address
from relay.base.storage import Tx
from relay.directory import DomainEntry, Login
from relay.message import Parsed
from relay.message import Prepared as PreparedMessage
from relay.replies import Verdict
from relay.warming import Remaining

Also = Callable[[Tx, "Accepted"], Awaitable[None]]
"""Something that must be written in the same transaction as the message."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient with its DSN wishes (RFC 3461): `notify` as given, `orcpt` as given."""

    address: Address
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Mail from outside for `wanted`, an address of `domain`, whose member it belongs to.

    `parsed` is the message as it is to leave, `results` the Authentication-Results field to put on top of it.
    """

    domain: DomainEntry
    wanted: str
    parsed: Parsed
    results: bytes


@dataclass(slots=True)
class Submission:
    """A message handed in. `login` None: the relay's own mail or, with `forward`, a stranger's on its way to a
    member; both outside warming and standing. `mail_from` None: the null sender; `domain` is None then too.
    `beyond_tier`: of a test message, which has a limit of its own, so many recipients more than the tier has in a day,
    and no limit by the hour. `as_came`: `raw` is what the client wrote, so that the same octets again are a repeat.
    `require_tls`: it came with REQUIRETLS (RFC 8689 §2). `queue_id`: its id, where
    something in `raw` names it; "": a new one."""

    login: Login | None
    domain: DomainEntry | None
    door: str
    mail_from: Address | None
    recipients: list[Recipient]
    raw: bytes
    category: str | None = None
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] | None = None
    envid: str | None = None
    ret: str | None = None
    smtputf8: bool = False
    helo: str = ""
    client_address: str = ""
    tls: str | None = None
    send_at: float | None = None
    also: Also | None = None
    forward: Forward | None = None
    beyond_tier: int = 0
    as_came: bool = False
    require_tls: bool = False
    queue_id: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How a message is known again: `number` has 63 bits. `key`: its Idempotency-Key, "" for none; `content` is the
    digest (hex) of what that key stands for."""

    number: int
    key: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is on disk. `recipients` pairs each address with its integer id; `rejected` were left out;
    `remaining` is what the domain's tier lets out after it, None where there is no limit. `repeated` are those whom an
    earlier message of the same content took, with their ids there; where nobody else is left, that message is the one
    that `queue_id` and `message_id` name."""

    queue_id: str
    message_id: int
    recipients: tuple[tuple[Address, int], ...]
    rejected: tuple[tuple[str, Verdict], ...] = ()
    remaining: Remaining | None = None
    repeated: tuple[tuple[Address, int], ...] = ()


@dataclass(slots=True)
class Built:
    """A message in its final bytes, ready for the transaction.

    `shared` are the prepended lines of all recipients; `heads` those of each recipient where they differ
    (by position in `submission.recipients`). Where the bodies differ too, each head is a whole copy and `content` is
    empty. `leased_at`: when its lease began, by the monotonic clock and the wall's. `tracking`: what the domain's
    switches put in (click, open, unsubscribe), or why they didn't; "" without. `tls_required` as in `mail.Due`.
    """

    submission: Submission
    member_id: int
    queue_id: str
    category: str
    signer: DomainEntry | None
    header_from: str
    message: PreparedMessage
    content: bytes
    shared: bytes
    heads: dict[int, bytes]
    now: float
    size: int
    lease_until: float | None = None
    leased_at: tuple[float, float] = (0.0, 0.0)
    tracking: str = ""
    fingerprint: Fingerprint | None = None
    tls_required: bool | None = None
