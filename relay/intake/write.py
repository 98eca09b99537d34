"""The accepting transaction, shared by everybody who waits: what must be exact is asked again, then all is written.

What came before is found first (`repeats`) and spends nothing. Warming is judged in the order of arrival within the
batch, from one read of each domain's entries; suspension, domain state, keys and suppression come from the tables. A
refusal is a value: it writes nothing and harms nobody else's message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay import replies, suppression, warming
from relay.base import names
from relay.base.clock import DAY, Clock, utc_day
from relay.base.config import Config, Tier
from relay.base.events import ACCEPTED, SUPPRESSED, Event
from relay.base.storage import Tx, allowances, events, mail, standing, stats, suppressions, versions
from relay.base.storage import directory as rows
from relay.base.storage.mail import NewMessage, NewRecipient
from relay.directory import Directory
from relay.intake import repeats
from relay.intake.repeats import Repeated, Repeats
from relay.intake.submission import Accepted, Built
from relay.policy import paused_verdict
from relay.replies import Verdict
from relay.suppression import Suppressions

Counted = dict[tuple[int, str, int], dict[str, int]]
"""(domain, day, member) → what is added to which counter."""
_PROCESSES = 16  # that accept at once, at most, where a limit is far enough away to need no lock


class Writer:
    """Applies batches of built messages."""

    def __init__(
        self, config: Config, clock: Clock, owner: str, directory: Directory, suppressions: Suppressions
    ) -> None:
        self._config, self._clock, self._owner = config, clock, owner
        self._directory, self._suppressions = directory, suppressions
        self.repeats = Repeats(config.submission.idempotency_hours)

    async def apply(self, tx: Tx, batch: list[Built]) -> list[Accepted | Verdict]:
        """Admit and write `batch`; one result each, in order."""
        now = self._clock.now()
        seen = await versions.current(tx)
        results: list[Accepted | Verdict] = [_NOTHING] * len(batch)
        happened: list[Event] = []
        counted: Counted = {}
        for turn in repeats.rounds(batch):
            found = await self._apply(tx, [batch[i] for i in turn], seen, happened, counted, now)
            for i, result in zip(turn, found, strict=True):
                results[i] = result
        await stats.count(tx, counted)
        await events.append(tx, happened)
        return results

    async def _apply(
        self, tx: Tx, batch: list[Built], seen: dict[str, int], happened: list[Event], counted: Counted, now: float
    ) -> list[Accepted | Verdict]:
        """The same for messages of which no two are equal; events and counters are left to the caller."""
        refused: dict[int, Verdict] = {}
        await self._standing(tx, batch, refused, seen.get(versions.DIRECTORY, 0))
        again = await self.repeats.find(tx, batch, refused, now) if self.repeats.wanted else {}
        new = [
            [at for at in range(len(b.submission.recipients)) if i not in again or at not in again[i].ids]
            for i, b in enumerate(batch)
        ]
        left = await self._suppressed(tx, batch, refused, new, seen.get(versions.SUPPRESSIONS, 0))
        after = await self._warming(tx, batch, refused, new, now, seen.get(versions.DIRECTORY, 0))
        written = [(i, self._row(b, new[i])) for i, b in enumerate(batch) if i not in refused and new[i]]
        if written:
            await mail.add(tx, [m for _, m in written])
        rows_of = dict(written)
        results: list[Accepted | Verdict] = []
        for i, built in enumerate(batch):
            if i in refused:
                results.append(refused[i])
                continue
            rejected = tuple((built.submission.recipients[at].address.text, v) for at, v in left[i].items())
            if i in rows_of:
                accepted = self._accepted(built, rows_of[i], new[i], rejected, after.get(i), again.get(i))
                await self.repeats.keep(tx, built, built.queue_id)
            else:
                accepted = repeats.nothing_new(again[i], built, rejected)
                await self.repeats.tell(tx, built, again[i], happened, now)
            self._account(built, accepted, happened, counted, now)
            if built.submission.also is not None:
                await built.submission.also(tx, accepted)
            results.append(accepted)
        return results

    async def _standing(
        self, tx: Tx, batch: Sequence[Built], refused: dict[int, Verdict], version: int
    ) -> None:
        """The version row says whether the snapshot is exact; if it is not, the tables are asked."""
        if self._directory.exact(version):
            for i, b in enumerate(batch):
                changed = self._directory.recheck(b.submission.login) if b.submission.login else None
                if changed is not None:
                    refused[i] = changed
                elif b.submission.login and b.signer and not self._directory.current(b.signer):
                    refused[i] = self._lost(b)
            return
        pairs = {(b.member_id, b.signer.id) for b in batch if b.submission.login and b.signer}
        if not pairs:
            return
        key_ids = {b.submission.login.key_id for b in batch if b.submission.login}
        good, live, suspended = await rows.standing(tx, pairs, key_ids, self._clock.now())
        for i, b in enumerate(batch):
            login, signer = b.submission.login, b.signer
            if login is None or signer is None:
                continue
            if b.member_id in suspended:
                reason = suspended[b.member_id] or "see your account"
                refused[i] = Verdict(replies.MEMBER_SUSPENDED, saw=reason, member_id=b.member_id)
            elif login.key_id and login.key_id not in live:
                refused[i] = Verdict(replies.AUTH_FAILED)
            elif (b.member_id, signer.id) not in good:
                refused[i] = self._lost(b)

    def _lost(self, built: Built) -> Verdict:
        """The refusal of a domain that stopped sending since the message was begun: in its own words, where the
        snapshot has them by now."""
        name = built.signer.name if built.signer else ""
        found = self._directory.paused_domain(built.member_id, name)
        if found is not None:
            return paused_verdict(found)
        saw = f"{name} stopped being verified, or was paused or deleted, a moment ago"
        return Verdict(replies.DOMAIN_RESTS, saw=saw, extra={"domain": name}, member_id=built.member_id)

    async def _suppressed(
        self, tx: Tx, batch: Sequence[Built], refused: dict[int, Verdict], new: list[list[int]], version: int
    ) -> dict[int, dict[int, Verdict]]:
        """Message → positions of suppressed recipients, which are taken out of `new`. SMTP said yes at RCPT, so there
        the whole is refused."""
        wanted = {
            (b.member_id, names.canonical(b.submission.recipients[at].address))
            for i, b in enumerate(batch)
            if b.submission.login is not None
            for at in new[i]
        }
        if self._suppressions.exact(version):
            wanted = {pair for pair in wanted if self._suppressions.maybe(*pair)}
        found = await suppressions.find(tx, wanted) if wanted else {}
        out: dict[int, dict[int, Verdict]] = {i: {} for i in range(len(batch))}
        if not found:
            return out
        for i, b in enumerate(batch):
            login = b.submission.login
            if login is None:
                continue
            whole = len(new[i]) == len(b.submission.recipients)
            for at in new[i]:
                entry = found.get((b.member_id, names.canonical(b.submission.recipients[at].address)))
                if entry is None or not suppression.stops(
                    entry, b.submission.door, b.category, login.default_category
                ):
                    continue
                out[i][at] = suppression.refusal(entry)
            new[i] = [at for at in new[i] if at not in out[i]]
            if out[i] and (b.submission.door == "smtp" or (whole and not new[i])):
                refused.setdefault(i, next(iter(out[i].values())))
        return out

    async def _warming(
        self, tx: Tx, batch: Sequence[Built], refused: dict[int, Verdict],
        new: list[list[int]], now: float, version: int,
    ) -> dict[int, warming.Remaining]:
        """Judge and spend; returns what is left after each message that came by HTTP, which says so."""
        w = self._config.warming
        after: dict[int, warming.Remaining] = {}
        slowed = await self._slowed(tx, batch, version)
        limited = {}
        for i, b in enumerate(batch):
            if i in refused or b.submission.login is None or b.signer is None or not new[i]:
                continue
            tier = warming.tier_of(
                b.signer.tier, b.signer.first_verified_at, w.tiers, now, slowed=b.member_id in slowed,
                conduct=b.signer.conduct,
            )
            if tier is not None:
                limited[i] = _widened(tier, b.submission.beyond_tier)
        if not limited:
            return after
        ids = sorted({batch[i].signer.id for i in limited})  # type: ignore[union-attr]
        entries = await allowances.entries(tx, ids, now - DAY)
        near = self._near(entries, batch, limited, new, now)
        if await allowances.lock(tx, near):
            entries |= await allowances.entries(tx, near, now - DAY)
        spent: dict[tuple[int, float], int] = {}
        for i, tier in limited.items():
            signer = batch[i].signer
            assert signer is not None
            want = len(new[i])
            mine = entries.setdefault(signer.id, [])
            judgement = warming.judge(mine, tier, now, want)
            if not judgement.fits:
                refused[i] = warming.refusal(judgement, tier, signer.name, want, batch[i].member_id)
                continue
            at = warming.entry_time(tier, now, w.aggregate_from)
            mine.append((at, want))
            spent[signer.id, at] = spent.get((signer.id, at), 0) + want
            if batch[i].submission.door == "http":
                after[i] = warming.remaining(mine, tier, now)
        await allowances.spend(tx, spent, self._owner)
        return after

    def _near(
        self, entries: Mapping[int, Sequence[warming.Entry]], batch: Sequence[Built], limited: Mapping[int, Tier],
        new: list[list[int]], now: float,
    ) -> list[int]:
        """Domains so near to a limit that what other processes are spending at this moment, unseen, could make a
        difference: one transaction of each, at most, and all of it of this domain."""
        unseen = _PROCESSES * self._config.database.group_max * self._config.submission.max_recipients
        wanted: dict[int, int] = {}
        least: dict[int, tuple[int, int]] = {}
        for i, tier in limited.items():
            signer = batch[i].signer
            assert signer is not None
            wanted[signer.id] = wanted.get(signer.id, 0) + len(new[i])
            hour, day = least.get(signer.id, (tier.per_hour, tier.per_day))
            least[signer.id] = min(hour, tier.per_hour), min(day, tier.per_day)
        near = []
        for domain_id, want in sorted(wanted.items()):
            per_hour, per_day = least[domain_id]
            hour, day = warming.used(entries.get(domain_id, ()), now)
            if hour + want + unseen > per_hour or day + want + unseen > per_day:
                near.append(domain_id)
        return near

    async def _slowed(self, tx: Tx, batch: Sequence[Built], version: int) -> set[int]:
        """Members whose standing puts their domains into the next lower tier."""
        members = {b.member_id for b in batch}
        if self._directory.exact(version):
            return {m for m in members if self._directory.slowed(m)}
        return await standing.slowed(tx, members)

    def _row(self, built: Built, new: list[int]) -> NewMessage:
        s, d = built.submission, self._config.delivery
        due = max(built.now, s.send_at or built.now)
        if s.mail_from is None:
            path = ""
        else:
            path = (built.signer.return_path if built.signer else "") or self._config.bounce_host
        leased = built.lease_until is not None
        signer = s.forward.domain if s.forward else built.signer
        return NewMessage(
            {
                "queue_id": built.queue_id, "member_id": built.member_id,
                "domain_id": signer.id if signer else None,
                "key_id": s.login.key_id if s.login else None, "door": s.door,
                "mail_from": s.mail_from.text if s.mail_from else "", "header_from": built.header_from,
                "subject": (built.message.subject or "")[:255], "header_id": built.message.message_id[:998],
                "category": built.category, "tags": s.tags or None, "metadata": s.metadata or None,
                "envid": s.envid, "ret": s.ret, "size": built.size, "smtputf8": s.smtputf8, "return_path": path,
                "received_at": built.now, "fingerprint": built.fingerprint.number if built.fingerprint else None,
                "tls_required": built.tls_required,
            },
            built.shared, built.content,
            [
                NewRecipient(
                    r.address.text, r.address.domain, due, due + d.max_age_seconds, head=built.heads.get(i),
                    notify=r.notify, orcpt=r.orcpt, lease_owner=self._owner if leased else None,
                    lease_until=built.lease_until,
                )
                for i, r in ((at, s.recipients[at]) for at in new)
            ],
            counted=s.forward is None,
        )

    def _accepted(
        self, built: Built, row: NewMessage, new: list[int], rejected: tuple[tuple[str, Verdict], ...],
        after: warming.Remaining | None, again: Repeated | None,
    ) -> Accepted:
        kept = [built.submission.recipients[at].address for at in new]
        pairs = tuple(zip(kept, row.recipient_ids, strict=True))
        return Accepted(built.queue_id, row.id, pairs, rejected, after, repeats.addresses(built, again))

    def _account(
        self, built: Built, accepted: Accepted, happened: list[Event], counted: Counted, now: float
    ) -> None:
        s = built.submission
        domain_id = built.signer.id if built.signer else None
        facts = {"queueId": accepted.queue_id, "from": built.header_from, "category": built.category}
        if s.forward:
            facts["forwardedFor"] = s.forward.wanted
        if built.tracking:
            facts["tracking"] = built.tracking
        if built.message.replaced:
            facts["replaced"] = built.message.replaced  # type: ignore[assignment]
        if s.tags:
            facts["tags"] = s.tags  # type: ignore[assignment]
        if s.metadata:
            facts["metadata"] = s.metadata  # type: ignore[assignment]
        for address, recipient_id in accepted.recipients:
            data = {**facts, "recipient": address.text}
            happened.append(Event(ACCEPTED, built.member_id, now, domain_id, accepted.message_id, recipient_id, data))
        for text, verdict in accepted.rejected:
            data = {**facts, "recipient": text, "reason": verdict.extra.get("reason", "")}
            happened.append(Event(SUPPRESSED, built.member_id, now, domain_id, accepted.message_id, None, data))
        if domain_id is not None and accepted.recipients:
            fields = counted.setdefault((domain_id, utc_day(now), built.member_id), {})
            fields["accepted"] = fields.get("accepted", 0) + len(accepted.recipients)


_NOTHING = Verdict(replies.UNAVAILABLE)



def _widened(tier: Tier, beyond: int) -> Tier:
    """The tier as it is for test messages: so many more a day, and no limit by the hour."""
    if not beyond:
        return tier
    a_day = tier.per_day + beyond
    return tier.model_copy(update={"per_hour": a_day, "per_day": a_day})
