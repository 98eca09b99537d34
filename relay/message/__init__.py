"""A submitted message, bytes to bytes: check it, complete it, give it its trace.

`parse` checks the octets once and splits them into fields and body; `mime` bounds how deep and how wide
the parts nest; `rules` says which fields are refused, taken out or replaced; `prepare` takes out what must not
leave, adds what must be there, and writes the trace line.

Promises that the octets of every kept field and of the body leave as they came, that nothing unbounded
is ever read, and that a fault names its line but never the message's content. Who may send it, its
signature and its storage are left to policy, signing and intake.
"""

from relay.message.parse import BadMessage, Bounds, Field, Parsed, check_octets, parse
from relay.message.prepare import (
    Prepared,
    Trace,
    category,
    check_own_loop,
    header_safe,
    passed_on,
    prepare,
    received_line,
    single_from,
)
from relay.message.rules import (
    IDEMPOTENCY_KEY,
    SENDERS,
    check_once,
    is_automatic,
    senders,
    speaks_for,
    tls_required,
)

__all__ = [
    "IDEMPOTENCY_KEY",
    "SENDERS",
    "BadMessage",
    "Bounds",
    "Field",
    "Parsed",
    "Prepared",
    "Trace",
    "category",
    "check_octets",
    "check_once",
    "check_own_loop",
    "header_safe",
    "is_automatic",
    "parse",
    "passed_on",
    "prepare",
    "received_line",
    "senders",
    "single_from",
    "speaks_for",
    "tls_required",
]
