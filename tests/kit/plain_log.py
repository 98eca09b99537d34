"""The log as tests leave it: lines with their tracebacks as Python writes them. structlog's own default draws each
traceback in colours, source and all, which takes longer than what went wrong."""

from __future__ import annotations

import structlog


def plain_log() -> None:
    """Set it up, also after something has set up the relay's own."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level, structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        cache_logger_on_first_use=False,
    )
