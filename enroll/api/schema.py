"""Who may call what, as OpenAPI says it; the rest of the words are `relay.base.web.describe`'s, for all rooms alike."""

from __future__ import annotations

from typing import Any

from relay.base.web.describe import Paths, Security, completed, operation
from relay.base.web.describe import schema_of as inlined

__all__ = [
    "KEY_OR_SESSION", "OPEN", "SECURITY_SCHEMES", "SESSION", "Paths", "Security", "completed", "inlined", "operation",
]

KEY_OR_SESSION: Security = [{"apiKey": []}, {"session": []}]
SESSION: Security = [{"session": []}]
OPEN: Security = []
SECURITY_SCHEMES: dict[str, Any] = {
    "apiKey": {
        "type": "http", "scheme": "bearer",
        "description": "An API key (`ph_…`) as `Authorization: Bearer …`. It has scopes: `send`, `read`, `manage`.",
    },
    "session": {
        "type": "http", "scheme": "bearer",
        "description": "The token of a sign-in (`POST /v1/sessions`), as `Authorization: Bearer …`.",
    },
}
