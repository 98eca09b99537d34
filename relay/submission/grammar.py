"""What a command line may be, and which enhanced code stands beside a reply that has none of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from relay.submission import auth

# RFC 5321 §4.5.3.1.4: 512 octets with CRLF; SIZE, BODY, SMTPUTF8, DSN and AUTH= widen MAIL and RCPT
# (RFC 1870 §3, RFC 6531 §3.1, RFC 3461 §4, RFC 4954 §3); AUTH's own bound is RFC 4954 §4.3's.
MAX_LINE = 512
MAX_LINES: Mapping[str, int] = {"MAIL": 2048, "RCPT": 2048, "AUTH": auth.MAX_LINE}
HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"})

ENHANCED = re.compile(r"[245]\d\d[ -][245]\.\d{1,3}\.\d{1,3}(?: |$)")
# RFC 3463 for the words that aiosmtpd says itself.
CODES: Mapping[str, str] = {
    "250": "2.0.0", "214": "2.0.0", "220": "2.0.0", "221": "2.0.0", "252": "2.5.1", "421": "4.3.0", "451": "4.3.0",
    "500": "5.5.2", "501": "5.5.4", "502": "5.5.1", "503": "5.5.1", "504": "5.5.4", "530": "5.7.0", "554": "5.5.0",
    "555": "5.5.4",
}
