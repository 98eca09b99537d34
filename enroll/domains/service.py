"""`Domains`: everything that can be done with a domain, for pages, APIs, the command line and the clock alike."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from enroll import stats as figures
from enroll.domains.altering import altering
from enroll.domains.checking import TOKEN_BYTES, Checking, as_published, hosts_of, records_of
from enroll.domains.forwarding import Forwarding, round_trip
from enroll.domains.hosting import Hosting
from enroll.domains.lifecycle import LOCKED, By
from enroll.domains.listing import Overviews
from enroll.domains.model import Domain, Form, as_of, changed, load, load_one, with_chosen
from enroll.domains.reports import Reports, summary
from enroll.domains.rotation import Rotation
from enroll.domains.test_message import FirstTry, first_try, send_test
from enroll.errors import EnrollError, conflict, invalid, not_found, suspended
from enroll.records import Record, zone_file
from relay.base import events, names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.domain_options import OPTIONS, BadOption, Notes, Options, columns
from relay.base.events import Event
from relay.base.own_addresses import source_addresses
from relay.base.resolver import Resolver
from relay.base.secrets import Vault, random_id
from relay.base.storage import Storage, StorageError, Tx, dns_links, versions
from relay.base.storage import domains as rows
from relay.base.storage import events as event_log
from relay.base.storage import stats as counters
from relay.base.storage.domains import Row
from relay.directory import Directory
from relay.intake import Accepted, Intake
from relay.notices import Notices
from relay.replies import LIMIT_REACHED, NOT_POSSIBLE, Refused

log = structlog.get_logger("domains")
_FINISH_SECONDS = 60.0  # the clock finishes an enrollment whose process died
_OWN_ADDRESSES_SECONDS = 2.0  # a page waits no longer to know which are ours
_MAX_ID_DIGITS = 18
Result = TypeVar("Result")


class Domains:
    """A member's domains. Every call names the member; another member's domain is 404, as if it weren't there."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, *, resolver: Resolver, intake: Intake,
        directory: Directory, notices: Notices, forwarding: Forwarding,
    ) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._intake, self._directory, self._forwarding = intake, directory, forwarding
        self._resolver = resolver
        self._hosts, self.overviews = hosts_of(config), Overviews(storage, clock, config.octeth.max_list)
        self._hosting = Hosting(resolver, clock, cache_seconds=config.enrollment.dns_host_cache_seconds)
        self.rotation = Rotation(storage, config, clock, vault)
        self._checking = Checking(
            storage, config, clock, resolver, notices, self.rotation, self._hosting, changed=self._tell
        )

    # -- coming in -----------------------------------------------------------------------------------------------

    async def enroll(
        self, member_id: int, name: str, options: Mapping[str, Any] | None = None, *, basis: Options | None = None
    ) -> Domain:
        """Enroll `name` (any spelling) for a member; returns it with its keys made, as `pending`.

        Of a new one, options that aren't given have their values from `basis`. Enrolling one that is there is an
        `update` with the options given: nothing that is proved is lost. A deleted one comes back under its id with new
        keys and token. Raises EnrollError: 422 with the reason for a name or an option that can't be used, 403
        LIMIT_REACHED.
        """
        return (await self.enter(member_id, name, options, basis=basis))[0]

    async def enter(
        self, member_id: int, name: str, options: Mapping[str, Any] | None = None, *, basis: Options | None = None
    ) -> tuple[Domain, bool]:
        """`enroll`, and whether the domain is a new one."""
        try:
            name = names.enrollable(name)
        except names.BadName as e:
            raise invalid("name", f"This name can't be enrolled: {e.reason}.") from None
        given, mailbox = _without_mailbox(options or {})
        wanted = self._possible(basis or Options(), given)
        if mailbox:
            self._forwarding.possible(name, wanted, mailbox)
        domain_id, new = await self.commit(lambda tx: self._enter(tx, member_id, name, wanted, given))
        domain = await self.finish(domain_id)
        return (domain if mailbox is None else await self._forwarding.set(member_id, name, mailbox)), new

    async def begin(self, tx: Tx, member_id: int, name: str, options: Mapping[str, Any]) -> int | None:
        """Within the caller's transaction (see `commit`), enroll a name that can be enrolled, unless the member has it.

        Returns the id of a new domain, `initializing` until `finish`; None for one that is there. Raises as `enroll`.
        """
        row = await rows.of_member(tx, member_id, name)
        if row is not None and row.state != "deleted":
            return None
        wanted = self._possible(Options(), options)
        return (await self._enter(tx, member_id, name, wanted, options))[0]

    async def _enter(
        self, tx: Tx, member_id: int, name: str, wanted: Options, given: Mapping[str, Any]
    ) -> tuple[int, bool]:
        """The domain's id, and whether it is a new one."""
        await rows.hold_enrolling(tx, member_id)
        owner = await rows.owner(tx, member_id)
        if owner is None or owner.status == "deleted":
            raise not_found("No such member")
        if owner.status != "active":
            raise suspended("a suspended member can't enroll domains")
        row = await rows.of_member(tx, member_id, name, lock=True)
        if row is None or row.state == "deleted":
            limit = self._config.enrollment.max_domains if owner.max_domains is None else owner.max_domains
            if await rows.count(tx, member_id) >= limit:
                raise EnrollError(LIMIT_REACHED, f"At most {limit} domains can be enrolled.")
        now = self._clock.now()
        created = Event(events.DOMAIN_CREATED, member_id, now, data={"domain": name})
        if row is not None and row.state != "deleted":
            if row.state != "initializing":
                await self._change(tx, row, given)
            return row.id, False
        # Of a new domain no record was ever seen.
        noted = with_chosen(Notes(awaits=tuple(wanted.asks_for)), given)
        if wanted.default_sender:
            await self._no_other_default(tx, member_id)
        if row is None:
            domain_id = await rows.add(
                tx, uuid=str(uuid.uuid4()), member_id=member_id, name=name, token=random_id(TOKEN_BYTES),
                **columns(wanted, noted), now=now, next_check_at=now + _FINISH_SECONDS,
            )
            await versions.bump(tx, versions.DIRECTORY, domains=[domain_id])
            await event_log.append(tx, [replace(created, domain_id=domain_id)])
            return domain_id, True
        # A new life under the old id: nothing of the first one but the operator's tier outlives it.
        await rows.change(
            tx, row.id, state="initializing", reason="", ownership_token=random_id(TOKEN_BYTES),
            **columns(wanted, noted), created_at=now, first_verified_at=None, checked_at=None, asked_at=None,
            failing=0, findings=None, return_path_ok=False, deleted_at=None, next_check_at=now + _FINISH_SECONDS,
        )
        await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
        await event_log.append(tx, [replace(created, domain_id=row.id)])
        return row.id, True

    async def finish(self, domain_id: int) -> Domain:
        """Make the first keys of an `initializing` domain and move it to `pending`; any other is only read."""
        async with self._storage.read() as tx:
            row = await rows.get(tx, domain_id)
            if row is None or row.state != "initializing":
                return await load_one(tx, row)
        # Before a line is shown, the zone is looked at: what stands there must go on working.
        pair, findings = await asyncio.gather(
            self.rotation.make(row.member_id, row.name), self._checking.first_look(row)
        )

        async def write(tx: Tx) -> Domain:
            fresh = await rows.get(tx, domain_id, lock=True)
            if fresh is None or fresh.state != "initializing":
                return await load_one(tx, fresh)
            now = self._clock.now()
            await rows.add_pair(tx, domain_id, pair, now)
            options = Options.read(fresh.options)
            notes = await self._with_stems(tx, fresh, options, replace(Notes.of(fresh), pending_since=now))
            await rows.change(
                tx, domain_id, state="pending", findings=findings, **columns(options, notes),
                next_check_at=now + self._config.enrollment.recheck_pending_seconds,
            )
            await versions.bump(tx, versions.DIRECTORY, domains=[domain_id])
            return await load_one(tx, await rows.get(tx, domain_id))

        return await self.commit(write)

    # -- reading -------------------------------------------------------------------------------------------------

    async def list(self, member_id: int, *, after: int = 0, limit: int = 50) -> builtins.list[Domain]:
        """A member's domains with ids above `after`, by id."""
        async with self._storage.read() as tx:
            return await load(tx, await rows.page(tx, member_id, after=after, limit=limit))

    async def overview(self, member_id: int, *, limit: int) -> builtins.list[tuple[Domain, figures.Overview]]:
        """A member's domains by id, at most `limit`, each with its figures. Their `findings` are left out."""
        return await self.overviews.of(member_id, limit)

    async def get(self, member_id: int, key: int | str) -> Domain:
        """A member's domain by id, uuid or name. Raises EnrollError 404."""
        async with self._storage.read() as tx:
            return await load_one(tx, await self._row(tx, member_id, key))

    def records(self, domain: Domain, form: Form | None = None, *, recommended: bool = True) -> builtins.list[Record]:
        """What the owner must or (with `recommended`) should publish, in the form that was chosen for the domain, or in
        `form`: `txt`, or `cname` for aliases into the relay's own zone wherever one can stand."""
        wanted = records_of(domain, self._hosts, recommended=recommended)
        return as_published(domain, wanted, form)

    def zone(self, domain: Domain, form: Form | None = None) -> str:
        """The records as lines of a zone file (RFC 1035 §5), SPF merged into what was found at the last look."""
        return zone_file(self.records(domain, form))

    def as_of(self, domain: Domain) -> str:
        """How old its findings are, in words; "" while DNS has not been asked."""
        return as_of(max(0.0, self._clock.now() - domain.checked_at)) if domain.checked_at is not None else ""

    async def dns_host(self, domain: Domain) -> tuple[str, builtins.list[str]]:
        """(label of the DNS provider or `unknown`, name servers); never an error."""
        return await self._hosting.of(domain.name)

    async def stats(self, member_id: int, key: int | str, days: int | None = None) -> figures.Stats:
        """Figures of one domain over `days` (clamped to 1–365; None: 30)."""
        days = figures.clamp_days(days)
        now = self._clock.now()
        async with self._storage.read() as tx:
            domain = await load_one(tx, await self._row(tx, member_id, key))
            counted = await counters.days(tx, figures.needed_since(now, days), domain_id=domain.id)
        return figures.figures(counted, now, days)

    async def reports(self, member_id: int, key: int | str, days: int | None = None) -> Reports:
        """What receivers reported of one domain over `days` (clamped to 1–365; None: 30). Raises EnrollError 404."""
        days, now = figures.clamp_days(days), self._clock.now()
        own: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OWN_ADDRESSES_SECONDS):
                own = await source_addresses(self._config, self._resolver)
        async with self._storage.read() as tx:
            domain = await load_one(tx, await self._row(tx, member_id, key))
            return await summary(tx, domain.id, own, now, days)

    # -- checking ------------------------------------------------------------------------------------------------

    async def check(self, domain_id: int, *, by: By = "owner", fresh: bool = False) -> Domain:
        """Look at the domain's DNS and act on it (see `checking`), or answer from a look made just before unless a
        `fresh` one is asked for; returns it with its findings and their `age`."""
        domain = await self._checking.check((await self.finish(domain_id)).id, by=by, fresh=fresh)
        await self._tell()
        return domain

    async def check_all(
        self, member_id: int, names: Collection[str] | None = None
    ) -> tuple[builtins.list[Domain], bool]:
        """Check a member's pending domains, of those with one of `names` if given; as many as one call may (`batch`).

        Returns those that were checked, and whether others remain. Raises EnrollError, StorageError.
        """
        return await check_batch(self._storage, self._config, self._clock, self.check, member_id, names)

    # -- the owner's changes -------------------------------------------------------------------------------------

    async def update(self, member_id: int, key: int | str, changes: Mapping[str, Any]) -> Domain:
        """Change options. Where other records follow from it, what is proved goes on and what is new waits for its
        record; state, keys and token stay. Another `forward_to` is sent a code and used once that is repeated (see
        `Forwarding`). Raises EnrollError 422, 404; 429 and 503 for a mailbox."""
        return (await self.revise(member_id, key, changes))[0]

    async def revise(
        self, member_id: int, key: int | str, changes: Mapping[str, Any], *, enabled: bool | None = None
    ) -> tuple[Domain, bool]:
        """`update`, and with `enabled` `resume` or `pause` after it; all of it or nothing.

        Returns the domain, and whether other records followed. Raises EnrollError 422, 409, 404.
        """

        changes, mailbox = _without_mailbox(changes)
        asked = None
        if mailbox is not None:
            async with self._storage.read() as tx:
                row = await self._row(tx, member_id, key)
                domain = await load_one(tx, row)
            assert row is not None
            if mailbox != domain.options.forward_to:
                # Refused before a code is on its way.
                self._possible(domain.options, changes)
                asked = await self._forwarding.prepare(row, mailbox)

        async def write(tx: Tx) -> tuple[Domain, bool]:
            row = await self._owned(tx, member_id, key)
            anew = await self._change(tx, row, changes)
            if asked is not None:
                await self._forwarding.apply(tx, await self._owned(tx, member_id, row.id), asked)
            if enabled is not None:
                await self._flipped(tx, await self._owned(tx, member_id, row.id), enabled)
            return await load_one(tx, await rows.get(tx, row.id)), anew

        return await self.commit(write)

    async def _no_other_default(self, tx: Tx, member_id: int) -> None:
        for found in await rows.all_of_member(tx, member_id):
            if not Options.read(found.options).default_sender:
                continue
            # Options are written whole: under the lock, so that nothing set meanwhile is lost.
            row = await rows.get(tx, found.id, lock=True)
            if row is not None and row.state != "deleted":
                options = replace(Options.read(row.options), default_sender=False)
                await rows.change(tx, row.id, **columns(options, Notes.of(row)))
                await versions.bump(tx, versions.DIRECTORY, domains=[row.id])

    def _possible(self, before: Options, asked: Mapping[str, Any]) -> Options:
        """`before` with what is asked for, if this relay can do that. Raises EnrollError 422."""
        after = changed(before, asked)
        for name in asked:
            needs = OPTIONS[name].needs
            if needs and getattr(after, name) and not getattr(before, name) and not getattr(self._config, needs):
                raise invalid(name, "This relay has no zone for members' records: publish the records themselves.")
        return after

    async def _with_stems(self, tx: Tx, row: Row, options: Options, notes: Notes) -> Notes:
        """A hosted domain needs two stems: the live pair's, and the one that the next pair will have."""
        return self.rotation.with_stems(options, notes, (await rows.pairs(tx, [row.id])).get(row.id, []))

    async def _change(self, tx: Tx, row: Row, changes: Mapping[str, Any]) -> bool:
        """Apply options to a row whose keys are made; returns whether other records followed."""
        before = Options.read(row.options)
        after = self._possible(before, changes)
        notes = await self._with_stems(tx, row, after, with_chosen(Notes.of(row), changes))
        if after.replies and not before.replies and after.forward_to:
            round_trip(row.name, after.forward_to, self._directory, "replies")
        if after.default_sender and not before.default_sender:
            await self._no_other_default(tx, row.member_id)
        values, anew = altering(row, before, after, notes, now=self._clock.now(), config=self._config)
        if values:
            await rows.change(tx, row.id, **values)
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
        return anew

    async def pause(self, member_id: int, key: int | str) -> Domain:
        """Stop mail from a verified domain (`disabled`); records and history stay. Raises EnrollError 409, 404."""
        return (await self.revise(member_id, key, {}, enabled=False))[0]

    async def resume(self, member_id: int, key: int | str) -> Domain:
        """Let a paused domain send again, without asking DNS. Raises EnrollError 409, 404."""
        return (await self.revise(member_id, key, {}, enabled=True))[0]

    async def _flipped(self, tx: Tx, row: Row, enabled: bool) -> None:
        """Move a row between `verified` and `disabled`. A 409 names the state that forbids it."""
        was, to = ("disabled", "verified") if enabled else ("verified", "disabled")
        if row.state not in (was, to):
            text = f"The domain is {row.state}: only a {was} one can be changed to {to}."
            raise EnrollError(NOT_POSSIBLE, text, extra={"state": row.state})
        if row.state == was:
            now, event = self._clock.now(), events.DOMAIN_ENABLED if enabled else events.DOMAIN_DISABLED
            await rows.change(tx, row.id, state=to, next_check_at=now if enabled else None)
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
            await event_log.append(tx, [Event(event, row.member_id, now, row.id, data={"domain": row.name})])

    async def delete(self, member_id: int, key: int | str) -> None:
        """Delete softly: gone from every list, keys destroyed. Raises EnrollError 404; 409 while the operator's
        `suspended` or `blocked` stands."""

        async def write(tx: Tx) -> None:
            row = await self._owned(tx, member_id, key)
            if row.state in LOCKED:
                raise conflict(f"The domain is {row.state}; only the operator can lift that.")
            now = self._clock.now()
            pairs = (await rows.pairs(tx, [row.id])).get(row.id, [])
            await rows.destroy_pairs(tx, [p.id for p in pairs], now)
            await dns_links.end_all(tx, row.id, now)
            await rows.change(
                tx, row.id, state="deleted", deleted_at=now, next_check_at=None, findings=None, return_path_ok=False,
                tracking_ok=False,
            )
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
            data = {"domain": row.name}
            await event_log.append(tx, [Event(events.DOMAIN_DELETED, member_id, now, row.id, data=data)])

        await self.commit(write)

    async def rotate(self, member_id: int, key: int | str) -> Domain:
        """Make a new DKIM pair beside the live one; it takes over once its records are seen. Raises 409, 404."""
        async with self._storage.read() as tx:
            row = await self._row(tx, member_id, key)
            await load_one(tx, row)
        assert row is not None
        await self.rotation.begin(row)
        await self._tell()
        return await self.get(member_id, row.id)

    async def send_test(
        self, member_id: int, key: int | str, to: str, subject: str | None = None, *, local_part: str | None = None,
        message_id: str | None = None, beyond_tier: int = 0,
    ) -> Accepted:
        """Queue a test message in the domain's name (see `test_message`)."""
        domain = await self.get(member_id, key)
        return await send_test(
            self._intake, self._directory, self._config, domain, to, subject, local_part=local_part,
            message_id=message_id, beyond_tier=beyond_tier,
        )

    async def first_try(self, member_id: int, accepted: Accepted, *, seconds: float) -> FirstTry | None:
        """What became of the first try to deliver a message to its first recipient; None: none within `seconds`."""
        return await first_try(self._storage, member_id, accepted.recipients[0][1], seconds)

    # -- transactions and rows -----------------------------------------------------------------------------------

    async def commit(self, do: Callable[[Tx], Awaitable[Result]]) -> Result:
        """`do` in a transaction; after its commit, this process's relay sees the change at once."""
        result = await self._storage.write(do)
        await self._tell()
        return result

    async def _tell(self) -> None:
        try:
            await self._directory.refresh()
        except StorageError as e:
            # The change is committed; the directory looks by itself within the second.
            log.warning("directory.not_told", cause=str(e))

    async def _row(self, tx: Tx, member_id: int, key: int | str, *, lock: bool = False) -> Row | None:
        if isinstance(key, str):
            if key.isascii() and key.isdigit():
                key = int(key) if len(key) <= _MAX_ID_DIGITS else 0
            elif "." in key:
                try:
                    key = names.domain(key)
                except names.BadName:
                    return None
        return await rows.of_member(tx, member_id, key, lock=lock)

    async def _owned(self, tx: Tx, member_id: int, key: int | str) -> Row:
        row = await self._row(tx, member_id, key, lock=True)
        if row is None or row.state == "deleted":
            raise not_found("No such domain")
        return row


def _without_mailbox(changes: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The changes that can be made at once, and the mailbox that has to confirm, None for none."""
    mailbox = changes.get("forward_to")
    if mailbox is None:
        return changes, None
    try:
        mailbox = str(OPTIONS["forward_to"].check(mailbox))
    except BadOption as e:
        raise invalid(e.name, e.reason) from None
    return {name: value for name, value in changes.items() if name != "forward_to"}, mailbox


async def check_batch(
    storage: Storage, config: Config, clock: Clock, check: Callable[[int], Awaitable[Domain]], member_id: int,
    names: Collection[str] | None = None,
) -> tuple[list[Domain], bool]:
    """`check` a member's pending domains, at most `verify_batch`; of those checked within the cache time that look is
    the answer.

    With `names` (A-labels) all others are not there. Returns those that were checked, then those with an earlier look,
    and whether others remain: one that is deleted meanwhile is simply gone, one whose check fails for now remains.
    Raises what a check raised only if none succeeded, or if nobody foresaw it.
    """
    e, now = config.enrollment, clock.now()
    before = now - e.verify_cache_seconds
    async with storage.read() as tx:
        found = await rows.waiting(tx, member_id, config.octeth.max_list, names)
        cached = await load(tx, await rows.some(tx, [i for i, at in found if at is not None and at > before]))
    due = [i for i, at in found if at is None or at <= before]
    at_once = asyncio.Semaphore(e.recheck_concurrency)

    async def one(domain_id: int) -> Domain:
        async with at_once:
            return await check(domain_id)

    looks = await asyncio.gather(*(one(i) for i in due[: e.verify_batch]), return_exceptions=True)
    checked = [look for look in looks if isinstance(look, Domain)]
    failed = [look for look in looks if isinstance(look, BaseException) and not _gone(look)]
    for failure in failed:
        if not (checked and isinstance(failure, Refused | StorageError)):
            raise failure
        log.warning("domain.look_failed", member_id=member_id, cause=str(failure))
    earlier = [replace(domain, age=max(0.0, now - (domain.checked_at or now))) for domain in cached]
    return checked + earlier, bool(failed) or len(due) > e.verify_batch


def _gone(failure: BaseException) -> bool:
    return isinstance(failure, Refused) and failure.status == 404
