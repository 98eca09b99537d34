"""Sending domains, sender emails and sender details in Wix's shape: paths, shapes and codes over `enroll.senders`.

`door` has the routes, finds who asks and shapes every refusal; `asking` reads bodies, filters and pages; `views` writes
answers; `calls` joins them; `describing` is their OpenAPI. No logic of its own. docs/wix.md is the manual.
"""

from __future__ import annotations

from enroll.api.wix.openapi import openapi_paths
from enroll.api.wix.routes import routes, translate

__all__ = ["openapi_paths", "routes", "translate"]
