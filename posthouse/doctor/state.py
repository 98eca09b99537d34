"""Database, queue, workers, incidents; whether all that the master key sealed opens, and what needs a previous key."""

from __future__ import annotations

from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from posthouse.resealing import left
from posthouse.unlocking import look
from relay.base.clock import iso
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import (
    Storage,
    StorageDamaged,
    StorageError,
    archive,
    beside,
    events,
    operator_queries,
)
from relay.base.storage import (
    incidents as rows,
)
from relay.base.storage import (
    sites as site_rows,
)
from relay.base.storage.migrate import revision
from relay.standing.feed import INCIDENTS

_REFUSES_AFTER = 3  # signs without a success between them
_RESTORE = "stop the relay, then: posthouse restore FILE, into a new database"
_DUTIES = {"recheck": "recheck", "retention": "delivery", "standing": "delivery", "webhooks": "webhooks"}


async def database(patient: Patient) -> list[Finding]:
    """Whether it opens, has our schema, and is whole."""
    if patient.storage is None:
        fix = "posthouse migrate makes it; or correct database.url" if "not there yet" in patient.trouble else (
            "check that the database is running and that database.url is correct: posthouse check-config"
        )
        return [Finding("database", FAIL, f"can't be opened: {patient.trouble}", fix)]
    try:
        async with patient.storage.read() as tx:
            have, want = await revision(tx)
        broken = await archive.check(patient.storage) if have else []
    except StorageError as e:
        saw = f"can't be read: {str(e).partition(chr(10))[0][:200]}"
        fix = _RESTORE if isinstance(e, StorageDamaged) else "is the server up, the disk healthy, the user correct?"
        return [Finding("database", FAIL, saw, fix)]
    broken += [patient.storage.damage] if patient.storage.damage else []
    if broken:
        return [Finding("database", FAIL, "; ".join(broken[:3]), _RESTORE)]
    if have != want:
        return [Finding("database", WARN, f"schema {have or 'none'}, this program needs {want}", "posthouse migrate")]
    return [Finding("database", OK, f"intact, schema {want}"), *await _beside(patient, patient.storage)]


async def _beside(patient: Patient, storage: Storage) -> list[Finding]:
    """What keeps processes waiting for each other (PostgreSQL)."""
    try:
        async with storage.read() as tx:
            held, finished = await events.longest_open(tx), await beside.finished(tx)
    except StorageError:
        return []
    found = []
    if held is not None and held.seconds > patient.config.database.open_transaction_seconds:
        saw = f"backend {held.pid} ({held.application or 'no name'}) keeps a transaction open for {held.seconds:.0f} s"
        fix = f"webhooks and /v1/events may wait for it: SELECT pg_terminate_backend({held.pid})"
        found.append(Finding("transactions", WARN, saw, fix))
    if not finished:
        saw = "appending events still waits for programs of an older version"
        found.append(Finding("upgrade", WARN, saw, "posthouse upgrade --finish, when the last of them has ended"))
    return found


async def queue(patient: Patient) -> list[Finding]:
    """How old the oldest overdue recipient is."""
    health = await _health(patient)
    if health is None:
        return []
    saw = f"{health.open} waiting, {health.held} held, {health.overdue} due now"
    if health.oldest_due_at is None:
        return [Finding("queue", OK, saw)]
    late = patient.clock.now() - health.oldest_due_at
    saw += f", the oldest since {iso(health.oldest_due_at)}"
    fix = "posthouse serve --role delivery; then posthouse queue list"
    if late > patient.limits.overdue_fail:
        return [Finding("queue", FAIL, saw, fix)]
    if late > patient.limits.overdue_warn:
        return [Finding("queue", WARN, saw, fix)]
    return [Finding("queue", OK, saw)]


async def workers(patient: Patient) -> list[Finding]:
    """The running process's tasks; for others, whether the duties are taken."""
    if patient.tasks:
        dead = {name: why for name, why in patient.tasks.items() if why}
        if dead:
            saw = "; ".join(f"{name}: {why}" for name, why in dead.items())
            return [Finding("workers", FAIL, saw, "see the log; the task restarts automatically")]
        return [Finding("workers", OK, f"running: {', '.join(sorted(patient.tasks))}")]
    health = await _health(patient)
    if health is None:
        return []
    now = patient.clock.now()
    taken = {name for name, (_, until) in health.duties.items() if until > now}
    missing = [f"{duty} (role {role})" for duty, role in _DUTIES.items() if duty not in taken]
    if missing:
        saw = f"nobody is doing: {', '.join(missing)}"
        return [Finding("workers", WARN, saw, "posthouse serve, with these roles in one of its processes")]
    return [Finding("workers", OK, f"running: {', '.join(sorted(taken))}")]


async def incidents(patient: Patient) -> list[Finding]:
    """What other hosts blame this relay for."""
    if patient.storage is None:
        return []
    try:
        async with patient.storage.read() as tx:
            found = await rows.listing(tx, state=rows.OPEN)
    except StorageError:
        return []
    return [
        Finding(
            "incidents", WARN, f"{i.kind}, {i.count} times, last {iso(i.seen_at)}: {INCIDENTS.get(i.kind, '')}",
            f"posthouse incident show {i.id}; when fixed: posthouse incident close {i.id}",
        )
        for i in found
    ] or [Finding("incidents", OK, "no other host blames this relay")]


async def sites(patient: Patient) -> list[Finding]:
    """Receiving sites that take no mail, by our will or theirs."""
    if patient.storage is None:
        return []
    now = patient.clock.now()
    try:
        async with patient.storage.read() as tx:
            rows = await site_rows.listing(tx, 1000)
    except StorageError:
        return []
    held = [s.name for s in rows if s.held]
    refusing = [s for s in rows if not s.held and s.failures >= _REFUSES_AFTER]
    found = []
    if held:
        saw = f"paused by the operator: {', '.join(held[:5])}"
        found.append(Finding("sites", WARN, saw, f"posthouse site resume {held[0]}, when it is over"))
    if refusing:
        reported = [f"{s.name} has asked for less {s.failures} times in a row: {s.says[:120]}" for s in refusing[:3]]
        saw = "; ".join(reported)
        found.append(Finding("sites", WARN, saw, f"posthouse site show {refusing[0].name}"))
    paused = sum(s.paused_until > now for s in rows)
    return found or [Finding("sites", OK, f"{paused} paused, {len(rows) - paused} slowed")]


async def _health(patient: Patient) -> operator_queries.Health | None:
    if patient.storage is None:
        return None
    try:
        async with patient.storage.read() as tx:
            return await operator_queries.health(tx, patient.clock.now())
    except StorageError:
        return None


_KEY = "master key"


async def master_key(patient: Patient) -> list[Finding]:
    """Every sealed row is tried, so that a key taken out too early, or a wrong one, is seen at once."""
    config = patient.config
    path = config.master_key_path
    try:
        if patient.storage is not None:
            async with patient.storage.read() as tx:
                await look(config)(tx)
        if not path.exists() and not config.previous_key_paths:
            return [Finding(_KEY, WARN, f"{path} is not there yet", "posthouse serve makes it at the first start")]
        vault = Vault.load(path, config.previous_key_paths)
    except SecretsError as e:
        return [Finding(_KEY, FAIL, str(e), "fix [secrets] in the configuration: docs/operations.md, Master key")]
    if patient.storage is None:
        return []
    found = await left(patient.storage, vault, patient.clock.now())
    out = []
    if found.unreadable:
        some = "; ".join(found.unreadable[:3]) + ("; …" if len(found.unreadable) > 3 else "")
        out.append(Finding(
            _KEY, FAIL, f"{len(found.unreadable)} sealed rows open with no key at hand: {some}",
            "name the file of the key that was in use before in secrets.previous_key_files",
        ))
    if not vault.previous:
        if found.api_keys:
            out.append(Finding(
                _KEY, WARN, f"{found.api_keys} API keys were made with another master key and don't work",
                "name its file in secrets.previous_key_files until they have been used, or issue new keys",
            ))
        return out or [Finding(_KEY, OK, f"{vault.key_id} opens everything")]
    if rows := found.pairs + found.webhooks + found.factors:
        saw = f"{found.pairs} DKIM pairs and {found.webhooks} webhooks need a previous key"
        out.append(Finding(_KEY, WARN, f"{saw} ({rows} rows)", "posthouse master-key reseal"))
    if keys := found.api_keys + found.api_keys_unknown:
        out.append(Finding(
            _KEY, WARN, f"{keys} API keys have not been used since the change and need a previous key",
            "use them once, or issue new ones, before secrets.previous_key_files is emptied",
        ))
    return out or [Finding(
        _KEY, OK, f"{vault.key_id} opens everything; previous keys only read tokens that are out "
        f"(links up to {config.tracking.links_days} days after the change)",
    )]
