"""How long does a member's list of domains take? Many domains, a year of daily counters, then a million recipients.

    .venv/bin/python -m bench.domains [--engine postgresql] [--domains 1000] [--recipients 1000000]

The list is asked over HTTP in Octeth's shape, where it comes whole and with each domain's figures. What must hold on
SQLite: 1,000 domains in under 100 ms, and a million recipients in the log don't change that. What counts is the median
of the time that passes, the client's share included, so the machine should have nothing else to do. Beside it: the
first list after a start, for which nothing is remembered yet, and this process's processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import structlog
from aiohttp import ClientSession
from sqlalchemy import insert, text, update

import enroll.app as enrollment
from enroll.domains import Options
from posthouse.wiring import Core
from relay.base import keys
from relay.base.clock import Clock
from relay.base.config import Config, load
from relay.base.storage import Tx
from relay.base.storage.tables import daily_stats, dkim_keys, domains, members, messages
from relay.base.web import Listener, application
from tests.kit.storage import PostgresServer

LIMIT_MS = 100.0
_DAYS = 365
_ROUNDS = 15
_PURPOSES = (("_posthouse-challenge.", "ownership"), ("ph1r._domainkey.", "dkim_rsa"), ("sl.", "return_path"))
_RECIPIENTS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO recipients (message_id, member_id, domain_id, address, destination, state, held, next_at, expires_at,
                        attempts, says, settled_at, delay_told)
SELECT :message, :member, :domain, 'r' || i || '@example.net', 'example.net', 'sent', false, 0, 0, 1, '', 1, false
FROM n
"""


async def run(config: Config, count: int, recipients: int) -> int:
    """Fill, measure, fill the log, measure again; 0 when the list is quick enough both times."""
    async with await Core.open(config, Clock()) as core:
        member = await core.enroll.accounts.create("alice", "a@example.net", None, by_operator=True)
        key, _ = await core.enroll.credentials.issue(member.id)
        began = time.monotonic()
        domain_id = await core.storage.write(lambda tx: _domains(tx, member.id, count))
        _say(f"{count} domains with {_DAYS} days of counters each, filled in {time.monotonic() - began:.0f} s")
        app = application(config, core.clock, core.storage, routes=enrollment.routes(core.enroll),
                          translate=[enrollment.translate])  # fmt: skip
        listener = Listener(app, config, ["127.0.0.1:0"])
        await listener.start()
        # As serve does when it starts: what is there by now is never looked at again.
        await core.domains.overviews.prepare()
        gc.collect()
        gc.freeze()
        try:
            url = f"http://127.0.0.1:{listener.ports[0]}/api/v1/user.senderdomains"
            empty = await _measure(url, key, count, "an empty log")
            began = time.monotonic()
            await core.storage.write(lambda tx: _log(tx, member.id, domain_id, recipients))
            _say(f"{recipients} recipients in the log, filled in {time.monotonic() - began:.0f} s")
            full = await _measure(url, key, count, "a full log")
        finally:
            await listener.stop()
    limit = LIMIT_MS * count / 1000
    holds = max(empty, full) < limit
    _say(f"{'holds' if holds else 'FAILS'}: under {limit:.0f} ms for {count} domains, whatever the log holds")
    return 0 if holds or config.database.url.startswith("postgresql") else 1


async def _domains(tx: Tx, member_id: int, count: int) -> int:
    """So many verified domains, each looked at, with a year of counters; returns one's id."""
    rsa, ed = keys.generate_rsa(), keys.generate_ed25519()
    rsa_txt, ed_txt = keys.dkim_txt(rsa.algorithm, rsa.public), keys.dkim_txt(ed.algorithm, ed.public)
    options = Options(return_path=True, tracking=True).stored()
    await tx.execute(update(members).where(members.c.id == member_id).values(max_domains=count))
    called = {i: f"d{i}.members-{i % 50}.example" for i in range(1, count + 1)}
    await tx.execute(insert(domains), [
        {"id": i, "uuid": f"00000000-0000-4000-8000-{i:012d}", "member_id": member_id, "name": name,
         "state": "verified", "ownership_token": "t" * 32, "options": options | {"pending_since": i + 0.25},
         "created_at": 0.0,
         "first_verified_at": 0.0, "checked_at": 1.0,
         "flags": {prefix + name: True for prefix, _ in _PURPOSES},
         # What a look keeps of each record, in its usual size.
         "findings": [{"purpose": purpose, "name": prefix + name, "ok": True, "known": True, "required": True,
                       "found": [rsa_txt], "says": "as it should be " * 8} for prefix, purpose in _PURPOSES]}
        for i, name in called.items()
    ])  # fmt: skip
    await tx.execute(insert(dkim_keys), [
        {"domain_id": i, "stem": "ph1", "state": "live", "rsa_private": b"", "rsa_txt": rsa_txt, "ed_private": b"",
         "ed_txt": ed_txt, "created_at": 0.0, "state_at": 0.0} for i in called
    ])  # fmt: skip
    today = datetime.now(UTC)
    for ago in reversed(range(_DAYS)):
        day = (today - timedelta(days=ago)).strftime("%Y-%m-%d")
        await tx.execute(insert(daily_stats), [
            {"domain_id": i, "day": day, "member_id": member_id, "accepted": 100 + i * ago % 97, "delivered": 97 + i,
             "bounced": i % 5, "complaints": 0} for i in called
        ])  # fmt: skip
    return 1


async def _log(tx: Tx, member_id: int, domain_id: int, count: int) -> None:
    made = await tx.execute(insert(messages).values(
        queue_id="bench", member_id=member_id, domain_id=domain_id, door="http", mail_from="", category="bulk", size=1,
        smtputf8=False, return_path="", received_at=1.0, finished_at=time.time(),
    ).returning(messages.c.id))  # fmt: skip
    of = {"message": made.scalar_one(), "member": member_id, "domain": domain_id, "count": count}
    await tx.execute(text(_RECIPIENTS), of)


async def _measure(url: str, key: str, count: int, what: str) -> float:
    """Milliseconds that one list takes: the median of some after the first."""
    took, busy = [], []
    async with ClientSession() as http:
        for _ in range(1 + _ROUNDS):
            began, worked = time.perf_counter(), time.process_time()
            async with http.get(url, params={"APIKey": key}) as answer:
                body = await answer.read()
            took.append((time.perf_counter() - began) * 1e3)
            busy.append((time.process_time() - worked) * 1e3)
            assert answer.status == 200, body[:300]
            assert body.count(b'"DomainID"') == count
    first, *later = took
    _say(
        f"with {what}: {first:.0f} ms for the first, then {median(later):.0f} ({min(later):.0f} to {max(later):.0f}); "
        f"of processor time {busy[0]:.0f} and {median(busy[1:]):.0f}; {len(body) // 1024} KiB"
    )
    return median(later)


@contextmanager
def _settings(engine: str, folder: Path) -> Iterator[Config]:
    wanted = {"server": {"data_dir": folder}, "log": {"level": "warning"}}
    if engine == "sqlite":
        yield type(load(None, {})).model_validate(wanted)
        return
    server = PostgresServer()
    try:
        more = {"database": {"url": server.url(), "statement_timeout_seconds": 300.0}}
        yield type(load(None, {})).model_validate(wanted | more)
    finally:
        server.stop()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """The command."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    asked.add_argument("--domains", type=int, default=1000)
    asked.add_argument("--recipients", type=int, default=1_000_000)
    a = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="ph-bench-") as folder, _settings(a.engine, Path(folder)) as config:
        return asyncio.run(run(config, a.domains, a.recipients))


if __name__ == "__main__":
    raise SystemExit(main())
