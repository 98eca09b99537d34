"""The words of a description that is still written beside its calls."""

from __future__ import annotations

from relay.base.web.describe import Paths, Security, operation
from relay.base.web.describe import schema_of as inlined

__all__ = ["Paths", "Security", "inlined", "operation"]
