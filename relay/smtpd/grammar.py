"""What a command line may be: how long, and which words are no SMTP at all."""

from __future__ import annotations

from collections.abc import Mapping

# RFC 5321 §4.5.3.1.4: 512 octets with CRLF; SIZE, BODY, SMTPUTF8, DSN and AUTH= widen MAIL and RCPT
# (RFC 1870 §3, RFC 6531 §3.1, RFC 3461 §4, RFC 4954 §3).
MAX_LINE = 512
MAX_LINES: Mapping[str, int] = {"MAIL": 2048, "RCPT": 2048}
HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"})
