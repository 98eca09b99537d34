"""Who makes a call of this API: whatever it is about, found in one place.

The token decides: a sign-in's begins with its prefix, everything else is judged as an API key.
"""

from __future__ import annotations

from aiohttp import web

from enroll.errors import EnrollError
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.web.calls import OPEN, Authenticate, Call
from relay.replies import KEY_LIMITED


def authenticator(services: Services) -> Authenticate:
    """Finds the `Actor` of a call; of one that is open to everybody, the address from which it comes."""

    async def found(request: web.Request, call: Call) -> Actor | str:
        if call.access == OPEN:
            return services.authenticator.visitor(request)
        actor = await services.authenticator.actor(
            request, call.scope, reads=call.reads or call.suspended, keys=bool(call.access.keys)
        )
        if not call.limited and actor.domains is not None:
            raise EnrollError(KEY_LIMITED, "An API key limited to some domains can't be used here")
        return actor

    return found
