"""Posting events, and the letters about it: the relay's dispatcher with enrollment's notices."""

from __future__ import annotations

from posthouse.serve.letters import tell
from posthouse.wiring import Rooms
from relay.webhooks import Dispatcher, Poster


async def post_webhooks(rooms: Rooms) -> None:
    """Post what is due until cancelled."""
    poster = Poster(rooms.config.webhooks, rooms.resolver, rooms.clock.monotonic)
    dispatcher = Dispatcher(
        rooms.storage, rooms.config, rooms.clock, rooms.vault, poster, owner=rooms.owner,
        tell=tell(rooms.enroll, "a webhook"),
    )
    try:
        await dispatcher.run()
    finally:
        await poster.close()
