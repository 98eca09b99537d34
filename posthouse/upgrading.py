"""Trying an upgrade before it is made: on a copy of the schema and of the newest day, which nobody else sees.

The copy is brought up to this program's schema and timed; then the day's submissions are decided again, by this
program, and compared with what became of them. What has changed since (a domain paused, a key revoked, an address
suppressed) shows too: nobody can tell it from a rule that has changed, so each difference names its rule. Limits of
the hour and the day, and what hangs on a message's content, are not asked: contents are not copied.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posthouse.wiring import Core
from relay.base import names
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.storage import Storage, archive, migrate, operator_queries
from relay.base.storage.migrate import REVISION
from relay.base.storage.operator_queries import Submitted
from relay.directory import Login
from relay.intake import Recipient, Submission

_ASKED = frozenset({"sender", "from", "recipient", "recipients"})
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A message that was taken, and which rule would refuse it now."""

    queue_id: str
    sender: str
    rule: str
    says: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial has shown. `whole` and `seconds_whole`: of the whole database, the latter estimated."""

    schema: str
    wanted: str
    copied: int
    whole: int
    seconds: float
    seconds_whole: float
    decided: int
    differ: int
    differences: Sequence[Difference] = field(default_factory=tuple)


async def check(config: Config, clock: Clock) -> Trial:
    """Try it. Raises StorageError, SecretsError."""
    since = clock.now() - DAY
    with tempfile.TemporaryDirectory(prefix="posthouse-upgrade-") as folder:
        copy = _beside(config, Path(folder) / "copy.db")
        source = await Storage.open(config)
        try:
            into = await Storage.open(copy)
            try:
                sample = await archive.sample(source, into, since)
            finally:
                await into.close()
        finally:
            await source.close()
        began = time.perf_counter()
        await migrate(copy)
        took = time.perf_counter() - began
        decided, differences = await _decide(copy, clock, since)
    return Trial(
        schema=sample.revision, wanted=REVISION, copied=sample.copied, whole=sample.whole, seconds=took,
        seconds_whole=took * max(1.0, sample.whole / max(1, sample.copied)), decided=decided, differ=len(differences),
        differences=differences[:_SHOWN],
    )


def _beside(config: Config, path: Path) -> Config:
    """The same configuration over another database."""
    database = config.database.model_copy(update={"url": f"sqlite:///{path}"})
    return config.model_copy(update={"database": database})


async def _decide(copy: Config, clock: Clock, since: float) -> tuple[int, list[Difference]]:
    """Ask about each message again: (how many, what differs)."""
    found: list[Difference] = []
    async with await Core.open(copy, clock) as core:
        async with core.storage.read() as tx:
            submitted = await operator_queries.submitted(tx, since)
        for one in submitted:
            submission = _submission(core, one)
            if isinstance(submission, str):
                found.append(Difference(one.queue_id, one.mail_from, submission, ""))
                continue
            for gate in await core.intake.preflight(submission):
                if gate.name in _ASKED and gate.verdict is not None:
                    said = gate.verdict.saw or gate.verdict.wanted
                    found.append(Difference(one.queue_id, one.mail_from, gate.verdict.reply.name, said))
                    break
    return len(submitted), found


def _submission(core: Core, one: Submitted) -> Submission | str:
    """The message as far as it is known; or the rule that has no name of its own."""
    try:
        sender = names.address(one.mail_from) if one.mail_from else None
        people = [Recipient(names.address(a)) for a in one.recipients]
    except names.BadName:
        return "bad_address"
    login = Login(
        member_id=one.member_id, handle="", did="", key_id=one.key_id, public_id=one.public_id,
        scopes=frozenset({"send"}), domains=frozenset(one.domains) if one.domains is not None else None,
        default_category=one.default_category, null_sender=one.null_sender,
    )
    raw = f"From: <{one.header_from}>\r\nSubject: tried again\r\n\r\n".encode()
    return Submission(
        login=login, domain=None, door=one.door, mail_from=sender, recipients=people, raw=raw, category=one.category,
        smtputf8=True,
    )
