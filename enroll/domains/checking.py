"""Asking DNS about a domain and acting on it: the same function for the owner's button and for the clock.

1. read the domain; a look younger than the cache time answers again, but no failed one of the clock answers the owner
2. ask DNS, no transaction open
3. compare, and let `lifecycle` say what follows                         4. prepare the mail about it
5. one transaction writes findings, state, keys, event and mail, if nothing changed meanwhile; else the look is dropped
6. where tracked links shall carry the domain's own name: does that host answer?

The row is read once and written once; only a tracking host that answers otherwise than before is written after it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog

from enroll.dns_check import Finding, compare, observe
from enroll.domains.altering import leaving, left
from enroll.domains.hosting import Hosting
from enroll.domains.lifecycle import By, Features, Move, Rhythm, next_features, next_look, next_state, proved
from enroll.domains.model import (
    Domain,
    Form,
    KeyState,
    consent_for,
    domain_of,
    holders,
    lasting,
    noting,
    spare_stem,
)
from enroll.domains.rotation import Rotation
from enroll.domains.tracking_host import TrackingHosts
from enroll.errors import not_found
from enroll.records import BY_NAME, FEATURES, DomainView, Record, RelayHosts, hosted, required
from relay.base import events, metrics, names
from relay.base.clock import DAY, HOUR, Clock
from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.events import Event
from relay.base.resolver import Resolver
from relay.base.secrets import random_id
from relay.base.storage import Storage, Tx, dns_links, versions
from relay.base.storage import domains as rows
from relay.base.storage import events as event_log
from relay.base.storage.domains import KeyRow, Owner, Row
from relay.notices import About, Join, Notices, texts

log = structlog.get_logger("domains")
TOKEN_BYTES = 20  # 160 random bits
TAKEN = "another member has proved this domain"
_NOTHING_SHOWN = "No record is shown until then, because it could break an existing one: verify, then look again."


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `proof`: all required records at once; `next_pair`: those of a rotation's new pair; `features`:
    the record of each option that asks for one; `former`: that of a return path which serves until the new one is seen.
    Each True, False, or None where it could not be asked (or there is none)."""

    findings: list[dict[str, Any]]
    proof: bool | None
    next_pair: bool | None
    features: dict[str, bool | None]
    former: bool | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the required records that were found missing or different."""
        return tuple(f["name"] for f in self.findings if f["required"] and f["ok"] is False)


def hosts_of(config: Config) -> RelayHosts:
    """The relay's own names, as records point at them."""
    return RelayHosts(
        spf_host=config.spf_host, bounce_host=config.bounce_host, tracking_host=config.tracking_host,
        mx_host=config.mx_host, hosted_zone=config.hosted_zone, report_address=config.report_address,
        # In the relay's own zone stands what lets reports come: there it need not be looked for.
        dmarc_rua=config.dns.dmarc_report_to or (config.report_address if config.hosted_zone else "") or None,
    )


def records_of(domain: Domain, hosts: RelayHosts, *, recommended: bool = True) -> list[Record]:
    """What the owner must or should publish, those that the state depends on first; without `recommended` only those.

    Of two pairs only the live one's records are required; a rotation's new one and a retiring one are listed too.
    """
    return required(_view(domain), hosts, recommended=recommended)


def hosted_of(domain: Domain, hosts: RelayHosts) -> list[tuple[str, str, str]]:
    """(name, type, value) of what the relay's own zone holds for `domain`, whichever form its owner chose."""
    held = hosted(records_of(domain, hosts))
    standing = {name for name, _, _ in held}
    for purpose, label in left(domain.notes):
        name = f"{label}.{domain.uuid}.{hosts.hosted_zone}"
        if name not in standing:
            held.append((name, "CNAME", f"{BY_NAME[purpose].target(hosts)}."))
    return held


def as_published(domain: Domain, records: Sequence[Record], form: Form | None = None) -> list[Record]:
    """`records` as the owner enters them: in the form chosen (`form` instead, if given), and those that depend on what
    stands there as the last look found it. While that could not be asked no line of those is shown: a second SPF record
    makes both count for nothing, and a weaker policy may take a stronger one's place."""
    seen = {f.get("purpose"): f for f in domain.findings}
    out = []
    for record in records:
        if record.kind.merges:
            record = _merged(record, seen.get(record.purpose))
        by_alias = record.by_alias if form is None else form == "cname"
        out.append(record if not by_alias and not record.by_alias else record._replace(by_alias=by_alias).published)
    return out


def _merged(record: Record, finding: dict[str, Any] | None) -> Record:
    value, note = _to_enter(record, finding)
    # The relay's own zone has the recommended record and no other.
    return record._replace(value=value, note=note, alias=record.alias if value == record.value else "")


def _to_enter(record: Record, finding: dict[str, Any] | None) -> tuple[str, str]:
    if finding is None:
        return "", f"DNS has not been checked for an existing record yet. {_NOTHING_SHOWN}"
    if finding.get("enter"):
        return str(finding["enter"]), str(finding["note"])
    found = [str(value) for value in finding.get("found") or ()]
    if any(value.endswith("…") for value in found) or (finding["ok"] is None and not found):
        return "", f"The domain's name servers could not be asked. {_NOTHING_SHOWN}"
    # As an earlier version noted it, or as resolvers still know it.
    return record.kind.to_enter(record, found)


async def look(resolver: Resolver, domain: Domain, hosts: RelayHosts) -> Look:
    """Ask for every record of `domain` and compare. Trouble with DNS is in the findings, never an exception.

    A domain without a pair that could sign proves nothing, whatever else is found."""
    wanted = [r for r in records_of(domain, hosts) if not _of_pair(r, domain, "retiring")]
    findings = compare(wanted, await observe(resolver, wanted))
    before = {(f["purpose"], f["name"]): f for f in domain.findings}
    kept = [_kept(finding, record, before) for finding, record in zip(findings, wanted, strict=True)]
    new = domain.next_pair
    of_next = [f["ok"] for f in kept if new is not None and _names_pair(f["name"], new)]
    features = {FEATURES[f["purpose"]]: f["ok"] for f in kept if f["purpose"] in FEATURES}
    former = next((f["ok"] for f in kept if f["purpose"] == "former_return_path"), None)
    proof = proved(f["ok"] for f in kept if f["required"]) if domain.signing_pair is not None else None
    for finding in findings:
        status = {True: "right", False: "wrong", None: "no answer"}[finding.ok]
        metrics.DNS_CHECKS.labels(finding.purpose, status).inc()
    return Look(kept, proof, proved(of_next) if of_next else None, features, former)


def _kept(finding: Finding, record: Record, before: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """A finding as a row keeps it: `required`, `needed`, and `known`, the last answer that was one."""
    last = before.get((record.purpose, record.name), {}).get("known")
    known = finding.ok if finding.ok is not None else last
    servers = [asdict(one) | {"values": list(one.values), "cname": list(one.cname)} for one in finding.servers]
    return asdict(finding) | {
        "servers": servers, "required": record.required, "needed": record.needed, "known": known,
    }


def _view(domain: Domain) -> DomainView:
    o = domain.options
    return DomainView(
        name=domain.name, ownership_token=domain.ownership_token,
        keys=tuple((k.stem, k.rsa_txt, k.ed_txt, k.state) for k in domain.keys), options=o, uuid=domain.uuid,
        spare=spare_stem(domain.notes.stems, domain.keys) if o.hosted else "",
        proved=domain.first_verified_at is not None,
        former=domain.notes.former_subdomain if o.return_path and domain.return_path_ok else "",
        consent=domain.consent,
    )


def _of_pair(record: Record, domain: Domain, state: str) -> bool:
    return any(_names_pair(record.name, pair) for pair in domain.keys if pair.state == state)


def _names_pair(name: str, pair: KeyState) -> bool:
    return name.partition(".")[0] in (f"{pair.stem}r", f"{pair.stem}e")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is about to be written, and what it rests on."""

    seen: tuple[Any, ...]
    looked: Look
    move: Move
    now: float
    values: dict[str, Any]
    losers: dict[int, tuple[Row, Join]]
    joins: list[Join]
    paused: tuple[str, ...]
    complete: bool


class Checking:
    """Looks, one at a time for each domain."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, resolver: Resolver, notices: Notices,
        rotation: Rotation, hosting: Hosting, *, changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`changed`: told when the relay's directory has something new to read."""
        self._storage, self._config, self._clock, self._resolver = storage, config, clock, resolver
        self._notices, self._rotation, self._hosting = notices, rotation, hosting
        self._hosts = hosts_of(config)
        self._tracking, self._changed = TrackingHosts(storage, config, resolver), changed
        self._turns: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()
        e = config.enrollment
        self._rhythm = Rhythm(
            pending_first=e.recheck_pending_seconds, pending_longest=max(HOUR, e.recheck_pending_seconds),
            pending_for=e.recheck_pending_days * DAY, verified=e.recheck_verified_hours * HOUR,
        )

    async def check(self, domain_id: int, *, by: By, fresh: bool = False) -> Domain:
        """Look at one domain, or answer from a look younger than `verify_cache_seconds` (see `_in_grace`), unless a
        `fresh` one is asked for. `age` of the answer says how old the look is.

        Raises EnrollError 404 for no such domain; NoticeLater when mail that belongs to the change can't be taken
        now; StorageError.
        """
        turn = self._turns.setdefault(domain_id, asyncio.Lock())
        async with turn:
            row, keys, domain = await self._read(domain_id)
            now = self._clock.now()
            age = now - domain.checked_at if domain.checked_at is not None else None
            if domain.state == "initializing":
                return domain
            cached = age is not None and 0 <= age < self._config.enrollment.verify_cache_seconds and not fresh
            if cached and not (by == "owner" and _in_grace(domain)):
                domain = replace(domain, age=age)
                return await self._asked(domain, now) if by == "owner" else domain
            looked, provider = await asyncio.gather(
                look(self._resolver, domain, self._hosts), self._hosting.refreshed(row)
            )
            new = domain.next_pair
            if new is not None and not self._rotation.settled(domain.options, domain.notes, new):
                looked = replace(looked, next_pair=None)
            plan = await self._plan(row, keys, domain, looked, by)
            plan.values.update(provider)
            written = await self._storage.write(lambda tx: self._write(tx, row, plan))
            if written is None:
                log.info("domain.look_dropped", domain=row.name, domain_id=row.id)
                return (await self._read(domain_id))[2]
            if plan.move.state != row.state:
                log.info("domain.state", domain=row.name, domain_id=row.id, was=row.state, now=plan.move.state, by=by)
            after = domain_of(*written, domain.consent)
            if after.state == "verified" and after.options.tracking:
                # The state first: a proxy that fetches certificates on demand asks this relay whether it may.
                if self._changed is not None:
                    await self._changed()
                after = replace(after, tracking_ok=await self._tracking.look(written[0]))
            return replace(after, age=0.0)

    async def first_look(self, row: Row) -> list[dict[str, Any]]:
        """The findings about what may stand at a new domain already and its records have to be merged into; within
        `first_look_seconds`, and never an exception."""
        domain = domain_of(row, [])
        wanted = [record for record in records_of(domain, self._hosts) if record.kind.merges]
        seen = await observe(self._resolver, wanted, deadline_seconds=self._config.enrollment.first_look_seconds)
        return [_kept(finding, record, {}) for finding, record in zip(compare(wanted, seen), wanted, strict=True)]

    async def _asked(self, domain: Domain, now: float) -> Domain:
        """The owner asked, and the answer is an earlier look's."""
        await self._storage.write(lambda tx: rows.change(tx, domain.id, asked_at=now))
        return replace(domain, asked_at=now)

    async def _read(self, domain_id: int) -> tuple[Row, list[KeyRow], Domain]:
        async with self._storage.read() as tx:
            row = await rows.get(tx, domain_id)
            if row is None or row.state == "deleted":
                raise not_found("No such domain")
            keys = (await rows.pairs(tx, [row.id])).get(row.id, [])
            above = names.parents(row.name)
            return row, keys, domain_of(row, keys, consent_for(row, above, await holders(tx, [above])))

    async def _plan(self, row: Row, keys: list[KeyRow], domain: Domain, looked: Look, by: By) -> _Plan:
        """Decide what the look means and prepare the mail about it. Nothing is written."""
        now, e, options, notes = self._clock.now(), self._config.enrollment, domain.options, domain.notes
        recent = bool(domain.failing) and now - notes.failed_at < self._rhythm.verified / 2
        move = next_state(
            domain.state, looked.proof, by=by, failing=domain.failing, reason=domain.reason,
            failed_rechecks=e.failed_rechecks, counts=not recent,
            needs_approval=e.manual_approval and domain.first_verified_at is None and not notes.approved,
        )
        features = next_features(
            domain.features, looked.features, path=options.custom_subdomain, former=looked.former
        )
        notes = self._noted(domain, move, features, looked, now)
        values: dict[str, Any] = {
            "state": move.state, "reason": move.reason, "failing": move.failing, "findings": looked.findings,
            "checked_at": now, **columns(options, notes), "return_path_ok": bool(features.path),
            "tracking_ok": features.tracking,
            "next_check_at": self._next_look(domain, looked, move, notes, by, now),
        }
        if by == "owner":
            values["asked_at"] = now
        if move.state == "verified" and domain.first_verified_at is None:
            values["first_verified_at"] = now
        losers: dict[int, tuple[Row, Join]] = {}
        joins: list[Join] = []
        if move.state == "verified" and domain.state == "pending":
            losers = await self._losers(row)
        paused = _paused(domain, move, features)
        if move.notice is not None:
            joins.append(await self._tell(row, move.notice, [f for f in looked.findings if f["required"]]))
        if paused and by != "owner":
            joins.append(await self._tell(row, "paused", [f for f in looked.findings if _of(f) in paused]))
        complete = all(f["ok"] is True for f in looked.findings) and await self._untold(row.id, now)
        if complete and move.notice != "verified":
            joins.append(await self._tell(row, "complete", []))
        if move.state == "blocked" and domain.state == "pending" and self._config.server.operator_email:
            joins.append(await self._tell_operator(row))
        return _Plan(
            _state_of(row, keys), looked, move, now, values=values, losers=losers, joins=joins, paused=paused,
            complete=complete,
        )

    async def _untold(self, domain_id: int, now: float) -> bool:
        """Whether somebody was given a link to the records, of which the owner has not heard yet."""
        async with self._storage.read() as tx:
            return any(link.told_at is None for link in await dns_links.live(tx, domain_id, now))

    def _noted(self, domain: Domain, move: Move, features: Features, looked: Look, now: float) -> Notes:
        notes = leaving(
            noting(domain.notes, domain.options, features), domain.options, domain.options, domain.features, features,
            now=now, config=self._config,
        )
        if looked.proof is not None:
            notes = replace(notes, missing=looked.missing, regenerated=False)
        if move.state != "pending":
            notes = replace(notes, missing=(), lost_at=0.0)
        elif domain.state != "pending":
            notes = replace(notes, lost_at=now)
        fresh = set(features.awaits) - set(domain.notes.awaits)
        if (move.state == "pending" and domain.state != "pending") or (move.state == "verified" and fresh):
            notes = replace(notes, pending_since=now)
        if move.failing > domain.failing:
            notes = replace(notes, failed_at=now)
        return notes

    def _next_look(
        self, domain: Domain, looked: Look, move: Move, notes: Notes, by: By, now: float
    ) -> float | None:
        waited = None
        # Waits grow within one wait for records; a domain that has just fallen back begins with the shortest.
        unanswered = bool(notes.awaits) or (domain.options.tracking and not domain.tracking_ok)
        waiting = domain.state == move.state == "pending" or domain.next_pair is not None or unanswered
        if waiting and domain.next_check_at is not None and domain.checked_at is not None:
            waited = domain.next_check_at - domain.checked_at
        at = next_look(
            move.state, by=by, proof=looked.proof, now=now, waited=waited, pending_since=notes.pending_since,
            rhythm=self._rhythm,
        )
        if move.state == "verified" and domain.next_pair is not None and not looked.next_pair:
            # A new pair waits for its records as a new domain does.
            soon = next_look(
                "pending", by=by, proof=None, now=now, waited=waited, rhythm=self._rhythm,
                pending_since=domain.next_pair.created_at,
            )
            at = min(t for t in (at, soon) if t is not None)
        if move.state == "verified" and unanswered:
            # So does an option whose record has not been seen, and a tracking host that waits for its certificate.
            soon = next_look(
                "pending", by=by, proof=None, now=now, waited=waited, rhythm=self._rhythm,
                pending_since=notes.pending_since,
            )
            at = min(t for t in (at, soon) if t is not None)
        return at

    async def _losers(self, row: Row) -> dict[int, tuple[Row, Join]]:
        """Who holds the name until now, each with the mail that says that it is over."""
        async with self._storage.read() as tx:
            held = [r for r in await rows.holders(tx, [row.name]) if r.id != row.id]
            owners = {r.id: await rows.owner(tx, r.member_id) for r in held}
        found = {}
        for r in held:
            found[r.id] = (r, await self._notice("taken", r, owners[r.id], []))
        return found

    async def _tell(self, row: Row, kind: About, findings: list[dict[str, Any]]) -> Join:
        async with self._storage.read() as tx:
            owner = await rows.owner(tx, row.member_id)
        return await self._notice(kind, row, owner, findings)

    async def _notice(self, kind: About, row: Row, owner: Owner | None, findings: list[dict[str, Any]]) -> Join:
        to, handle = (owner.email, owner.handle) if owner else ("", "")
        notice = texts.domain(kind, row.name, handle=handle, config=self._config, findings=findings)
        return await self._notices.prepare(to, notice, about=row.name)

    async def _tell_operator(self, row: Row) -> Join:
        to = self._config.server.operator_email
        return await self._notices.prepare(to, texts.approval(row.name), about=row.name)

    async def _write(self, tx: Tx, row: Row, plan: _Plan) -> tuple[Row, list[KeyRow]] | None:
        """Write it all, or nothing when the ground has moved. Returns the row and its pairs as written; None: not."""
        # Everybody's rows of the name are locked, in the order of their ids: proofs of one name take turns.
        fresh = {r.id: r for r in await rows.named(tx, row.name, lock=True)}
        keys = (await rows.pairs(tx, [row.id])).get(row.id, [])
        if row.id not in fresh or _state_of(fresh[row.id], keys) != plan.seen:
            return None
        verified = plan.move.state == "verified"
        if verified and row.state == "pending":
            holders = {i for i, r in fresh.items() if r.state in rows.HELD and i != row.id}
            if holders != plan.losers.keys():
                return None
        happened: list[Event] = []
        promoted = await self._promote(tx, row.member_id, keys, plan) if verified else False
        await rows.change(tx, row.id, **plan.values)
        for at, (_, join) in plan.losers.items():
            # As it stands under the lock: its owner may have set options since the look began.
            loser = fresh[at]
            await self._take(tx, loser, plan.now)
            data = {"domain": loser.name, "reason": TAKEN}
            happened.append(Event(events.DOMAIN_LOST, loser.member_id, plan.now, loser.id, data=data))
            await join(tx)
        if plan.move.event is not None:
            data = {"domain": row.name} | ({"reason": plan.move.reason} if plan.move.reason else {})
            happened.append(Event(plan.move.event, row.member_id, plan.now, row.id, data=data))
        if plan.paused:
            wrong = [f["name"] for f in plan.looked.findings if _of(f) in plan.paused]
            data = {"domain": row.name, "reason": f"missing or different: {', '.join(wrong)}"}
            data["options"] = list(plan.paused)  # type: ignore[assignment]
            happened.append(Event(events.DOMAIN_FAILING, row.member_id, plan.now, row.id, data=data))
        for join in plan.joins:
            await join(tx)
        if plan.complete:
            await dns_links.notified(tx, row.id, plan.now)
        # Findings and times are nobody's business but enroll's: the relay's snapshots need not be read again.
        if promoted or _shown(row) != _shown(row._replace(**plan.values)):
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id, *plan.losers])
        await event_log.append(tx, happened)
        if promoted:
            keys = (await rows.pairs(tx, [row.id])).get(row.id, [])
        return fresh[row.id]._replace(**plan.values, flags=rows.flags_of(plan.looked.findings)), keys

    async def _promote(self, tx: Tx, member_id: int, keys: list[KeyRow], plan: _Plan) -> bool:
        """Make the pair live whose records have been seen: the first one, or a rotation's new one."""
        pending = [k for k in keys if k.state == "pending"]
        rotating = any(k.state == "live" for k in keys)
        if not pending or not (plan.looked.next_pair if rotating else plan.looked.proof):
            return False
        await self._rotation.promote(tx, member_id, keys, pending[-1].id, plan.now)
        return True

    async def _take(self, tx: Tx, loser: Row, now: float) -> None:
        """Back to pending, under a new token: what is still in DNS for the old owner proves nothing any more, so
        the clock can't swing the name back and forth."""
        notes = replace(Notes.of(loser), pending_since=now, lost_at=now, missing=())
        await rows.change(
            tx, loser.id, state="pending", reason=TAKEN, failing=0, findings=lasting(loser.findings), checked_at=None,
            return_path_ok=False, tracking_ok=False, ownership_token=random_id(TOKEN_BYTES),
            **columns(Options.read(loser.options), notes),
            next_check_at=now + self._config.enrollment.recheck_pending_seconds,
        )


def _state_of(row: Row, keys: list[KeyRow]) -> tuple[Any, ...]:
    """What a look rests on; if any of it changed meanwhile, the look says nothing about the domain as it is now."""
    return (
        row.state, row.ownership_token, row.options, row.notes, row.checked_at, row.failing, row.tier,
        tuple((k.id, k.state) for k in keys),
    )


def _in_grace(domain: Domain) -> bool:
    """Whether the last look was the clock's and a failed one stands: the owner's own look gives no grace."""
    unasked = domain.checked_at is not None and (domain.asked_at or 0.0) < domain.checked_at
    return domain.state == "verified" and domain.failing > 0 and unasked


def _of(finding: dict[str, Any]) -> str:
    """The option that asks for this record, "" for none."""
    return FEATURES.get(finding["purpose"], "")


def _paused(domain: Domain, move: Move, features: Features) -> tuple[str, ...]:
    """The options of a sending domain whose feature was in use until this look, which found its record gone."""
    if not domain.state == move.state == "verified":
        return ()
    return tuple(name for name in features.awaits if name not in domain.notes.awaits)


def _shown(row: Row) -> tuple[Any, ...]:
    """What the relay's snapshot has of a row that a look may change."""
    return row.state, row.reason, row.return_path_ok, row.tracking_ok, row.options, row.notes
