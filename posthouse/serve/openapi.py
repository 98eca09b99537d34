"""The APIs as documents: the relay's own at /openapi.json, and one for each face in another system's shape.

Promises that a document names every call that this process serves, with the base URL that callers use. What stands
in it is made where it is served; `/docs` shows it to people, `document_route` to programs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from enroll.api import native, octeth, wix
from enroll.pages import Described
from relay import monitor, sendapi
from relay.base.config import Config
from relay.base.web.calls import SECURITY_SCHEMES, operations
from relay.base.web.schema import document

_NATIVE = """\
JSON over HTTP. Names of fields are camelCase, times RFC 3339 in UTC, sizes octets. Unknown fields are refused by name.

**Who calls.** `Authorization: Bearer <API key>`. A key has scopes: `send`, `read`, `manage`; each call names the one
it needs. Calls about keys and sign-ins need a sign-in's token instead, which does wherever `manage` does.

**Refusals** are `{"error", "code", "detail"}`: a sentence for people, a word for programs that doesn't change, and
facts. 4xx but 429 stays until the cause is fixed. 429, 500, 503 and 507 pass: try again after `Retry-After` seconds.

**Once only.** Sending takes an `Idempotency-Key`: a repeat within 24 hours gets the first answer and sends nothing.
A finished message (SMTP, `send/raw`) that has a Message-ID needs none: the same octets again go to nobody twice.

**Pages.** Lists take `cursor` and `limit`, and give a `cursor` for the page after; null is the end. A larger `limit`
than there is counts as the largest.
"""


_OCTETH = """\
The calls `user.senderdomain.*`, `suppression.*` and `emailgateway.*` as Octeth's clients know them: give such a client
this base URL and an API key.

**Parameters** stand in the query, in a JSON body or in a form, in any letter case. `APIKey` is an API key of this
relay; `SessionID` the token of a sign-in. PATCH reads its body only, both of these too.

**Refusals** have a number and a sentence in `Errors`, and again in `ErrorCode` and `ErrorText`. As in the
documentation of these calls, most come with status 200 (`octeth.error_status`).

Everything these calls do, the relay's own API does too, and more.
"""


_WIX = """\
Sender emails, sender details, sending domains and email transmissions as Wix's clients know them: give such a client
this base URL and an API key, as `Authorization: <key>` or as a Bearer token.

**The way.** Create a sender email, have a code sent to it, verify it, create sender details: then the sending domain
of its address is there. Publish its `dnsRecords`, CNAMEs all, and authenticate. Then send email transmissions.

**Refusals** are `{"message", "details"}` with an `applicationError` (a code that doesn't change) or a
`validationError` (the fields at fault).
"""


def described(config: Config) -> list[Described]:
    """The documents of an application with this configuration, the relay's own first."""
    tags = (*sendapi.TAGS, *native.TAGS, monitor.TAG)
    found = [_described(config, "", "Posthouse", "The relay's own API", _own, _NATIVE, *tags)]
    if config.octeth.enabled:
        title = "Sender domains, suppressions and the Email Gateway in Octeth's shape"
        found.append(_described(config, "octeth", "Octeth's", title, _in_octeths_shape, _OCTETH, *octeth.TAGS))
    if config.senders.wix:
        title = "Sending domains and transmissions in Wix's shape"
        found.append(_described(config, "wix", "Wix's", title, _in_wixs_shape, _WIX, *wix.TAGS))
    return found


def _own() -> list[dict[str, Any]]:
    return [
        {
            "paths": operations([sendapi.Sending, *native.PAGES, monitor.Monitor]),
            "components": {"schemas": sendapi.schemas(), "securitySchemes": SECURITY_SCHEMES},
        },
    ]


def _in_octeths_shape() -> list[dict[str, Any]]:
    schemes = octeth.SECURITY_SCHEMES | {"apiKey": SECURITY_SCHEMES["apiKey"]}
    return [{"paths": octeth.openapi_paths(), "components": {"securitySchemes": schemes}}]


def _in_wixs_shape() -> list[dict[str, Any]]:
    return [{"paths": wix.openapi_paths(), "components": {"securitySchemes": SECURITY_SCHEMES}}]


def _described(
    config: Config, slug: str, name: str, title: str, fragments: Callable[[], list[dict[str, Any]]], says: str,
    *tags: tuple[str, str],
) -> Described:
    def made() -> dict[str, Any]:
        return document(
            fragments(), public_url=config.server.public_url, version=version("posthouse"), title=title,
            description=says, tags=tags,
        )

    return Described(slug, name, title, f"/openapi/{slug}.json" if slug else "/openapi.json", made)
