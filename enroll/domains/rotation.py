"""The life of a DKIM pair: pending → live → retiring → removed.

A rotation puts a new pair beside the live one. Mail is signed with the old pair until the new one's records are
seen; then they change places in one transaction, and the old records stay published while mail signed with them
may still be under way: scheduled mail waits for up to `http.max_schedule_days` first. At the end the private halves
are overwritten and the owner is told to take the records down.

A hosted domain has two stems, published once as aliases into the relay's own zone, and its pairs take turns at them:
the owner need not touch DNS. The new pair takes over once it is seen through its alias and what resolvers may still
keep of that name has expired.

A new pair is made in a thread, and sealed before it is anywhere near the database.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from enroll.domains.model import HasStem, spare_stem
from enroll.errors import conflict
from relay.base.clock import DAY, Clock, iso
from relay.base.config import Config
from relay.base.domain_options import Notes, Options
from relay.base.keys import generate_ed25519, generate_rsa
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, mail, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import KeyRow, NewPair, Row

log = structlog.get_logger("domains")

_SUFFIX_BYTES = 3


def new_stem(now: float) -> str:
    """A selector stem: the day, so that people see its age, and a few random letters.

    The letters keep two members who enroll one name on one day from needing the same selector, where only one
    record may stand (RFC 6376 §3.6.2.2).
    """
    day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
    return f"ph{day}{base64.b32encode(os.urandom(_SUFFIX_BYTES)).decode().lower()[:4]}"


def two_stems(before: Sequence[str], pairs: Iterable[HasStem], now: float) -> tuple[str, ...]:
    """The two stems of a hosted domain: those that its live and pending pairs have, then earlier ones, then new ones.

    Two and no more, because their names are published once and for all; two and not one, because while keys change
    the old one must still be found by those who check mail signed with it, and only one key may stand at a selector.
    """
    used = [p.stem for state in ("live", "pending") for p in pairs if p.state == state]
    if len(before) == 2 and set(used) <= set(before):
        return tuple(before)
    return tuple(dict.fromkeys([*used, *before, new_stem(now), new_stem(now)]))[:2]


async def new_pair(vault: Vault, member_id: int, name: str, now: float, stem: str = "") -> NewPair:
    """An RSA-2048 and an Ed25519 pair under `stem` (else a fresh one), private halves sealed to member, name, stem,
    algorithm."""
    stem = stem or new_stem(now)
    # Making an RSA key takes some hundred milliseconds of CPU: never on the event loop.
    rsa, ed = await asyncio.to_thread(lambda: (generate_rsa(), generate_ed25519()))
    context = ("dkim", str(member_id), name, stem)
    return NewPair(
        stem,
        vault.seal(rsa.private, *context, "rsa"), rsa.txt,
        vault.seal(ed.private, *context, "ed25519"), ed.txt,
    )


class HasMade(HasStem, Protocol):
    """A DKIM pair, with when it was made (Unix seconds)."""

    @property
    def created_at(self) -> float:
        """When it was made."""
        ...


class Rotation:
    """Makes pairs and moves them on."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._making = asyncio.Semaphore(config.submission.signing_threads)

    async def make(self, member_id: int, name: str, stem: str = "") -> NewPair:
        """A new pair, made off the loop, few at once; under `stem`, or a fresh one."""
        async with self._making:
            return await new_pair(self._vault, member_id, name, self._clock.now(), stem)

    def hosted(self, options: Options) -> bool:
        """True when the pairs of a domain with these options take turns at two stems."""
        return options.hosted and bool(self._config.hosted_zone)

    def with_stems(self, options: Options, notes: Notes, pairs: Sequence[HasStem]) -> Notes:
        """`notes` with the two stems that a hosted domain needs; those of any other are left as they are."""
        if not self.hosted(options):
            return notes
        return replace(notes, stems=two_stems(notes.stems, pairs, self._clock.now()))

    def settled(self, options: Options, notes: Notes, pair: HasMade) -> bool:
        """True when nobody can still hold an older answer for the pair's selectors.

        A stem that had a key before may be remembered with it, one that had none as missing (RFC 2308 §5); mail
        signed with the new key must not be checked against either.
        """
        if not self.hosted(options) or pair.stem not in notes.stems:
            return True
        d = self._config.dns
        return self._clock.now() - pair.created_at >= max(d.hosted_ttl_seconds, d.hosted_negative_ttl_seconds)

    async def begin(self, row: Row) -> None:
        """Put a new pair beside the live one of `row`. Raises EnrollError 409 when there is nothing to rotate."""
        async with self._storage.read() as tx:
            stem = self._may_begin(row, (await rows.pairs(tx, [row.id])).get(row.id, []))
        pair = await self.make(row.member_id, row.name, stem)

        async def write(tx: Tx) -> None:
            fresh = await rows.get(tx, row.id, lock=True)
            if fresh is None:
                raise conflict("The domain is gone.")
            if self._may_begin(fresh, (await rows.pairs(tx, [row.id])).get(row.id, [])) != stem:
                raise conflict("The domain was changed meanwhile: rotate again.")
            now = self._clock.now()
            await rows.add_pair(tx, row.id, pair, now)
            # The clock looks soon, and the owner's next look is not answered from before the change.
            look = now + self._config.enrollment.recheck_pending_seconds
            due = look if fresh.next_check_at is None else min(look, fresh.next_check_at)
            waits = fresh.state == "verified"
            await rows.change(tx, row.id, checked_at=None, next_check_at=due if waits else fresh.next_check_at)
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])

        await self._storage.write(write)
        log.info("dkim.rotating", domain=row.name, domain_id=row.id, stem=pair.stem)

    async def promote(self, tx: Tx, member_id: int, pairs: list[KeyRow], pair_id: int, now: float) -> None:
        """Make one pair live, and what was live retire: as of the moment when the last mail that waits is due."""
        for pair in pairs:
            if pair.state == "live" and pair.id != pair_id:
                due = await mail.last_due(tx, member_id, pair.domain_id, self._config.delivery.max_age_seconds)
                await rows.set_pair_state(tx, pair.id, "retiring", max(now, due or now))
        await rows.set_pair_state(tx, pair_id, "live", now)

    async def remove_retired(self, limit: int = 100) -> int:
        """Destroy the private halves of pairs whose time is over; returns how many pairs."""
        before = self._clock.now() - self._config.enrollment.retiring_days * DAY
        async with self._storage.read() as tx:
            if not await rows.retired(tx, before, 1):
                return 0

        async def write(tx: Tx) -> int:
            found = await rows.retired(tx, before, limit)
            await rows.destroy_pairs(tx, [pair_id for _, pair_id in found], self._clock.now())
            await versions.bump(tx, versions.DIRECTORY, domains={domain_id for domain_id, _ in found})
            return len(found)

        return await self._storage.write(write)

    def _may_begin(self, row: Row, pairs: list[KeyRow]) -> str:
        """The stem for the new pair, "" for a fresh one. Raises EnrollError 409."""
        states = {pair.state for pair in pairs}
        if row.state in ("suspended", "blocked", "deleted"):
            raise conflict(f"The domain is {row.state}.")
        if "live" not in states:
            raise conflict("The domain has not been verified yet: its first keys are still new.")
        if "pending" in states:
            raise conflict("A rotation is under way: publish the new pair's records first.")
        if not self.hosted(Options.read(row.options)):
            return ""
        stem = spare_stem(Notes.of(row).stems, pairs)
        if not stem:
            leaves_at = max((p.state_at for p in pairs if p.state == "retiring"), default=self._clock.now())
            until = iso(leaves_at + self._config.enrollment.retiring_days * DAY)
            raise conflict(f"The pair before this one stays published until {until}: rotate after that.")
        return stem
