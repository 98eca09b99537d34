"""The calls `user.senderdomain.*`, `user.login`, `suppression.*` and `emailgateway.*`, as Octeth's clients know them.

`requests` reads parameters, from wherever that shape lets them stand; `errors` has its numbered errors; `views` its
answers, and `responses` makes them from domains; `calls` are the nine
calls about domains, `login` signs in, `suppressions` are those about the list, `email` sends, `gateway` are the Email
Gateway's calls about domains and their keys, `events` those about what happened, `relay_check` is for the operator's
mail exchangers; `routes` who may pass, and how often.

Promises shapes and codes, to the letter and the type, and no rule of its own: what is allowed, and what follows from
it, is decided in the services that the native API calls too.
"""

from typing import Any

from enroll.api.octeth.routes import TAGS, openapi_paths, routes, translate

__all__ = ["SECURITY_SCHEMES", "TAGS", "openapi_paths", "routes", "translate"]

SECURITY_SCHEMES: dict[str, Any] = {
    "octethKey": {"type": "apiKey", "in": "query", "name": "APIKey", "description": "An API key; also in the body."},
    "octethSession": {
        "type": "apiKey", "in": "query", "name": "SessionID",
        "description": "The token of a sign-in (POST /v1/sessions); also in the body.",
    },
    "octethSenderKey": {
        "type": "apiKey", "in": "query", "name": "SenderAPIKey", "description": "An API key; also in the body.",
    },
    "octethAdminKey": {
        "type": "apiKey", "in": "query", "name": "AdminAPIKey",
        "description": "An API key of the relay's own member, made by the operator; also in the body.",
    },
}
