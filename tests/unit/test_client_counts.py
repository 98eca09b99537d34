"""Clients are counted by address, and in IPv6 by the /64, of which one host has all: wherever they are counted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from enroll.zone.server import network_of
from relay import replies
from relay.base.netguard import client_key, network
from relay.base.web.crowd import Crowd
from relay.directory.service import Failures
from relay.replies import Refused
from relay.smtpd.bounds import Bounds
from relay.smtpd.connection import Connection
from relay.smtpd.listener import Listener
from tests.kit.storage import make_config

SAME = [f"2001:db8:0:1::{n:x}" for n in range(1, 9)]
NEXT = "2001:db8:0:2::1"


@pytest.mark.parametrize(
    ("text", "client", "owner", "zone"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8:1::/56"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48", "fe80::/56"),
        ("", "", "", ""), ("unix:", "unix:", "unix:", "unix:"),
    ],
)  # fmt: skip
def test_what_a_client_is_counted_as(text: str, client: str, owner: str, zone: str) -> None:
    assert (client_key(text), network(text), network_of(text)) == (client, owner, zone)


def test_http(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, http={"max_connections_an_address": 2}, server={"trusted_proxies": ["2001:db8:9::/48"]}
    )
    crowd = Crowd(config)
    assert [crowd.enter(at) for at in SAME[:3]] == ["", "", "http.max_connections_an_address"]
    assert crowd.enter(NEXT) == ""
    crowd.leave(SAME[7])
    assert crowd.enter(SAME[5]) == ""
    with crowd.request(NEXT), pytest.raises(Refused), crowd.request(NEXT.replace("::1", "::2")):
        pass
    for at in (*SAME[:2], NEXT):
        crowd.leave(at)
    assert not crowd._by_address


class Peer(asyncio.Transport):
    """A transport with a peer."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1, 0, 0)})
        self.said = b""

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        pass

    abort = close


async def test_smtp(tmp_path: Path) -> None:
    config = make_config(tmp_path, submission={"max_connections_an_address": 2})
    nothing: Any = None
    listener = Listener(
        "test", config=config, bounds=Bounds.of(config), refusals=nothing, certificate=nothing, listen=()
    )

    class Mute(Connection):
        async def converse(self) -> None:
            await asyncio.Event().wait()

    def come(address: str) -> tuple[Mute, bytes]:
        client, peer = Mute(listener, implicit_tls=False), Peer(address)
        client.connection_made(peer)
        return client, peer.said

    came = [come(at) for at in (*SAME[:3], NEXT)]
    assert [said[:3] for _, said in came] == [b"", b"", b"421", b""]
    came[0][0].connection_lost(None)
    came += [come(at) for at in SAME[3:5]]
    assert [said[:3] for _, said in came[4:]] == [b"", b"421"]
    for client, _ in came:
        client.connection_lost(None)
        if client.task is not None:
            client.task.cancel()
            await asyncio.gather(client.task, return_exceptions=True)
    assert not listener._by_address


def test_wrong_keys(tmp_path: Path) -> None:
    failures = Failures(make_config(tmp_path, submission={"auth_failures_an_address": 3, "auth_failures_a_key": 2}))
    assert [failures.wait(at, "", 0.0) > 0 for at in SAME[:4]] == [False, False, False, True]
    assert [failures.wait(at, "a", 700.0) > 0 for at in SAME[:3]] == [False, False, True]
    assert failures.wait(NEXT, "a", 700.0) == 0


async def test_strangers_who_ask(tmp_path: Path) -> None:
    from enroll.sessions.authenticator import Authenticator
    from tests.kit.clock import HandClock

    class NoDevice:
        def of(self, request: web.Request) -> None:
            return None

    config = make_config(tmp_path, http={"requests_a_minute": 2})
    nothing: Any = None
    who = Authenticator(config, HandClock(), nothing, nothing, nothing, NoDevice())  # type: ignore[arg-type]

    def ask(address: str) -> None:
        who._address = lambda request: address  # type: ignore[method-assign]
        who.visitor(nothing)

    ask(SAME[0])
    ask(SAME[1])
    with pytest.raises(Refused) as refused:
        ask(SAME[2])
    assert refused.value.verdict.reply is replies.TOO_MANY_REQUESTS
    ask(NEXT)
