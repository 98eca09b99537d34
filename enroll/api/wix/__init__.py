"""Sending domains, sender emails, sender details and email transmissions in Wix's shape: paths, shapes and codes over
`enroll.senders`.

`calls`, `former` (of an older version) and `transmissions` are the calls; `requests` reads bodies, filters and pages,
`transmission_query` the queries of transmissions; `views` writes answers; `errors` shapes every refusal; `routes` finds
who asks and puts these together. No logic of its own. docs/wix.md is the manual.
"""

from __future__ import annotations

from enroll.api.wix import calls, former, transmissions
from enroll.api.wix.routes import openapi_paths, routes, translate

TAGS = (*calls.TAGS, transmissions.TAG, former.TAG)

__all__ = ["TAGS", "openapi_paths", "routes", "translate"]
