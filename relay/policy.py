"""The one decision: sender, recipient, header From, size. SMTP and HTTP ask here and nowhere else.

Each question answers with what was asked for, or with a `Verdict`. Answers come from snapshots; the accepting
transaction (`relay.intake`) asks the tables again for what must be exact.
"""

from __future__ import annotations

from typing import Any

from relay import message, replies, suppression, warming
from relay.base import names
from relay.base.clock import DAY, Clock
from relay.base.config import Config, Tier
from relay.base.storage import Storage, StorageError, allowances
from relay.directory import Directory, DomainEntry, Login, PausedDomain
from relay.replies import Reply, Verdict
from relay.suppression import Suppressions

_NAMED = 5


class Policy:
    """The questions asked of it, in the order in which a message meets them."""

    def __init__(
        self, storage: Storage, directory: Directory, suppressions: Suppressions, config: Config, clock: Clock
    ) -> None:
        self._storage, self._directory, self._suppressions = storage, directory, suppressions
        self._config, self._clock = config, clock

    def sender(self, login: Login, address: str) -> DomainEntry | Verdict:
        """May this login send from this envelope sender? `address` without brackets, not the null sender."""
        changed = self._directory.recheck(login)
        if changed is not None:
            return changed
        try:
            domain = names.own_address(address).domain
        except names.BadName as e:
            return Verdict(replies.INVALID_SENDER, saw=e.reason)
        entry = self._directory.sending_domain(login, domain)
        return entry or self.paused_domain(login, domain) or self._mismatch(login, domain)

    def paused_domain(self, login: Login, name: str, header: str = "") -> Verdict | None:
        """The refusal of a domain that is this member's, but may not send, or not by this key; None for any other.

        `header`: the field that names it, "" for the envelope.
        """
        reply, where = (replies.HEADER_RESTS, f"{header}: ") if header else (replies.DOMAIN_RESTS, "")
        if login.domains is not None and name not in login.domains:
            # Whoever has a key for some of the domains need not hear how the others are.
            if self._directory.domain_of_member(login.member_id, name) is None:
                return None
            cure = "Use a key that is for this domain, or issue one at {account_url}."
            saw = f"{where}{name} is yours, but this API key is for other domains"
            return Verdict(reply, saw=saw, extra={"domain": name}, member_id=login.member_id, cure=cure)
        found = self._directory.paused_domain(login.member_id, name)
        return paused_verdict(found, reply, where) if found is not None else None

    def null_sender(self, login: Login) -> Verdict | None:
        """May this login send without a sender (RFC 5321 §4.5.5)? Whose domain it is, the header From tells later."""
        changed = self._directory.recheck(login)
        if changed is None and not login.null_sender:
            changed = Verdict(replies.NULL_SENDER, member_id=login.member_id)
        return changed

    def _mismatch(self, login: Login, saw: str) -> Verdict:
        enrolled = [d.name for d in self._directory.domains_of(login)]
        wanted = ", ".join(enrolled[:_NAMED]) or "(no verified, enabled domain)"
        if len(enrolled) > _NAMED:
            wanted += f" and {len(enrolled) - _NAMED} more"
        return Verdict(replies.DOMAIN_MISMATCH, saw=saw, wanted=wanted, member_id=login.member_id)

    async def recipient(
        self, login: Login, domain: DomainEntry | None, address: str, *, named: int
    ) -> names.Address | Verdict:
        """May this recipient be added to the `named` ones? Asked at RCPT, before anything is known of the message.

        `domain` None: the null sender, whose domain and allowance are judged when the message is there.
        """
        to = self.many(named + 1, null=domain is None) or await self.addressee(login, address)
        if isinstance(to, Verdict) or domain is None:
            return to
        return await self.allowance(domain, named + 1) or to

    def many(self, recipients: int, *, null: bool = False) -> Verdict | None:
        """The refusal of more recipients than any message may have; `null`: one without a sender, which has one."""
        most = 1 if null else self._config.submission.max_recipients
        return Verdict(replies.TOO_MANY_RECIPIENTS, wanted=str(most)) if recipients > most else None

    async def addressee(self, login: Login, address: str, *, category: str | None = None) -> names.Address | Verdict:
        """May this member write to this address at all? `category` as said by the HTTP body; None on SMTP, where only
        the key's default can let a suppressed recipient through."""
        try:
            to = names.address(address)
        except names.BadName as e:
            return Verdict(replies.INVALID_RECIPIENT, saw=e.reason)
        # RFC 5321 §2.3.5: only names that resolve in the public DNS; a single label has a meaning on one machine alone.
        if "." not in to.domain and to.domain != self._config.server.hostname:
            return Verdict(replies.INVALID_RECIPIENT, saw="a single label is no mail domain: give all of it")
        try:
            return await self._suppressed(login, to, category or login.default_category) or to
        except StorageError:
            return Verdict(replies.UNAVAILABLE)

    async def _suppressed(self, login: Login, to: names.Address, category: str) -> Verdict | None:
        canonical = names.canonical(to)
        if not self._suppressions.maybe(login.member_id, canonical):
            return None
        found = await self._suppressions.find(login.member_id, canonical)
        if found is None or not suppression.applies(found, category):
            return None
        return suppression.refusal(found)

    async def allowance(self, domain: DomainEntry, want: int) -> Verdict | None:
        """The refusal of a message with `want` recipients, as far as it shows before the accepting transaction.

        What never fits is always told. What is left is asked for low tiers only, so that their clients need not send
        the message first.
        """
        now = self._clock.now()
        tier = self.tier(domain, now)
        if tier is None:
            return None
        judgement = warming.judge((), tier, now, want)
        if judgement.fits and tier.per_hour < self._config.warming.aggregate_from:
            try:
                async with self._storage.read() as tx:
                    entries = (await allowances.entries(tx, [domain.id], now - DAY)).get(domain.id, [])
            except StorageError:
                return Verdict(replies.UNAVAILABLE)
            judgement = warming.judge(entries, tier, now, want)
        if judgement.fits:
            return None
        return warming.refusal(judgement, tier, domain.name, want, domain.member_id)

    def tier(self, domain: DomainEntry, now: float) -> Tier | None:
        """The warming tier of a domain as its age and its member's standing have it; None: unlimited."""
        return warming.tier_of(
            domain.tier, domain.first_verified_at, self._config.warming.tiers, now,
            slowed=self._directory.slowed(domain.member_id), conduct=domain.conduct,
        )

    def header_from(self, login: Login, parsed: message.Parsed) -> DomainEntry | Verdict:
        """The signing domain: that of the one mailbox of the one From field (RFC 5322 §3.6.2, RFC 9989 §5.3.1)."""
        try:
            mailbox = message.single_from(parsed)
        except names.BadName as e:
            return Verdict(replies.FROM_MISMATCH, saw=e.reason, member_id=login.member_id)
        entry = self._directory.sending_domain(login, mailbox.address.domain)
        stopped = None if entry else self.paused_domain(login, mailbox.address.domain, "From")
        if stopped is not None:
            return stopped
        if entry is None:
            enrolled = ", ".join(d.name for d in self._directory.domains_of(login)[:_NAMED])
            return Verdict(
                replies.FROM_MISMATCH, saw=f"{mailbox.address.domain} is not an enrolled domain of yours",
                wanted=enrolled, member_id=login.member_id,
            )
        return self._senders(login, parsed) or entry

    def automatic(self, login: Login, parsed: message.Parsed) -> Verdict | None:
        """The refusal of a message with the null sender that no program wrote (RFC 5321 §4.5.5, RFC 3834 §3.3)."""
        return None if message.is_automatic(parsed) else Verdict(replies.NOT_AUTOMATIC, member_id=login.member_id)

    def _senders(self, login: Login, parsed: message.Parsed) -> Verdict | None:
        """Who else put the message on its way must be of this member too (RFC 5322 §3.6.2, §3.6.6)."""
        try:
            for name, mailbox in message.senders(parsed):
                if self._directory.sending_domain(login, mailbox.address.domain) is None:
                    if (stopped := self.paused_domain(login, mailbox.address.domain, name)) is not None:
                        return stopped
                    saw = f"{name}: {mailbox.address.domain} is not an enrolled domain of yours"
                    return Verdict(replies.SENDER_MISMATCH, saw=saw, member_id=login.member_id)
        except names.BadName as e:
            return Verdict(replies.SENDER_MISMATCH, saw=e.reason, member_id=login.member_id)
        return None

    def category(self, login: Login | None, parsed: message.Parsed, said: str | None) -> str:
        """The category of a message: what the body said, else the header, else the key's default; unknown is bulk."""
        word = said or message.category(parsed) or (login.default_category if login else "transactional")
        return word if word in suppression.CATEGORIES else "bulk"


def paused_verdict(found: PausedDomain, reply: Reply = replies.DOMAIN_RESTS, where: str = "") -> Verdict:
    """The refusal of a domain that may not send just now, in its own words."""
    facts: dict[str, Any] = {"domain": found.name, "state": found.state}
    if found.missing:
        facts["missing"] = list(found.missing)
    return Verdict(reply, saw=f"{where}{found.says}", extra=facts, member_id=found.member_id, cure=found.cure)
