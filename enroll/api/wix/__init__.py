"""Sending domains, sender emails and sender details in Wix's shape: paths, shapes and codes over `enroll.senders`.

`calls` are the calls; `requests` reads bodies, filters and pages; `views` writes answers; `errors` shapes every
refusal; `routes` finds who asks and puts these together. No logic of its own. docs/wix.md is the manual.
"""

from __future__ import annotations

from enroll.api.wix.calls import TAGS
from enroll.api.wix.routes import openapi_paths, routes, translate

__all__ = ["TAGS", "openapi_paths", "routes", "translate"]
