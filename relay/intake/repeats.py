"""A message that comes again: a client lost our 250, and hands the same octets in once more.

A message by SMTP or `send/raw` is known by a fingerprint: of its member, its envelope sender and its octets, where it
came with a Message-ID of its own; or of its member and the key in its Idempotency-Key field, which then stands for
this content and no other. Judged in the accepting transaction, each recipient by itself: whom an earlier message of the
same fingerprint already took, and nobody cancelled, is a repeat and not written again; the rest is new. Where several
processes write, they take turns at a fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay import replies
from relay.base import metrics
from relay.base.clock import HOUR
from relay.base.events import REPEATED, Event
from relay.base.names import Address
from relay.base.storage import Tx, events, idempotency, mail
from relay.base.storage.mail import First
from relay.intake.submission import Accepted, Built, Fingerprint, Submission
from relay.message import IDEMPOTENCY_KEY, Parsed, header_safe
from relay.replies import Verdict

_KEY_KIND = "smtp:"
# The names of keys are a table's, and HTTP's have 255.
MAX_KEY = 250
_REPORTED = 10
"""So many events tell that a message came again; what comes after them is only counted, so that a client in a loop
fills no log."""


def fingerprint(submission: Submission, member_id: int, parsed: Parsed) -> Fingerprint | Verdict | None:
    """How an equal message will be known; None: by nothing; a verdict for a key that can't be read."""
    given = parsed.all(IDEMPOTENCY_KEY)
    if not given and not parsed.all("message-id"):
        return None
    sender = submission.mail_from.text if submission.mail_from else ""
    content = hashlib.sha256(b"%d\0%s\0" % (member_id, sender.encode()))
    content.update(submission.raw)
    if not given:
        return Fingerprint(_number(content.digest()))
    key = b" ".join(given[0].value.split()).decode("utf-8", "replace")
    if len(given) > 1 or not 0 < len(key) <= MAX_KEY or not key.isascii() or not header_safe(key):
        saw = f"Idempotency-Key: once, 1 to {MAX_KEY} printable ASCII characters"
        return Verdict(replies.INVALID_MESSAGE, saw=saw)
    keyed = hashlib.sha256(b"%d\0\0%s" % (member_id, key.encode()))
    return Fingerprint(_number(keyed.digest()), key, content.hexdigest())


def _number(digest: bytes) -> int:
    """63 bits, which both engines can hold."""
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(slots=True)
class Repeated:
    """What of a message was taken before: `first` is the oldest message that took some of it, `ids` the recipients, by
    position, with their ids in the table."""

    first: First
    ids: dict[int, int] = field(default_factory=dict)


class Repeats:
    """Finds repeats in batches."""

    def __init__(self, hours: float) -> None:
        """`hours`: how long a message is known; 0: never."""
        self._hours = hours

    @property
    def wanted(self) -> bool:
        """Whether repeats are looked for."""
        return self._hours > 0

    async def find(
        self, tx: Tx, batch: Sequence[Built], refused: dict[int, Verdict], now: float
    ) -> dict[int, Repeated]:
        """Message → what of it was taken before, those without any absent. No two of `batch` have one fingerprint.
        A key that came with other content before is refused."""
        wanted = {i: b.fingerprint for i, b in enumerate(batch) if b.fingerprint is not None and i not in refused}
        if not wanted:
            return {}
        numbers = [f.number for f in wanted.values()]
        await mail.lock_fingerprints(tx, numbers)
        since = now - self._hours * HOUR
        for i, f in wanted.items():
            if f.key:
                kept = await idempotency.look(tx, batch[i].member_id, _KEY_KIND + f.key)
                if kept is not None and kept.at >= since and kept.body_hash != f.content:
                    refused[i] = Verdict(replies.IDEMPOTENCY_CONFLICT, member_id=batch[i].member_id)
        found = await mail.firsts(tx, numbers, since)
        if not found:
            return {}
        of = {
            i: mine for i, f in wanted.items()
            if i not in refused and (mine := [m for m in found if m.fingerprint == f.number and _same(m, batch[i])])
        }
        if not of:
            return {}
        took: dict[int, list[tuple[str, int]]] = {}
        for message_id, address, recipient_id in await mail.taken(tx, [m.id for ms in of.values() for m in ms]):
            took.setdefault(message_id, []).append((address, recipient_id))
        out = {}
        for i, firsts in of.items():
            before = {address: (m, number) for m in reversed(firsts) for address, number in took.get(m.id, ())}
            ids = {
                at: before[r.address.text][1] for at, r in enumerate(batch[i].submission.recipients)
                if r.address.text in before
            }
            if ids:
                out[i] = Repeated(min((m for m, n in before.values() if n in ids.values()), key=lambda m: m.id), ids)
        return out

    async def keep(self, tx: Tx, built: Built, queue_id: str) -> None:
        """Write down what the message's key stands for, if it has one."""
        f = built.fingerprint
        if f is None or not f.key:
            return
        name, since = _KEY_KIND + f.key, built.now - self._hours * HOUR
        if await idempotency.begin(tx, built.member_id, name, f.content, built.now, stale=since, forget=since) is None:
            await idempotency.finish(tx, built.member_id, name, 250, {"id": queue_id})

    async def tell(self, tx: Tx, built: Built, repeated: Repeated, happened: list[Event], now: float) -> None:
        """Add the event of a message of which nothing is new, and count it."""
        metrics.REPEATED.inc()
        first = repeated.first
        if len(await events.of_message(tx, first.id, limit=_REPORTED, types=(REPEATED,))) >= _REPORTED:
            return
        one = next(iter(repeated.ids.values())) if len(repeated.ids) == 1 else None
        data = {
            "queueId": first.queue_id, "from": built.header_from,
            "recipients": [a.text for a, _ in addresses(built, repeated)],
        }
        domain_id = built.signer.id if built.signer else None
        happened.append(Event(REPEATED, built.member_id, now, domain_id, first.id, one, data))


def addresses(built: Built, repeated: Repeated | None) -> tuple[tuple[Address, int], ...]:
    """Those who were taken before, with their ids."""
    ids = repeated.ids if repeated else {}
    return tuple((built.submission.recipients[at].address, number) for at, number in ids.items())


def rounds(batch: Sequence[Built]) -> list[list[int]]:
    """The positions of a batch in groups, one after the other, so that equal messages meet in no group and each finds
    those that came before it."""
    out: list[list[int]] = []
    times: dict[int, int] = {}
    for i, built in enumerate(batch):
        turn = 0
        if built.fingerprint is not None:
            turn = times.get(built.fingerprint.number, 0)
            times[built.fingerprint.number] = turn + 1
        if turn == len(out):
            out.append([])
        out[turn].append(i)
    return out


def nothing_new(repeated: Repeated, built: Built, rejected: tuple[tuple[str, Verdict], ...]) -> Accepted:
    """The answer to a message of which nothing is written."""
    first = repeated.first
    return Accepted(first.queue_id, first.id, (), rejected, repeated=addresses(built, repeated))


def _same(first: First, built: Built) -> bool:
    """Whether the hit is this client's message, and not another's with the same 63 bits."""
    sender = built.submission.mail_from.text if built.submission.mail_from else ""
    if (first.member_id, first.mail_from) != (built.member_id, sender):
        return False
    return not built.message.own_id or first.header_id == built.message.message_id[:998]
