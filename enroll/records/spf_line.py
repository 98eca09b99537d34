"""One SPF line that lets the relay send, made from the lines that stand at a domain. Pure; the record is read by the
relay's own reader (RFC 7208 §4.5 lets only one stand)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.verify import BadRecord
from relay.verify.spf_record import SpfRecord, read, repaired


def merge_spf(existing: str | None, include: str) -> tuple[str, str]:
    """The SPF line that lets `include` send, made from the one already there; and the difference, as `-` and `+` lines.

    Nothing to change gives `existing` and "". A line that ends in `+all` permits everybody: it becomes `~all`. Of one
    that can't be read, what can be put right is.
    """
    wanted = f"include:{include}"
    if existing is None:
        line = f"v=spf1 {wanted} ~all"
        return line, f"+ {line}"
    found = _read(existing)
    if found is not None and includes(found, include) and not permits_all(found):
        return existing, ""
    # RFC 7208 §4.6.1: terms are evaluated from left to right, and nothing counts after `all`.
    terms = [term for term in (repaired(existing) or existing).split()[1:] if _bare(term) != wanted.lower()]
    before = next((at for at, term in enumerate(terms) if _is_end(term)), len(terms))
    # RFC 7208 §4.6.2: without a qualifier a mechanism means pass.
    ends = ["~all" if term.lower() in ("all", "+all") else term for term in terms[before:]]
    line = " ".join(["v=spf1", *terms[:before], wanted, *ends])
    return line, f"- {existing}\n+ {line}"


def merge_several_spf(lines: Sequence[str], include: str) -> str:
    """One SPF line in place of those that stand there, with `include`."""
    if len(lines) == 1:
        return merge_spf(lines[0], include)[0]
    terms = dict.fromkeys(term for line in lines for term in line.split()[1:] if _bare(term) != "all")
    return merge_spf(" ".join(["v=spf1", *terms, "~all"]) if lines else None, include)[0]


def includes(record: SpfRecord, include: str) -> bool:
    """True when a record passes what `include` passes, before anything else ends it."""
    for term in record.terms:
        if term.name == "include" and term.qualifier == "+" and _bare(term.spec) == include.lower():
            return True
        if term.name == "all":
            return False
    # RFC 7208 §6.1: without `all`, the whole policy may be another name's.
    return record.redirect is not None and _bare(record.redirect) == include.lower()


def permits_all(record: SpfRecord) -> bool:
    """True when a record lets everybody send."""
    return any(term.name == "all" and term.qualifier == "+" for term in record.terms)


def _read(line: str) -> SpfRecord | None:
    try:
        return read(line)
    except BadRecord:
        return None


def _is_end(term: str) -> bool:
    return _bare(term) == "all" or term.lower().startswith("redirect=")


def _bare(term: str) -> str:
    return re.sub(r"^[+?~-]", "", term.lower()).rstrip(".")
