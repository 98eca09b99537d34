"""Posting events, and the letters about it: the relay's dispatcher with enrollment's notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from enroll.errors import EnrollError
from posthouse.rooms import Rooms
from relay.base.storage import Tx
from relay.webhooks import Dispatcher, Letter, NoticeLater, Poster


async def post_webhooks(rooms: Rooms) -> None:
    """Post what is due until cancelled."""
    poster = Poster(rooms.config.webhooks, rooms.resolver, rooms.clock.monotonic)
    dispatcher = Dispatcher(
        rooms.storage, rooms.config, rooms.clock, rooms.vault, poster, owner=rooms.owner, tell=tell(rooms)
    )
    try:
        await dispatcher.run()
    finally:
        await poster.close()


def tell(rooms: Rooms) -> Callable[[Letter], Awaitable[Callable[[Tx], Awaitable[None]]]]:
    """What prepares a letter to the owner of an endpoint."""

    async def prepare(letter: Letter) -> Callable[[Tx], Awaitable[None]]:
        assert rooms.enroll.for_domains is not None
        try:
            member = await rooms.enroll.accounts.by_id(letter.member_id)
            return await rooms.enroll.for_domains.notices.mail(
                member.email, letter.subject, f"Hello {member.handle},\n\n{letter.text}", about="a webhook"
            )
        except EnrollError as e:
            raise NoticeLater from e

    return prepare
