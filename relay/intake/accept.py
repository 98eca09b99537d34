"""`Intake`: listeners call it once with the whole message; it returns when the message is on disk, or a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from relay import replies
from relay.base import metrics
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault, random_id
from relay.base.storage import Storage, StorageError, StorageFull, Tx, mail
from relay.base.storage.mail import Due
from relay.directory import Directory, MemberEntry
from relay.intake.build import Builder, Keyring
from relay.intake.preflight import Check, Receivers, preflight
from relay.intake.submission import Accepted, Built, Submission
from relay.intake.write import Writer
from relay.message import Bounds
from relay.policy import Policy
from relay.queue import Handoff, Ready
from relay.replies import Verdict
from relay.suppression import Suppressions
from relay.tracking import Rewriter
from relay.unsubscribe import Unsubscribe

log = structlog.get_logger()
_SECONDS = 5.0
_TIMES = 20  # so many times as long as a count took, until the next one


class Waiting:
    """How many recipients wait, in all and of each member: a count some seconds old, for the bounds of the queue.

    Nobody waits for it but the first: while the next one is made, the last one serves. It is made the more rarely the
    longer it takes, so that a full queue isn't counted all the time.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock = storage, clock
        self._total = 0
        self._of_members: dict[int, int] | None = None
        self._next_at = float("-inf")
        self._first = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def of(self, member_id: int) -> tuple[int, int]:
        """(recipients waiting, those of this member). Raises StorageError until there is a count."""
        if self._of_members is None:
            async with self._first:
                if self._of_members is None:
                    await self._count()
        elif self._clock.monotonic() >= self._next_at and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._again(), name="count-waiting")
        return self._total, (self._of_members or {}).get(member_id, 0)

    async def _again(self) -> None:
        try:
            await self._count()
        except StorageError as e:
            log.warning("intake.not_counted", cause=str(e))

    async def _count(self) -> None:
        began = self._clock.monotonic()
        self._next_at = began + _SECONDS
        async with self._storage.read() as tx:
            self._total, self._of_members = await mail.queued(tx)
        ended = self._clock.monotonic()
        self._next_at = max(self._next_at, ended + _TIMES * (ended - began))

    async def close(self) -> None:
        """Wait for the count under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


_HEADS_INLINE = 4  # so many signed heads are made on the event loop, more go to a thread


class Intake:
    """Accepts messages. `handoff` is this process's delivery worker's, or None where it has none."""

    def __init__(
        self, *, storage: Storage, directory: Directory, policy: Policy, suppressions: Suppressions,
        unsubscribe: Unsubscribe, vault: Vault, config: Config, clock: Clock, owner: str,
        handoff: Handoff | None = None,
    ) -> None:
        self._storage, self._directory, self._policy, self._config, self._clock = (
            storage, directory, policy, config, clock
        )
        self._suppressions = suppressions
        self._builder = Builder(
            policy, Keyring(vault, config), unsubscribe, Rewriter(vault, config, unsubscribe), config
        )
        self._writer = Writer(config, clock, owner, directory, suppressions)
        self._handoff = handoff
        self._threads = ThreadPoolExecutor(config.submission.signing_threads, thread_name_prefix="signing")
        self._full_until = float("-inf")
        self._waiting = Waiting(storage, clock)

    @property
    def bounds(self) -> Bounds:
        """The bounds on a message, the same for SMTP and HTTP."""
        return self._builder.bounds

    async def accept(self, submission: Submission) -> Accepted | Verdict:
        """Take a message. `Accepted`: it is on disk. Raises nothing but CancelledError, which undoes nothing."""
        reference = ""
        await self.keep_pace([submission])
        try:
            built = await self.prepare(submission)
            if isinstance(built, Verdict):
                return built
            taken = await asyncio.shield(asyncio.ensure_future(self._commit(built)))
            if isinstance(taken, Accepted):
                metrics.ACCEPTED.labels(submission.door).inc()
                metrics.TAKEN.labels(submission.door).inc(len(taken.recipients))
            return taken
        except StorageFull as e:
            self.found_full(e)
            return Verdict(replies.DISK_FULL)
        except StorageError as e:
            log.error("storage.unavailable", cause=str(e))
            return Verdict(replies.UNAVAILABLE)
        except Exception:
            reference = random_id(6)
            log.exception("intake.failed", reference=reference)
        return Verdict(replies.INTERNAL, reference=reference)

    @property
    def full(self) -> bool:
        """Whether the disk was full a moment ago: nobody need send a message to hear so again. It ends by itself."""
        return self._clock.monotonic() < self._full_until

    def found_full(self, error: StorageFull) -> None:
        """Somebody couldn't write what came from outside."""
        log.error("storage.full", cause=str(error))
        self._full_until = self._clock.monotonic() + self._config.submission.full_disk_seconds

    async def keep_pace(self, submissions: Sequence[Submission]) -> None:
        """Before messages are prepared: not faster than this process's worker can carry them, where it does."""
        if self._handoff is not None:
            due_now = [s for s in submissions if s.send_at is None]
            await self._handoff.keep_pace([r.address.domain for s in due_now for r in s.recipients])

    async def prepare(self, submission: Submission) -> Built | Verdict:
        """The checked and signed message, no transaction open. Raises StorageError."""
        member = self._member(submission)
        if member is None:
            return Verdict(replies.UNAVAILABLE)
        full = await self._full(member.id, len(submission.recipients))
        if full is not None and (submission.login is not None or submission.forward is not None):
            return full
        now = self._clock.now()
        inline = self._config.submission.sign_inline_bytes
        if self._builder.rewrites(submission):
            inline = min(inline, self._config.tracking.inline_bytes // len(submission.recipients))
        small = len(submission.raw) < inline
        if small and len(submission.recipients) <= _HEADS_INLINE:
            return self._builder.build(submission, member, now)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._builder.build, submission, member, now)

    async def write(self, tx: Tx, built: Built) -> Accepted | Verdict:
        """Join a caller's transaction: a notice and the change it tells of commit together."""
        return (await self.write_all(tx, [built]))[0]

    async def write_all(self, tx: Tx, built: list[Built]) -> list[Accepted | Verdict]:
        """The same, for messages that come together; one result each, in order. What one of them refuses, the caller
        may undo for all."""
        return await self._writer.apply(tx, built)

    def wake(self) -> None:
        """After a caller's commit: this process's worker looks into the tables now, not at its next round."""
        if self._handoff is not None:
            self._handoff.waiting()

    async def preflight(self, submission: Submission, receivers: Receivers | None = None) -> list[Check]:
        """Every check with verdict and evidence, and those of `receivers`; nothing is written or spent."""
        return await preflight(
            submission, self._policy, self._builder, self._storage, self._config, self._clock, receivers=receivers
        )

    async def close(self) -> None:
        """Stop the signing threads."""
        await self._waiting.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _member(self, submission: Submission) -> MemberEntry | None:
        if submission.login is not None:
            return self._directory.member(submission.login.member_id)
        if submission.forward is not None:
            return self._directory.member(submission.forward.domain.member_id)
        return self._directory.system_member()

    async def _commit(self, built: Built) -> Accepted | Verdict:
        """Write, then hand over to this process's worker. Runs to its end whoever waits."""
        handoff, s = self._handoff, built.submission
        if handoff is None:
            return await self._storage.together(self._writer.apply, built)
        destinations = [r.address.domain for r in s.recipients]
        now_due = s.send_at is None or s.send_at <= built.now
        reserved = now_due and handoff.reserve(built.member_id, destinations, built.size)
        if reserved:
            built.leased_at = self._clock.monotonic(), self._clock.now()
            built.lease_until = built.leased_at[1] + handoff.lease_seconds
        result: Accepted | Verdict | None = None
        try:
            result = await self._storage.together(self._writer.apply, built)
            return result
        finally:
            if not reserved:
                handoff.waiting(built.member_id)
            elif isinstance(result, Accepted):
                kept = {a for a, _ in result.recipients}
                left = [r.address.domain for r in s.recipients if r.address not in kept]
                handoff.unreserve(built.member_id, left, built.size)
                handoff.put(_ready(built, result, self._config), built.size)
            else:
                handoff.unreserve(built.member_id, destinations, built.size)

    async def _full(self, member_id: int, recipients: int) -> Verdict | None:
        """The bound on the queue, from a count that is a few seconds old."""
        total, of_member = await self._waiting.of(member_id)
        d = self._config.delivery
        if total + recipients > d.max_queued or of_member + recipients > d.max_queued_a_member:
            return Verdict(replies.QUEUE_FULL)
        return None


def _ready(built: Built, accepted: Accepted, config: Config) -> list[Ready]:
    """The committed recipients as the worker takes them; the same facts as `mail.claim` would load."""
    s = built.submission
    due_at = max(built.now, s.send_at or built.now)
    path = "" if s.mail_from is None else (built.signer.return_path if built.signer else "") or config.bounce_host
    by_address = {r.address: (i, r) for i, r in enumerate(s.recipients)}
    ready = []
    for address, recipient_id in accepted.recipients:
        i, r = by_address[address]
        due = Due(
            id=recipient_id, message_id=accepted.message_id, member_id=built.member_id,
            domain_id=built.signer.id if built.signer else None, address=address.text, destination=address.domain,
            attempts=0, expires_at=due_at + config.delivery.max_age_seconds, notify=r.notify, orcpt=r.orcpt,
            queue_id=built.queue_id, mail_from=s.mail_from.text if s.mail_from else "", return_path=path,
            envid=s.envid, ret=s.ret, smtputf8=s.smtputf8, size=built.size, received_at=built.now, delay_told=False,
            door=s.door, category=built.category, key_id=s.login.key_id if s.login else None,
            tls_required=built.tls_required,
        )
        ready.append(Ready(due, built.heads.get(i, built.shared), built.content, built.leased_at, checked=True))
    return ready
