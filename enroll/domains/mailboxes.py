"""Mailboxes that mail is forwarded to: who doesn't take it any more, and telling the domain's owner once.

A copy that fails is an event and nothing else, because its sender is a stranger; somebody must notice all the same.
`MailboxWatch` follows the event feed, as the one process that has the duty: failures with no success between them
make the domain's page say so, and a letter to the account's own address (never by way of the mailbox that fails).
The next copy that arrives ends it. What a mailbox refuses for the message's own sake (spam, size) counts for nothing.

What is in memory is only how many failures came in a row; a restart begins to count anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from relay.base import names
from relay.base.clock import DAY, HOUR, Clock
from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.duty import Duty
from relay.base.events import BOUNCED, SENT
from relay.base.names import BadName
from relay.base.storage import Storage, Tx, accounts, events, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import Row
from relay.base.storage.events import OfForward
from relay.notices import NoticeLater, Notices, texts

log = structlog.get_logger("mailboxes")
DUTY = "mailboxes"
_LEASE_SECONDS = 120.0
_BATCH = 1000
_ROUNDS = 20
_SAYS_MAX = 200
_OF_THE_MESSAGE = frozenset({"content", "policy", "authentication", "too_large", "sender", "loop"})


_Key = tuple[int, str]
"""A domain's id, and the mailbox."""


@dataclass(slots=True)
class _Spell:
    """Failures in a row. `late`: some mailbox takes mail and sends it back afterwards, so one success says little."""

    since: float
    says: str = ""
    failed: int = 0
    arrived: int = 0
    late: bool = False
    notified: bool = False


class MailboxWatch:
    """`run` until cancelled; `tick` is one turn. `owner` names this process among those that share the database."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, notices: Notices, *, owner: str) -> None:
        self._storage, self._config, self._clock, self._notices = storage, config, clock, notices
        self._duty = Duty(storage, clock, DUTY, owner, _LEASE_SECONDS)
        self._at: int | None = None
        self._spells: dict[_Key, _Spell] = {}

    async def run(self) -> None:
        """Take turns until cancelled, then give the duty back."""
        try:
            await self._duty.turns(self.tick, self._config.enrollment.recheck_poll_seconds)
        finally:
            await self._duty.leave()

    async def tick(self) -> None:
        """Follow the feed, and tell whom it concerns, if the duty is ours. Raises StorageError."""
        if not await self._duty.ours():
            self._at, self._spells = None, {}
            return
        async with self._storage.read() as tx:
            newest = await events.settled(tx)
        if self._at is None:
            self._at = newest
        well: set[_Key] = set()
        for _ in range(_ROUNDS):
            if self._at >= newest:
                break
            async with self._storage.read() as tx:
                found = await events.of_forwards(tx, self._at, newest, _BATCH)
            for one in found:
                self._count(one, well)
            self._at = found[-1].id if len(found) == _BATCH else newest
        for key in well:
            await self._storage.write(lambda tx, key=key: self._mark(tx, key, None))  # type: ignore[misc]
        i = self._config.inbound
        now = self._clock.now()
        for key, spell in list(self._spells.items()):
            long = now - spell.since >= i.forward_alarm_hours * HOUR
            if not spell.notified and (spell.failed >= i.forward_alarm_failures or long):
                await self._alarm(key, spell)

    def _count(self, one: OfForward, well: set[_Key]) -> None:
        key = one.domain_id, str(one.data.get("recipient") or "")
        spell = self._spells.get(key)
        if one.type == SENT:
            if spell is not None:
                spell.arrived += 1
                if spell.late and spell.arrived < self._config.inbound.forward_alarm_failures:
                    return
                del self._spells[key]
            well.add(key)
            return
        if one.data.get("class") in _OF_THE_MESSAGE:
            return
        well.discard(key)
        spell = self._spells.setdefault(key, _Spell(one.at))
        spell.says, spell.arrived = str(one.data.get("reply") or "")[:_SAYS_MAX], 0
        spell.failed += one.type == BOUNCED
        spell.late = spell.late or bool(one.data.get("late"))

    async def _alarm(self, key: _Key, spell: _Spell) -> None:
        domain_id, mailbox = key
        async with self._storage.read() as tx:
            row = await rows.get(tx, domain_id)
            member = await accounts.by_id(tx, row.member_id) if row is not None else None
        if row is None or member is None or row.state == "deleted" or Options.read(row.options).forward_to != mailbox:
            del self._spells[key]
            return
        now, notes = self._clock.now(), Notes.of(row)
        join = None
        if not notes.forward_failing and now - notes.forward_told >= DAY and self._elsewhere(member.email, row):
            notice = texts.forwarding_fails(member.handle, row.name, row.id, mailbox, spell.says, self._config)
            try:
                join = await self._notices.prepare(member.email, notice, about=row.name)
            except NoticeLater:
                return  # the next turn asks again

        async def do(tx: Tx) -> None:
            if await self._mark(tx, key, spell, notified=join is not None) and join is not None:
                await join(tx)

        try:
            await self._storage.write(do)
        except NoticeLater:
            return
        spell.notified = True
        log.warning("forward.failing", domain=row.name, failed=spell.failed, mailed=join is not None)

    @staticmethod
    def _elsewhere(email: str, row: Row) -> bool:
        """Whether a letter to `email` goes another way than by the mailbox that fails."""
        options = Options.read(row.options)
        try:
            to = names.address(email)
        except BadName:
            return False
        by_us = options.replies and to.domain == row.name
        return not by_us and to.text.lower() != options.forward_to.lower()

    async def _mark(self, tx: Tx, key: _Key, spell: _Spell | None, *, notified: bool = False) -> bool:
        """Write what the domain's page says; False if it says so already, or another mailbox was named meanwhile."""
        domain_id, mailbox = key
        row = await rows.get(tx, domain_id, lock=True)
        if row is None or row.state == "deleted":
            return False
        options, was = Options.read(row.options), Notes.of(row)
        if options.forward_to != mailbox:
            return False
        if spell is None:
            after = replace(was, forward_failing=0.0, forward_says="")
        elif was.forward_failing:
            return False
        else:
            now = self._clock.now()
            after = replace(
                was, forward_failing=spell.since, forward_says=spell.says,
                forward_told=now if notified else was.forward_told,
            )
        if after != was:
            await rows.change(tx, domain_id, **columns(options, after))
            await versions.bump(tx, versions.DIRECTORY, domains=[domain_id])
        return after != was
