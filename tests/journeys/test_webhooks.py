"""Events at a member's own address: signed, in order, again after a refusal, never into a private network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from enroll.errors import EnrollError
from enroll.webhooks import Webhooks
from relay.base.clock import DAY, HOUR
from relay.base.config import Config
from relay.base.events import BOUNCED, SENT, Event
from relay.base.storage import Tx, accounts, events
from relay.base.storage import webhooks as rows
from relay.notices import Join, Notice, NoticeLater, Notices
from relay.webhooks import Dispatcher, Poster
from tests.kit.clock import HandClock
from tests.kit.dns import make_zone
from tests.kit.dns import world as dns_world
from tests.kit.hooks import Receiver, receiver
from tests.kit.world import MemberAt, World


class Recorded(Notices):
    """Notices kept in the test's hand instead of queued."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def prepare(self, to: str, notice: Notice, *, about: str) -> Join:
        if not self._post.can_write:
            raise NoticeLater

        async def join(tx: Tx) -> None:
            self._post.letters.append((to, notice))

        return join


class Post:
    """Everything around the dispatcher, and letters as they were written."""

    def __init__(self, world: World, clock: HandClock, poster: Poster, receiver: Receiver) -> None:
        self.world, self.clock, self.receiver = world, clock, receiver
        self.letters: list[tuple[str, Notice]] = []
        self.can_write = True
        self.webhooks = Webhooks(world.storage, world.config, clock, world.vault)
        self.dispatcher = self.another(poster, "one")
        self.alice: MemberAt

    def another(self, poster: Poster, owner: str) -> Dispatcher:
        return Dispatcher(
            self.world.storage, self.world.config, self.clock, self.world.vault, poster, Recorded(self),
            owner=owner, rng=random.Random(1),
        )

    async def happen(self, *types: str, member: MemberAt | None = None) -> None:
        who = (member or self.alice).id

        async def do(tx: Tx) -> None:
            await events.append(tx, [Event(t, who, self.clock.now(), data={"recipient": "x@y.test"}) for t in types])

        await self.world.storage.write(do)

    async def turn(self, turns: int = 1) -> None:
        for _ in range(turns):
            await self.dispatcher.tick()
            await self.dispatcher.finish()

    async def log(self, name: str) -> list[rows.DeliveryRow]:
        return list(await self.webhooks.posted(self.alice.id, name))

    async def state(self, name: str) -> str:
        return (await self.webhooks.get(self.alice.id, name)).state


def with_webhooks(config: Config, **keys: Any) -> Config:
    found = config.webhooks.model_copy(update={"allow_private_networks": True} | keys)
    return config.model_copy(update={"webhooks": found})


@asynccontextmanager
async def posting(config: Config, **keys: Any) -> AsyncIterator[Post]:
    config, clock = with_webhooks(config, **keys), HandClock()
    world = await World.make(config, clock)
    try:
        async with dns_world([make_zone("hooks.test", [("in.hooks.test", "A", "127.0.0.1")])]) as dns:
            poster = Poster(config.webhooks, dns.resolver, clock.monotonic)
            try:
                async with receiver() as there:
                    made = Post(world, clock, poster, there)
                    made.alice = await world.member("alice", email="alice@mail.test")
                    yield made
                    await made.dispatcher.close()
            finally:
                await poster.close()
    finally:
        await world.close()


@pytest.fixture
async def post(config: Config) -> AsyncIterator[Post]:
    """On both engines."""
    async with posting(config) as made:
        yield made


async def test_events_arrive_signed_in_order_and_only_those_asked_for(post: Post) -> None:
    await post.happen(SENT)  # before there was a webhook: not posted
    secret, every = await post.webhooks.add(post.alice.id, f"{post.receiver.url}/all")
    other, _ = await post.webhooks.add(post.alice.id, f"{post.receiver.url}/bounces", types=[BOUNCED])
    bob = await post.world.member("bob")
    await post.happen(SENT, member=bob)
    await post.happen(SENT, BOUNCED, SENT)
    await post.turn()

    came = [c for c in post.receiver.came if c.path == "/all"]
    assert sorted(c.name for c in came) == [f"evt_{n}" for n in (3, 4, 5)]
    shown = came[0].verified(secret)
    assert shown["type"] == SENT
    assert shown["data"]["data"] == {"recipient": "x@y.test"}
    assert came[0].headers["content-type"] == "application/json"
    (bounce,) = [c for c in post.receiver.came if c.path == "/bounces"]
    assert bounce.verified(other)["type"] == BOUNCED
    with pytest.raises(WebhookVerificationError):
        bounce.verified(secret)
    lines = await post.log(every.id)
    assert {(line.state, line.status, line.attempts) for line in lines} == {("delivered", 204, 1)}
    # Nothing comes twice.
    await post.turn()
    assert len(post.receiver.came) == 4


async def test_one_request_at_a_time_keeps_the_order(sqlite_config: Config) -> None:
    async with posting(sqlite_config, parallel_an_endpoint=1) as post:
        await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(*[SENT] * 30)
        await post.turn()
        assert [c.name for c in post.receiver.came] == [f"evt_{n}" for n in range(1, 31)]


async def test_a_refused_event_is_tried_again_by_the_schedule_with_the_same_id(post: Post) -> None:
    post.receiver.answers = [500, 503, 200]
    _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    await post.happen(SENT)
    await post.turn(3)
    (line,) = await post.log(made.id)
    assert (line.state, line.status, line.says, line.attempts) == ("waiting", 500, "answer 500", 1)
    assert len(post.receiver.came) == 1
    post.clock.move(6)
    await post.turn(2)
    post.clock.move(100)
    await post.turn()
    assert len(post.receiver.came) == 2
    post.clock.move(300)
    await post.turn()
    (line,) = await post.log(made.id)
    assert (line.state, line.status, line.attempts) == ("delivered", 200, 3)
    assert {c.name for c in post.receiver.came} == {"evt_1"}
    assert (await post.webhooks.get(post.alice.id, made.id)).failing_since is None


async def test_an_endpoint_that_asks_for_time_gets_it(sqlite_config: Config) -> None:
    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "1000"})

    async with posting(sqlite_config) as post:
        post.receiver.answers = [busy, 204]
        _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(SENT)
        await post.turn()
        (line,) = await post.log(made.id)
        assert line.next_at == post.clock.now() + 1000


async def test_one_that_is_down_gets_one_request_a_round_and_holds_up_nobody(sqlite_config: Config) -> None:
    async with posting(sqlite_config, parallel_an_endpoint=1) as post, receiver() as well:
        post.receiver.answers = [500]
        await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.webhooks.add(post.alice.id, well.url)
        await post.happen(*[SENT] * 20)
        await post.turn()
        assert (len(post.receiver.came), len(well.came)) == (1, 20)


async def test_a_slow_endpoint_does_not_hold_up_another(sqlite_config: Config) -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with posting(sqlite_config) as post, receiver() as well:
        post.receiver.answers = [slow]
        await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(SENT)
        await post.dispatcher.tick()
        await post.receiver.arrived.wait()
        await post.webhooks.add(post.alice.id, well.url)
        await post.happen(SENT)
        await post.dispatcher.tick()
        await well.arrived.wait()
        assert len(post.receiver.came) == 1
        release.set()
        await post.dispatcher.finish()


async def test_silent_endpoints_leave_places_for_others(post: Post) -> None:
    release = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response(status=500)

    config = with_webhooks(post.world.config, parallel=4)
    post.world.config = config
    post.dispatcher = post.another(post.dispatcher._poster, "one")
    post.receiver.answers = [500]
    for _ in range(6):
        await post.webhooks.add(post.alice.id, post.receiver.url)
    await post.happen(SENT)
    await post.turn(2)
    assert len(post.receiver.came) == 6
    # Every one of them refused; from now on they say nothing at all.
    post.receiver.answers = [silent]
    async with receiver() as well:
        await post.webhooks.add(post.alice.id, well.url)
        post.clock.move(6)
        await post.happen(BOUNCED)
        assert await post.dispatcher.tick() == 3
        await well.arrived.wait()
        release.set()
        await post.dispatcher.finish()


async def test_refusals_without_end_raise_the_alarm_and_then_disable(post: Post) -> None:
    post.receiver.answers = [500]
    _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    await post.happen(SENT)
    for _ in range(4):
        await post.turn()
        post.clock.move(HOUR)
    assert await post.state(made.id) == "failing"
    assert [notice.subject for _, notice in post.letters] == ["Your webhook is refusing events"]
    assert post.letters[0][0] == "alice@mail.test"
    assert "answered 500" in post.letters[0][1].text
    for _ in range(80):
        await post.turn()
        post.clock.move(HOUR)
    assert await post.state(made.id) == "disabled"
    assert [notice.subject for _, notice in post.letters][1:] == ["Your webhook has been disabled"]
    (line,) = await post.log(made.id)
    assert line.state == "failed"
    assert 8 <= line.attempts <= 12
    # It is left alone from now on, and takes up with what happens after being enabled.
    seen = len(post.receiver.came)
    await post.happen(SENT)
    await post.turn()
    assert len(post.receiver.came) == seen
    with pytest.raises(EnrollError) as refused:
        await post.webhooks.replay(post.alice.id, made.id, since=0.0)
    assert refused.value.status == 409
    post.receiver.answers = [200]
    await post.webhooks.test(post.alice.id, made.id)
    await post.turn()
    assert post.receiver.came[-1].name.startswith("test_")
    await post.webhooks.enable(post.alice.id, made.id)
    await post.happen(BOUNCED)
    await post.turn()
    assert post.receiver.came[-1].name == "evt_3"
    assert await post.webhooks.replay(post.alice.id, made.id, since=0.0) == 3
    await post.turn()
    assert sorted(c.name for c in post.receiver.came[-3:]) == ["evt_1", "evt_2", "evt_3"]


async def test_a_change_waits_for_its_letter(sqlite_config: Config) -> None:
    async with posting(sqlite_config) as post:
        post.receiver.answers = [410]
        _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        post.can_write = False
        await post.happen(SENT)
        await post.turn()
        assert await post.state(made.id) == "live"
        post.can_write = True
        post.clock.move(60)
        await post.turn()
        # 410 says that nobody wants it any more.
        assert await post.state(made.id) == "disabled"
        assert len(post.letters) == 1


async def test_both_secrets_sign_during_a_rotation_and_one_after_it(sqlite_config: Config) -> None:
    async with posting(sqlite_config, rotation_seconds=60.0) as post:
        old, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        new, _ = await post.webhooks.rotate(post.alice.id, made.id)
        await post.happen(SENT)
        await post.turn()
        (came,) = post.receiver.came
        assert came.verified(old) == came.verified(new)
        assert len(came.headers["webhook-signature"].split(" ")) == 2
        post.clock.move(61)
        await post.happen(SENT)
        await post.turn()
        last = post.receiver.came[-1]
        assert last.verified(new)
        with pytest.raises(WebhookVerificationError):
            last.verified(old)


async def test_secrets_are_not_in_the_database(post: Post) -> None:
    secret, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    async with post.world.storage.read() as tx:
        row = await rows.one(tx, post.alice.id, made.id)
    assert row is not None
    assert secret.encode() not in row.secret
    assert Webhook(secret)
    assert len(secret) == len("whsec_") + 44


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.org/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/", "https://169.254.1.1/",
        "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://localhost/", "https://me:pw@example.org/",
        "ftp://example.org/", "https://", "https://example.org/#x", "https://2130706433/", "https://0x7f.1/",
        "https://example.org:0/", "https://example.org:99999/", "https://ex ample.org/", "javascript:alert(1)",
    ],
)
async def test_an_address_that_is_not_public_is_refused_by_name(sqlite_config: Config, url: str) -> None:
    world = await World.make(sqlite_config)
    try:
        alice = await world.member()
        with pytest.raises(EnrollError) as refused:
            await Webhooks(world.storage, sqlite_config, world.clock, world.vault).add(alice.id, url)
        assert (refused.value.status, refused.value.field) == (422, "url")
    finally:
        await world.close()


@pytest.mark.parametrize("host", ["in.hooks.test", "127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"])
async def test_a_name_that_points_at_a_private_address_is_not_connected_to(sqlite_config: Config, host: str) -> None:
    """What the name pointed at when the webhook was made doesn't matter: the connection itself is refused."""
    closed = sqlite_config.webhooks
    assert not closed.allow_private_networks
    async with posting(sqlite_config) as post:
        async with dns_world([make_zone("hooks.test", [("in.hooks.test", "A", "127.0.0.1")])]) as dns:
            poster = Poster(closed, dns.resolver, post.clock.monotonic)
            port = post.receiver.url.rpartition(":")[2]
            posted = await poster.post(f"http://{host}:{port}/", {}, "{}")
            await poster.close()
        assert posted.status is None
        assert "not public" in posted.says
        assert post.receiver.came == []


async def test_the_same_name_is_reached_where_private_networks_are_allowed(sqlite_config: Config) -> None:
    async with posting(sqlite_config) as post:
        port = post.receiver.url.rpartition(":")[2]
        _, made = await post.webhooks.add(post.alice.id, f"http://in.hooks.test:{port}/")
        await post.webhooks.add(post.alice.id, "http://nowhere.hooks.test/")
        await post.happen(SENT)
        await post.turn()
        assert (await post.log(made.id))[0].status == 204


async def test_redirects_are_not_followed(sqlite_config: Config) -> None:
    async with posting(sqlite_config) as post, receiver() as elsewhere:
        async def away(request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": elsewhere.url})

        post.receiver.answers = [away]
        _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(SENT)
        await post.turn()
        assert elsewhere.came == []
        (line,) = await post.log(made.id)
        assert (line.state, line.status) == ("waiting", 307)


async def test_an_endless_answer_is_cut_and_a_hostile_one_is_cleaned(sqlite_config: Config) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while written < 50_000_000:
                await response.write(b"\x1b[31m<b>" + b"x" * 65_536)
                written += 65_536
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    async with posting(sqlite_config, max_answer_bytes=100_000) as post:
        post.receiver.answers = [endless]
        _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(SENT)
        await post.turn()
        (line,) = await post.log(made.id)
        assert line.state == "delivered"
        assert line.says.startswith("[31m<b>xx")
        assert len(line.says) <= 200
        assert written < 20_000_000


async def test_silence_ends_in_time(sqlite_config: Config) -> None:
    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with posting(sqlite_config, timeout_seconds=0.2) as post:
        post.receiver.answers = [silent]
        _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
        await post.happen(SENT)
        await post.turn()
        (line,) = await post.log(made.id)
        assert (line.state, line.status, line.says) == ("waiting", None, "no answer in time")


async def test_replay_of_one_event_and_since_a_time(post: Post) -> None:
    await post.happen(SENT, BOUNCED)
    post.clock.move(100)
    secret, made = await post.webhooks.add(post.alice.id, post.receiver.url, types=[SENT])
    between = post.clock.now()
    await post.happen(SENT, BOUNCED)
    await post.turn()
    assert [c.name for c in post.receiver.came] == ["evt_3"]
    assert await post.webhooks.replay(post.alice.id, made.id, event_id=3) == 1
    await post.turn()
    assert [c.name for c in post.receiver.came] == ["evt_3", "evt_3"]
    assert await post.webhooks.replay(post.alice.id, made.id, since=between) == 1
    # Also what happened before there was a webhook, where it wants such events.
    assert await post.webhooks.replay(post.alice.id, made.id, since=0.0) == 2
    await post.turn()
    assert sorted(c.name for c in post.receiver.came[2:]) == ["evt_1", "evt_3"]
    assert post.receiver.came[-1].verified(secret)
    for wrong in ({"event_id": 99}, {"event_id": 1, "since": 0.0}, {}):
        with pytest.raises(EnrollError):
            await post.webhooks.replay(post.alice.id, made.id, **wrong)


async def test_no_more_wait_for_an_endpoint_than_it_has_room_for(post: Post) -> None:
    config = with_webhooks(post.world.config, max_waiting=5, batch=5, parallel_an_endpoint=1)
    post.world.config = config
    post.dispatcher = post.another(post.dispatcher._poster, "one")
    post.receiver.answers = [500]
    _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    await post.happen(*[SENT] * 40)
    await post.turn(4)
    assert len(await post.log(made.id)) == 5
    post.receiver.answers = [200]
    post.clock.move(HOUR)
    await post.turn(12)
    assert {c.name for c in post.receiver.came} == {f"evt_{n}" for n in range(1, 41)}


async def test_one_process_posts_and_another_takes_over(post: Post) -> None:
    await post.webhooks.add(post.alice.id, post.receiver.url)
    other = post.another(post.dispatcher._poster, "two")
    await post.turn()
    await post.happen(SENT)
    assert await other.tick() == 0
    assert post.receiver.came == []
    post.clock.move(61)  # the first one's lease is over
    await other.tick()
    await other.finish()
    assert len(post.receiver.came) == 1
    await post.turn()
    assert len(post.receiver.came) == 1
    await other.close()


async def test_a_deleted_webhook_or_member_gets_nothing(post: Post) -> None:
    _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    bob = await post.world.member("bob")
    await post.webhooks.add(bob.id, post.receiver.url)
    await post.happen(SENT)
    await post.happen(SENT, member=bob)
    await post.webhooks.remove(post.alice.id, made.id)
    await post.world.storage.write(
        lambda tx: accounts.set_status(tx, bob.id, "deleted", reason="", now=0.0, was=("active",))
    )
    await post.turn()
    assert post.receiver.came == []
    with pytest.raises(EnrollError):
        await post.webhooks.get(post.alice.id, made.id)
    assert await post.webhooks.list(post.alice.id) == []


async def test_the_log_is_cleared_after_its_time(post: Post) -> None:
    _, made = await post.webhooks.add(post.alice.id, post.receiver.url)
    await post.happen(SENT, SENT)
    await post.turn()
    await post.webhooks.remove(post.alice.id, made.id)
    later = post.clock.now() + 31 * DAY

    async def count(tx: Tx) -> int:
        return await rows.purge(tx, later - 30 * DAY, 100)

    assert await post.world.storage.write(count) == 2
    assert await post.world.storage.write(count) == 0


async def test_there_is_an_end_to_endpoints(sqlite_config: Config) -> None:
    async with posting(sqlite_config, max_endpoints=2) as post:
        for _ in range(2):
            await post.webhooks.add(post.alice.id, post.receiver.url)
        with pytest.raises(EnrollError) as refused:
            await post.webhooks.add(post.alice.id, post.receiver.url)
        assert refused.value.status == 409
        with pytest.raises(EnrollError) as refused:
            await post.webhooks.add(post.alice.id, post.receiver.url, types=["nonsense"])
        assert refused.value.field == "types"
