"""The clean-up: what is past its time goes, in slices, at a cost that has nothing to do with what stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text, update

from relay.base.clock import DAY, HOUR, utc_day
from relay.base.config import Config
from relay.base.storage import Storage, StorageError, Tx, allowances, mail, space, versions
from relay.base.storage.tables import (
    aggregate_reports,
    attempts,
    audit,
    bodies,
    destinations,
    dmarc_days,
    dns_links,
    domains,
    events,
    idempotency,
    incidents,
    invites,
    members,
    messages,
    recipients,
    refusals,
    sessions,
    standing_counts,
    standing_failures,
    sts_policies,
    suppressions,
    tls_days,
    tls_reports,
    tls_sessions,
    transmission_contents,
    transmission_recipients,
    transmissions,
    webhook_deliveries,
    webhooks,
)
from relay.base.storage.tables import allowances as spent
from relay.retention import Retention
from tests.kit.clock import HandClock
from tests.kit.storage import made

NOW = 1_800_000_000.0
LONG_AGO = NOW - 40 * DAY
N = 25


@pytest.fixture
def few(config: Config) -> Config:
    """Slices of four rows at most."""
    return config.model_copy(update={"retention": config.retention.model_copy(update={"purge_rows": 4})})


@pytest.fixture
async def full(few: Config) -> AsyncIterator[Storage]:
    """`N` rows past their time in every table that is cleaned up, and one that is not."""
    await made(few)
    storage = await Storage.open(few)
    await storage.write(_fill)
    yield storage
    await storage.close()


async def _fill(tx: Tx) -> None:
    gone = (
        await tx.execute(insert(members).values(handle="gone", did="did:gone", status="deleted", created_at=NOW))
    ).inserted_primary_key[0]
    hook = (
        await tx.execute(
            insert(webhooks).values(
                public_id="w", member_id=gone, url="", types=[], secret=b"", state="live", cursor=0, created_at=NOW
            )
        )
    ).inserted_primary_key[0]
    site = (
        await tx.execute(
            insert(domains).values(
                uuid="u", member_id=gone, name="d.test", state="pending", ownership_token="", options={}, created_at=NOW
            )
        )
    ).inserted_primary_key[0]
    for n in range(N + 1):
        at = LONG_AGO if n < N else NOW
        await tx.execute(
            insert(audit).values(
                # It has a time of its own, longer than the log's.
                at=at if n == N else at - 4000 * DAY, actor="operator", who="", address="", action="x", subject="",
                before={}, after={},
            )
        )
        await tx.execute(
            insert(dns_links).values(domain_id=site, nonce=f"n{n}", created_at=at, expires_at=at + HOUR)
        )
        await tx.execute(insert(messages).values(_message(n, at)))
        await tx.execute(insert(bodies).values(message_id=n + 1, head=b"h", body=b"b"))
        await tx.execute(insert(recipients).values(_recipient(n, at)))
        await tx.execute(insert(attempts).values(recipient_id=n + 1, at=at, kind="delivered"))
        await tx.execute(insert(events).values(at=at, type="sent", member_id=1, data={}))
        await tx.execute(insert(refusals).values(id=f"r{n}", at=at, door="smtp", rule="x", verdict={}))
        await tx.execute(insert(destinations).values(domain=f"d{n}.test", site="mx.d.test", seen_at=at))
        await tx.execute(insert(idempotency).values(member_id=1, name=f"k{n}", body_hash="", at=at))
        await tx.execute(insert(spent).values(domain_id=n, at=at, n=1))
        await tx.execute(insert(standing_counts).values(member_id=n, at=at))
        await tx.execute(insert(standing_failures).values(member_id=n, kind="failed", who=b"w", domain=b"d", at=at))
        await tx.execute(
            insert(sessions).values(
                token_hash=f"t{n}", member_id=gone, csrf="", created_at=at, seen_at=at, expires_at=at + HOUR
            )
        )
        await tx.execute(insert(invites).values(code_hash=f"c{n}", created_at=at, expires_at=at + HOUR))
        await tx.execute(
            insert(incidents).values(
                kind="x", state="closed", opened_at=at, seen_at=at, closed_at=at, count=1, examples=[]
            )
        )
        await tx.execute(
            insert(webhook_deliveries).values(
                webhook_id=hook, type="sent", state="delivered", next_at=at, created_at=at, expires_at=at
            )
        )
        await tx.execute(
            insert(suppressions).values(
                member_id=gone if n < N else gone + 1, canonical=f"a{n}@b.test", original="", reason="manual",
                created_at=NOW,
            )
        )
        await tx.execute(
            insert(sts_policies).values(
                domain=f"d{n}", policy_id="", mode="none", mx=[], max_age=1, fetched_at=at, used_at=at,
                expires_at=at + HOUR,
            )
        )
        counted = {"day": utc_day(at), "domain": f"d{n}"}
        await tx.execute(
            insert(tls_sessions).values(
                **counted, policy="sts", policy_hash="", result="", mx="", ip="", source="", said={}, n=1
            )
        )
        await tx.execute(
            insert(transmissions).values(
                uuid=f"u{n}", member_id=gone, domain_id=1, kind="MARKETING", subject="", sender_name="",
                sender_address="", body_hash="", created_at=at,
            )
        )
        await tx.execute(insert(transmission_recipients).values(transmission_id=n + 1, position=0, address="c@d.test"))
        await tx.execute(insert(transmission_contents).values(transmission_id=n + 1, html="<p>", created_at=at))
        of = {"domain_id": n + 1, "day": utc_day(at), "reporter": "far.test"}
        await tx.execute(
            insert(aggregate_reports).values(**of, kind="dmarc", proved="far.test", report_id="1", received_at=at)
        )
        await tx.execute(
            insert(dmarc_days).values(
                **of, proved=True, address="192.0.2.1", dkim=True, spf=True, disposition="none", signed_by="", n=1
            )
        )
        await tx.execute(insert(tls_days).values(**of, proved=True, policy="sts", result="success", host="", n=1))
        await tx.execute(insert(tls_reports).values(**counted, state="sent", next_at=at, report_id="", sent_to=[]))
        await versions.bump(tx, versions.DIRECTORY, members=[gone])


def _message(n: int, at: float) -> dict[str, Any]:
    return {
        "id": n + 1, "queue_id": f"q{n}", "member_id": 1, "door": "smtp", "mail_from": "a@b.test", "category": "bulk",
        "size": 2, "smtputf8": False, "return_path": "b.test", "received_at": at, "finished_at": at, "has_bytes": True,
    }


def _recipient(n: int, at: float) -> dict[str, Any]:
    return {
        "id": n + 1, "message_id": n + 1, "member_id": 1, "address": "c@d.test", "destination": "d.test",
        "state": "sent", "next_at": at, "expires_at": at, "settled_at": at,
    }


TABLES = (
    messages, recipients, attempts, events, refusals, idempotency, spent, standing_counts, standing_failures,
    sessions, invites, incidents, webhook_deliveries, suppressions, sts_policies, tls_sessions, tls_reports,
    destinations, transmissions, transmission_recipients, transmission_contents,
    aggregate_reports, dmarc_days, tls_days, audit, dns_links,
)


async def _counts(storage: Storage) -> list[int]:
    async with storage.read() as tx:
        return [int(await tx.scalar(select(func.count()).select_from(t)) or 0) for t in (*TABLES, bodies)]


async def test_what_is_past_its_time_goes_in_slices_and_nothing_else(
    full: Storage, few: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_KEPT", 1)
    removed = await Retention(full, few, HandClock(NOW), "me").once()
    assert removed == dict.fromkeys(
        ("messages", "events", "webhooks", "refusals", "idempotency", "allowances", "standing", "failures", "sessions",
         "invites", "incidents", "changes", "suppressions", "sts_policies", "tls_sessions", "tls_reports",
         "sites", "contents", "transmissions", "audit", "dns_links"), N,
    ) | {"bodies": N + 1, "pages": 0, "counted": 0, "aggregate": 3 * N}  # fmt: skip
    assert await _counts(full) == [1] * len(TABLES) + [0]
    again = await Retention(full, few, HandClock(NOW), "me").once()
    assert set(again.values()) == {0}


async def test_what_is_owed_a_report_is_passed_over_and_not_looked_at_twice(full: Storage, few: Config) -> None:
    await full.write(lambda tx: tx.execute(update(recipients).where(recipients.c.id <= 20).values(report_due="failed")))
    removed = await Retention(full, few, HandClock(NOW), "me").once()
    assert (removed["bodies"], removed["messages"]) == (N + 1 - 20, N - 20)
    await full.write(lambda tx: tx.execute(update(recipients).values(report_due=None)))
    removed = await Retention(full, few, HandClock(NOW), "me").once()
    assert (removed["bodies"], removed["messages"]) == (20, 20)


async def test_bytes_that_an_older_program_left_are_found(full: Storage, few: Config) -> None:
    await full.write(lambda tx: tx.execute(update(messages).values(has_bytes=False)))
    await Retention(full, few, HandClock(NOW), "me").once()
    # Those of a message that goes, log and all, at the latest with it.
    assert (await _counts(full))[-1] == 0


@contextmanager
def _plans(storage: Storage) -> Iterator[list[str]]:
    """What SQLite says of every statement of the writer, how it finds its rows."""
    found: list[str] = []
    engine = storage._writer.sync_engine

    def look(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("EXPLAIN", "INSERT", "PRAGMA")):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(f"{row[3]}: {statement}" for row in rows)

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", look)


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_no_clean_up_walks_a_table(full: Storage, few: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_KEPT", 1)
    with _plans(full) as plans:
        await Retention(full, few, HandClock(NOW), "me").once()
    assert len(plans) > 30
    # Versions and endpoints are few, and the last are looked at once a round.
    walks = [p for p in plans if p.startswith("SCAN") and not p.startswith(("SCAN webhooks", "SCAN versions"))]
    # It lies in that order.
    walks = [p for p in walks if "ORDER BY directory_changes.n" not in p]
    assert [p for p in walks if " USING " not in p.partition(":")[0]] == []


async def test_aside_the_loop_goes_on_and_writers_follow(storage: Storage) -> None:
    order: list[str] = []
    begun = asyncio.Event()

    async def slow(tx: Tx) -> int:
        begun.set()
        rows = await tx.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
                "SELECT max(i) FROM n"
            )
        )
        order.append("aside")
        return int(rows.scalar_one())

    async def quick(tx: Tx) -> None:
        order.append("write")
        await versions.bump(tx, "x")

    async def ticking() -> int:
        await begun.wait()
        ticks = 0
        while "aside" not in order:
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    ticks = asyncio.create_task(ticking())
    aside = asyncio.create_task(storage.aside(slow))
    await begun.wait()
    await storage.write(quick)
    assert await aside == 1_000_000
    assert await ticks >= 3
    if storage._kept is not None:
        assert order == ["aside", "write"]


async def test_what_fails_aside_is_undone_and_the_next_is_as_before(storage: Storage) -> None:
    async def wrong(tx: Tx) -> None:
        await versions.bump(tx, "gone")
        await tx.execute(text("SELECT nothing FROM nowhere"))

    with pytest.raises(StorageError):
        await storage.aside(wrong)
    await storage.write(lambda tx: allowances.spend(tx, {(1, 2.0): 3}, "me"))
    async with storage.read() as tx:
        assert await versions.current(tx) == {}
        assert [n for _, n in (await allowances.entries(tx, [1], 0.0))[1]] == [3]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_room_that_is_no_longer_needed_goes_back_to_the_disk(
    full: Storage, few: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "_SPARE_PAGES", 10)
    big = b"x" * 200_000
    await full.write(lambda tx: tx.execute(update(bodies).values(body=big)))
    before = await _pages(full)
    removed = await Retention(full, few, HandClock(NOW), "me").once()
    left = await _pages(full)
    assert before - left >= removed["pages"] > 1000
    async with full.read() as tx:
        free = int((await tx.execute(text("PRAGMA freelist_count"))).scalar_one())
    # A part stays for what comes next.
    assert 10 <= free <= left // 3
    assert await full.write(lambda tx: mail.purge_bodies(tx, NOW, 10)) == (0, None)


async def _pages(storage: Storage) -> int:
    async with storage.read() as tx:
        return int((await tx.execute(text("PRAGMA page_count"))).scalar_one())
