"""The Authentication-Results field (RFC 8601), written. Pure. `relay.message` knows those that pretend to be ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.base.names import BadName, reverse_path
from relay.verify.dmarc import Dmarc
from relay.verify.signatures import Signature
from relay.verify.spf import Spf

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_MAILBOX = re.compile(r"[A-Za-z0-9!#$&'*+/=?^_{|}~.-]{1,64}@[A-Za-z0-9._-]{1,253}")


def results_field(
    authserv_id: str, *, spf: Spf, sender: str, signatures: Sequence[Signature], dmarc: Dmarc
) -> bytes:
    """The field, folded, CRLF at its end. `sender`: the envelope sender, "" for none; of one that is no plain
    address only the domain is named. Of remote text only words that can stand in it unquoted are repeated."""
    mailfrom = sender if _is_plain(sender) else _word(spf.domain)
    # RFC 8601 §2.7.2
    identity = ("smtp.mailfrom", mailfrom) if spf.scope == "mailfrom" else ("smtp.helo", _word(spf.domain))
    results = [_result("spf", spf.result, [identity])]
    # RFC 8601 §2.7.1
    results += [
        _result(
            "dkim", s.result,
            [("header.d", _word(s.domain)), ("header.s", _word(s.selector)), ("header.a", _word(s.algorithm))],
        )
        for s in signatures
    ] or ["dkim=none"]
    policy = f" (p={dmarc.policy}{' t=y' if dmarc.testing else ''})" if dmarc.policy else ""
    results.append(_result("dmarc", dmarc.result + policy, [("header.from", _word(dmarc.domain))]))
    lines = [f"Authentication-Results: {authserv_id}", *results]
    return (";\r\n ".join(lines) + "\r\n").encode("ascii")


def _is_plain(sender: str) -> bool:
    try:
        found = reverse_path(sender)
    except BadName:
        return False
    return found is not None and found.plain and _MAILBOX.fullmatch(sender) is not None


def _result(method: str, result: str, properties: list[tuple[str, str]]) -> str:
    return " ".join([f"{method}={result}", *(f"{name}={value}" for name, value in properties if value)])


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else ""
