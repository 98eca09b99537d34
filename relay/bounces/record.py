"""What a report changes: the one recipient its return path names, whatever addresses stand in it.

- A final bounce makes the recipient `bounced`, also after `sent` (a late bounce), and counts for its domain's day,
  no longer as delivered. A fault of the address puts it on the member's suppression list.
- A complaint puts the address on the list as `complaint`; a wish to be left alone that came by the same way
  (`opt-out`) as `unsubscribe`, and counts against nobody.
- A delay is an event; an automatic answer and mail that is no report are nothing.
- What the sender asked to hear (RFC 3461 §4.1: failures unless it said otherwise, delays, success) is marked as owed:
  `relay.delivery.dsn` writes it anew, in our own words, to the domain's own mailbox. So nobody who holds a
  return path can have anything sent elsewhere, nor twice.

Promises that a report repeated, also at the same moment by another process, changes nothing the second time. Reading
reports is `relay.bounces.parse`, taking them in is `relay.inbound`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import structlog

from relay.base import metrics, names
from relay.base.clock import Clock, utc_day
from relay.base.config import Config
from relay.base.events import BOUNCED, COMPLAINED, DEFERRED, UNSUBSCRIBED, Event
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, events, mail, stats, suppressions
from relay.base.storage.mail import LateBounce, LateWord, Returned
from relay.base.storage.suppressions import Suppression
from relay.bounces import address, header
from relay.bounces.classify import Classified, classify
from relay.bounces.parse import SUCCEEDED, Fate, Report
from relay.replies import printable
from relay.unsubscribe import address as leave_addresses
from relay.unsubscribe import addressee
from relay.unsubscribe import link as leave_links

log = structlog.get_logger()
Result = Literal["bounced", "deferred", "complained", "unsubscribed", "delivered", "nothing"]
_CODE = re.compile(r"(?:^|[\s;:])([45]\d\d)(?=[ -])")
_COMPLAINTS = ("abuse", "fraud", "virus", "other")
_DELAYS_MAX = 20  # events about one recipient; whoever holds a return path could send reports for ever


@dataclass(frozen=True, slots=True)
class Whose:
    """A recipient about whom something came: its id and address, and the local part of the return path that named it
    ("" where it was named inside)."""

    id: int
    address: str
    path: str = ""


@dataclass(slots=True)
class _Item:
    recipient_id: int
    report: Report
    vouched: str


@dataclass(slots=True)
class _Batch:
    """What the reports of one transaction write together."""

    at: float
    happened: list[Event] = field(default_factory=list)
    entries: list[Suppression] = field(default_factory=list)
    bounced: list[LateBounce] = field(default_factory=list)
    heard: list[LateWord] = field(default_factory=list)
    owed: dict[int, str] = field(default_factory=dict)
    counted: dict[tuple[int, str, int], dict[str, int]] = field(default_factory=dict)

    def tell(self, kind: str, who: Returned, data: dict[str, Any]) -> None:
        self.happened.append(Event(kind, who.member_id, self.at, who.domain_id, who.message_id, who.id, data))

    def suppress(self, who: Returned, reason: str, detail: str) -> None:
        # Of no domain: forwarded mail, and what sent it back is the member's own mailbox.
        if who.domain_id is None:
            return
        entry = suppression(who.member_id, who.address, reason, detail, self.at)
        if entry is not None:
            self.entries.append(entry)

    def count(self, who: Returned, counter: str, at: float | None = None, by: int = 1) -> None:
        if who.domain_id is not None:
            day = utc_day(self.at if at is None else at)
            fields = self.counted.setdefault((who.domain_id, day, who.member_id), {})
            fields[counter] = fields.get(counter, 0) + by


class Records:
    """Applies reports. Sends nothing: mail that comes back never makes mail, but it may settle what is owed."""

    def __init__(self, storage: Storage, vault: Vault, config: Config, clock: Clock) -> None:
        self._storage, self._vault, self._config, self._clock = storage, vault, config, clock

    def claims(self, path: names.Address) -> bool:
        """True for a return path that this relay made, at whatever domain. Asks nobody."""
        return address.read(self._vault, path.local) is not None

    async def whose(self, path: names.Address) -> Whose | None:
        """Whose return path of ours this is, if it may still be written to, else None for every case alike.

        Forged, cut, of another domain than its message's, long forgotten or already settled by a report: all one.
        Raises StorageError.
        """
        recipient_id = address.read(self._vault, path.local)
        if recipient_id is None:
            return None
        async with self._storage.glance() as tx:
            found = await mail.returned(tx, recipient_id)
        # What was sent earlier may have the domain as the operator wrote it then.
        if found is None or found.return_path.lower().rstrip(".") != path.domain:
            return None
        return Whose(recipient_id, found.address, path.local)

    async def apply(self, recipient_id: int, report: Report, vouched: str = "") -> Result:
        """What `report`, which is about this recipient, changed. `vouched`: who showed that it comes from where such
        news of this recipient must come from; "" for nobody, and then it judges nobody. Raises StorageError."""
        if report.kind not in ("bounce", "complaint"):
            log.debug("report.nothing", kind=report.kind, shape=report.shape)
            return "nothing"
        done = await self._storage.together(self._apply, _Item(recipient_id, report, vouched))
        if done == "complained":
            metrics.COMPLAINTS.labels("yes" if vouched else "no").inc()
        log.info("report.applied", result=done, shape=report.shape, recipient_id=recipient_id)
        return done

    async def named(self, report: Report) -> Whose | None:
        """The recipient that a complaint is about which came elsewhere (fbl@, abuse@): proved by what
        we have authenticated and only that recipient's copy bears, its return path, its X-Posthouse-Message or the
        address or URL in its List-Unsubscribe. A queue id proves nothing: it stands in the References of every answer.
        Raises StorageError."""
        for path in report.paths:
            claimed = _address(path)
            recipient_id = address.read(self._vault, claimed.local) if claimed is not None else None
            if claimed is None or recipient_id is None:
                continue
            async with self._storage.glance() as tx:
                found = await mail.complained_of(tx, recipient_id)
            if found is not None and found.return_path.lower().rstrip(".") == claimed.domain:
                return Whose(recipient_id, found.address)
        for value in report.marks:
            if (marked := header.read(self._vault, value)) is None:
                continue
            async with self._storage.glance() as tx:
                found = await mail.complained_of(tx, marked[1])
            if found is not None and found.queue_id == marked[0]:
                return Whose(found.id, found.address)
        for way in report.leave_by:
            if (named := self._leaving(way)) is None:
                continue
            async with self._storage.read() as tx:
                one = await addressee(tx, *named)
            if one is not None:
                return Whose(one.id, one.address)
        return None

    def _leaving(self, way: str) -> tuple[str, bytes] | None:
        """(queue id, who) of an address or a URL's token out of List-Unsubscribe; None where it isn't ours."""
        local, at, _ = way.partition("@")
        if at:
            return leave_addresses.read(self._vault, local)
        link = leave_links.read(self._vault, way)
        return (link.queue_id, leave_addresses.who(link.canonical)) if link is not None else None

    async def _apply(self, tx: Tx, items: list[_Item]) -> list[Result]:
        found = await mail.returned_for_update(tx, [i.recipient_id for i in items])
        batch = _Batch(self._clock.now())
        results: list[Result] = []
        for item in items:
            who = found.get(item.recipient_id)
            if who is None:
                results.append("nothing")
                continue
            if item.report.kind == "complaint":
                results.append(await self._complained(tx, who, item, batch))
            else:
                results.append(await self._came_back(tx, who, item, batch))
            if results[-1] == "bounced":
                # The same recipient twice in one batch: the second finds it settled.
                found[who.id] = replace(who, state="bounced")
            elif batch.owed.get(who.id) == "delayed":
                found[who.id] = replace(who, delay_told=True)
        await mail.owe_reports(tx, batch.owed)
        await mail.bounce_late(tx, batch.bounced)
        await mail.record_late(tx, batch.heard)
        await stats.count(tx, batch.counted)
        await suppressions.add(tx, batch.entries)
        await events.append(tx, batch.happened)
        return results

    async def _complained(self, tx: Tx, who: Returned, item: _Item, batch: _Batch) -> Result:
        report = item.report
        # Early feedback loops have a type for "take me off", which RFC 5965 left out: no complaint about anybody.
        if report.feedback in ("opt-out", "opt-out-list"):
            return await self._opted_out(tx, who, batch)
        # RFC 5965 §7.3: these types are complaints; later ones ("not-spam", "auth-failure") are none.
        if report.feedback not in _COMPLAINTS:
            return "nothing"
        earlier = await _earlier(tx, who, COMPLAINED, batch.happened)
        # One that nobody vouched for must not stand in the way of the same one from who may say it.
        if any(data.get("vouchedBy") or not item.vouched for data in earlier):
            return "nothing"
        batch.suppress(who, "complaint", f"{report.feedback} report")
        # A figure is what its sender is judged by: only what somebody vouched for.
        if item.vouched:
            batch.count(who, "complaints")
        data = {"recipient": who.address, "queueId": who.queue_id, "feedback": report.feedback}
        batch.tell(COMPLAINED, who, data | _vouched(item))
        return "complained"

    async def _opted_out(self, tx: Tx, who: Returned, batch: _Batch) -> Result:
        if who.domain_id is None or await _recorded(tx, who, UNSUBSCRIBED, batch.happened):
            return "nothing"
        batch.suppress(who, "unsubscribe", "opt-out report")
        data = {"recipient": who.address, "by": "report", "category": who.category, "stops": "all"}
        batch.tell(UNSUBSCRIBED, who, data)
        return "unsubscribed"

    async def _came_back(self, tx: Tx, who: Returned, item: _Item, batch: _Batch) -> Result:
        fate = item.report.fate_of(who.address)
        if fate is None or who.state not in ("queued", "deferred", "sent"):
            return "nothing"
        if fate.action in SUCCEEDED:
            return await self._arrived(tx, who, fate, batch)
        final, why = judge(fate, who.address)
        data = facts(who, fate, why)
        reply = str(data["reply"])
        match = _CODE.search(fate.diagnostic)
        code = int(match[1]) if match else None
        word = LateWord(who.id, batch.at, "never" if final else "later", printable(fate.host), code, fate.status, reply)
        if not final:
            if await _recorded(tx, who, DEFERRED, batch.happened, status=fate.status):
                return "nothing"
            batch.tell(DEFERRED, who, data)
            batch.heard.append(word)
            if _wants(who, "DELAY") and not who.delay_told:
                batch.owed[who.id] = "delayed"
            return "deferred"
        due = "failed" if _wants(who, "FAILURE") else None
        batch.bounced.append(LateBounce(who.id, who.message_id, batch.at, code, reply, due))
        batch.heard.append(word)
        batch.count(who, "bounced")
        metrics.BOUNCES.labels(why.class_, "late").inc()
        if who.state == "sent" and who.settled_at is not None:
            # One recipient is counted once: what came back was not delivered, on the day it seemed to be.
            batch.count(who, "delivered", who.settled_at, -1)
        batch.tell(BOUNCED, who, data | _vouched(item))
        if why.address_fault and self._config.suppression.hard_bounces:
            batch.suppress(who, "hard_bounce", why.reason)
        return "bounced"

    async def _arrived(self, tx: Tx, who: Returned, fate: Fate, batch: _Batch) -> Result:
        """Success is nobody's business who has not asked for it, and is told once."""
        if not _wants(who, "SUCCESS") or any(w.recipient_id == who.id and w.kind == "delivered" for w in batch.heard):
            return "nothing"
        if await mail.success_reported(tx, who.id):
            return "nothing"
        batch.owed[who.id] = "arrived" if fate.action == "delivered" else fate.action
        said = printable(" ".join(fate.diagnostic.split()))[:500]
        batch.heard.append(LateWord(who.id, batch.at, "delivered", printable(fate.host), None, fate.status, said))
        return "delivered"


def _wants(who: Returned, news: str) -> bool:
    """Whether the sender is to hear of it; without NOTIFY, of failures. Of no domain: forwarded, its sender is a
    stranger, who is never written to."""
    if who.domain_id is None:
        return False
    return news == "FAILURE" if who.notify is None else news in who.notify.upper().split(",")


def judges(report: Report, about: str) -> bool:
    """Whether `report` says something of the recipient `about` by which its sender is judged."""
    if report.kind == "complaint":
        return report.feedback in _COMPLAINTS
    fate = report.fate_of(about) if report.kind == "bounce" else None
    return fate is not None and fate.action not in SUCCEEDED and judge(fate, about)[0]


def judge(fate: Fate, address: str = "") -> tuple[bool, Classified]:
    """(final, class) of what a report says of one recipient; `address` is what it was sent to, if known.

    Final is only what says so: Action failed, or class 5 without a readable Action. A failed Action with a status of
    class 4 is final too (the other side gave up), but no fault of the address.
    """
    about = f"{address} {fate.addresses}"

    def why_if(permanent: bool | None) -> Classified:
        return classify(fate.status, fate.diagnostic, permanent=permanent, stage=fate.stage, recipient=about)

    why = why_if(None)
    if fate.action == "failed":
        # No number anywhere: the sentence "failed permanently" is the only class there is.
        silent = not fate.status and not re.search(r"\b[45]\d\d\b|\b[45]\.\d{1,3}\.\d{1,3}\b", fate.diagnostic)
        if silent:
            why = why_if(True)
        return True, why
    if fate.action == "delayed":
        return False, why_if(False)
    return why.permanent, why


def facts(who: Returned, fate: Fate, why: Classified) -> dict[str, Any]:
    """The data of the event, and what people read."""
    said = printable(" ".join(fate.diagnostic.split()))[:500]
    return {
        "recipient": who.address, "queueId": who.queue_id, "late": True, "status": fate.status,
        "reply": said or printable(fate.status) or why.reason, "class": why.class_, "reason": why.reason,
        "ownFault": why.own_fault, **({"forwarded": True} if who.domain_id is None else {}),
    }


def suppression(member_id: int, address_text: str, reason: str, detail: str, now: float) -> Suppression | None:
    """An entry for a member's list; None for an address that has no canonical form."""
    try:
        canonical = names.canonical(names.address(address_text))
    except names.BadName:
        return None
    return Suppression(0, member_id, canonical, address_text, reason, detail, now)


def _address(text: str) -> names.Address | None:
    try:
        return names.address(text)
    except names.BadName:
        return None


def _vouched(item: _Item) -> dict[str, Any]:
    return {"vouchedBy": item.vouched} if item.vouched else {}


async def _earlier(tx: Tx, who: Returned, kind: str, happened: list[Event]) -> list[dict[str, Any]]:
    """What reports have said of this recipient before, by events of this kind."""
    earlier = await events.recorded(tx, who.message_id, who.id, kind)
    return [*earlier, *(e.data for e in happened if e.type == kind and e.recipient_id == who.id)]


async def _recorded(tx: Tx, who: Returned, kind: str, happened: list[Event], status: str | None = None) -> bool:
    """Whether a report has said this of this recipient before."""
    earlier = await _earlier(tx, who, kind, happened)
    if status is None:
        return bool(earlier)
    late = [data.get("status") for data in earlier if data.get("late")]
    return status in late or len(late) >= _DELAYS_MAX
