"""Every route of this room, for the one application."""

from __future__ import annotations

from aiohttp import web

from relay.sendapi.authenticate import Door, SendServices
from relay.sendapi.batch import batch_route
from relay.sendapi.member import Member
from relay.sendapi.preflight import preflight_route
from relay.sendapi.raw import raw_route
from relay.sendapi.send import Sender, send_route
from relay.sendapi.status import Status


def routes(services: SendServices) -> list[web.RouteDef]:
    """The routes, wired to `services`."""
    sender = Sender(services, Door(services))
    return [
        send_route(sender),
        raw_route(sender),
        batch_route(sender),
        preflight_route(services),
        *Status(sender).routes(),
        *Member(sender).routes(),
    ]
