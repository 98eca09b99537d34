"""The whole HTTP application as `posthouse serve` makes it, over a world in memory's reach: every room's routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from argon2 import PasswordHasher

from posthouse.serve.http import http_application
from relay.base.config import Config
from relay.base.web import Listener
from tests.kit.enrolling import Enrolling, enrolling


@dataclass
class Whole:
    """The application, where it listens, and what is behind it."""

    env: Enrolling
    app: web.Application
    url: str


@asynccontextmanager
async def whole(config: Config) -> AsyncIterator[Whole]:
    """All of it on a port of loopback, until the block ends. Passwords are hashed cheaply."""
    async with enrolling(config) as env:
        env.services.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        app = http_application(
            env.world.core, checks={"ports": lambda: True}, tasks=dict, mailbox=None
        )
        listener = Listener(app, config, ["127.0.0.1:0"])
        await listener.start()
        try:
            yield Whole(env, app, f"http://127.0.0.1:{listener.ports[0]}")
        finally:
            await listener.stop()
