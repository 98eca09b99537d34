"""/operator: what the operator sees and does, for people with that role and a second factor.

    access      who may see them; every change written down
    home        /operator               the queue by site, refusals, standing, incidents, the doctor's findings
    people      /operator/members       members and their domains
    mail        /operator/messages      messages explained; /operator/queue: waiting mail by a filter, counted first
    relay       /operator/sites         sites, incidents, invites

Everything works without the script. Pages hold no logic: they call what the command line calls.
"""

from __future__ import annotations

from aiohttp import web

from enroll.pages import Renderer, redirecting
from enroll.pages.guard import Guard
from posthouse.operating.pages.access import Access, Findings
from posthouse.operating.pages.home import Home
from posthouse.operating.pages.mail import Mail
from posthouse.operating.pages.people import People
from posthouse.operating.pages.relay import Relay
from posthouse.wiring import Core


def operator_routes(core: Core, guard: Guard, renderer: Renderer, findings: Findings) -> list[web.RouteDef]:
    """Every route under /operator."""
    access = Access(core, guard, renderer, findings)
    return [redirecting(r) for section in (Home, People, Mail, Relay) for r in section(access).routes()]
