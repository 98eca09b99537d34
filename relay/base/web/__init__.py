"""The HTTP frame: what every route of every package gets, whoever wrote it.

`application` makes the one aiohttp application: each request gets an id, a look at its Host, a bound on its body
and on the time it may take to arrive, safe headers, and an answer in one shape for whatever goes wrong:
`{"error", "code", "detail"}`. `body` reads bytes and strict JSON within bounds, `client` says who is calling,
`listen` opens the ports. Handlers raise `Refused` and never write an error of their own.

Promises that no exception's words reach a client, and that nothing is read without a bound. Who may do what is
left to the handlers.
"""

from relay.base.web.answers import (
    CLOCK,
    CONFIG,
    ERROR_PAGE,
    REQUEST_ID,
    STORAGE,
    ErrorPage,
    answer,
    dumps,
    error_body,
    raw_answer,
    refuse,
    retry_after,
)
from relay.base.web.application import Translate, application
from relay.base.web.body import UploadMemory, json_body, json_value, read_body, reject, shown
from relay.base.web.client import bearer, claimed_did, client_address, in_networks, is_forwarded, is_https, is_inside
from relay.base.web.listen import Listener

__all__ = [
    "CLOCK",
    "CONFIG",
    "ERROR_PAGE",
    "REQUEST_ID",
    "STORAGE",
    "ErrorPage",
    "Listener",
    "Translate",
    "UploadMemory",
    "answer",
    "application",
    "bearer",
    "claimed_did",
    "client_address",
    "dumps",
    "error_body",
    "in_networks",
    "is_forwarded",
    "is_https",
    "is_inside",
    "json_body",
    "json_value",
    "raw_answer",
    "read_body",
    "refuse",
    "reject",
    "retry_after",
    "shown",
]
