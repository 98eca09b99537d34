"""The Authentication-Results field (RFC 8601): writing ours, knowing those that only pretend to be ours. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from relay.verify.dmarc import Dmarc
from relay.verify.signatures import Signature
from relay.verify.spf import Spf

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_MAILBOX = re.compile(r"[A-Za-z0-9!#$&'*+/=?^_{|}~.-]{1,64}@[A-Za-z0-9._-]{1,253}")


def results_field(
    authserv_id: str, *, spf: Spf, sender: str, signatures: Sequence[Signature], dmarc: Dmarc
) -> bytes:
    """The field, folded, CRLF at its end. `sender`: the envelope sender, "" for none. Of remote text only words that
    can stand in it unquoted are repeated."""
    mailfrom = sender if _MAILBOX.fullmatch(sender) else _word(spf.domain)
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
    policy = f" (p={dmarc.policy})" if dmarc.policy else ""
    results.append(_result("dmarc", dmarc.result + policy, [("header.from", _word(dmarc.domain))]))
    lines = [f"Authentication-Results: {authserv_id}", *results]
    return (";\r\n ".join(lines) + "\r\n").encode("ascii")


def speaks_for(value: bytes, ours: Collection[str]) -> bool:
    """True for a field value that claims to be by one of `ours` (names in lower case), or by nobody that can be read.

    RFC 8601 §5: only we may speak in our name; such a field that comes from outside is taken out.
    """
    return _authserv_id(value) in (None, *ours)


def _authserv_id(value: bytes) -> str | None:
    text, depth, at = value.decode("latin-1"), 0, 0
    # RFC 5322 §3.2.2: white space and comments, which nest, may stand before it.
    while at < len(text) and (depth or text[at] in " \t\r\n("):
        if text[at] == "\\":
            at += 1
        elif text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
        at += 1
    found = re.match(r'"((?:[^"\\]|\\.)*)"|[^\s;()"]+', text[at:])
    if found is None:
        return None
    return (re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[0]).rstrip(".").lower()


def _result(method: str, result: str, properties: list[tuple[str, str]]) -> str:
    return " ".join([f"{method}={result}", *(f"{name}={value}" for name, value in properties if value)])


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else ""
