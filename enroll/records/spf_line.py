"""One SPF line that lets the relay send, made from the lines that stand at a domain. Pure; the record is read by the
relay's own reader (RFC 7208 §4.5 lets only one stand)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.verify import BadRecord
from relay.verify.spf_record import SpfRecord, Term, read, records, salvaged


def merge_spf(existing: str | None, include: str) -> tuple[str, str]:
    """The SPF line that lets `include` send, made from the one already there; and the difference, as `-` and `+` lines.

    Nothing to change gives `existing` and "". A line that lets everybody send no longer does: `+all` becomes `~all`,
    networks of all addresses go. Of one that can't be read, what can be put right is; what can't is `left_out`.
    """
    wanted = f"include:{include}"
    if existing is None:
        line = f"v=spf1 {wanted} ~all"
        return line, f"+ {line}"
    found = _read(existing)
    if found is not None and includes(found, include) and not permits_all(found):
        return existing, ""
    # RFC 7208 §4.6.1: terms are evaluated from left to right, and nothing counts after `all`.
    terms = [term for term in _terms(existing) if _bare(term) != wanted.lower() and not _opens(term)]
    before = next((at for at, term in enumerate(terms) if _is_end(term)), len(terms))
    # RFC 7208 §4.6.2: without a qualifier a mechanism means pass.
    ends = ["~all" if term.lower() in ("all", "+all") else term for term in terms[before:]]
    line = " ".join(["v=spf1", *terms[:before], wanted, *ends])
    return line, f"- {existing}\n+ {line}"


def merge_several_spf(lines: Sequence[str], include: str) -> str:
    """One SPF line in place of those that stand there, with `include`."""
    if len(lines) == 1:
        return merge_spf(lines[0], include)[0]
    terms: dict[str, None] = {}
    for line in lines:
        own = _terms(line)
        ends = any(_bare(term) == "all" for term in own)
        for term in own:
            # RFC 7208 §6.1: beside `all` a redirect counts for nothing; without it, it permits what an include permits.
            if term.lower().startswith("redirect="):
                term = "" if ends else f"include:{term.partition('=')[2]}"
            if term and _bare(term) != "all":
                terms[term] = None
    return merge_spf(" ".join(["v=spf1", *terms, "~all"]) if lines else None, include)[0]


def left_out(lines: Sequence[str]) -> list[str]:
    """The terms of `lines` that a merged line doesn't have, because no receiver can read them."""
    return [term for line in lines if _read(line) is None for term in salvaged(line)[1]]


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
    for term in record.terms:
        if _everybody(term) and term.qualifier == "+":
            return True
        # RFC 7208 §4.6.2: the first that matches decides.
        if term.name == "all":
            return False
    return False


def _everybody(term: Term) -> bool:
    """Whether a mechanism matches every client, at least those of one family."""
    if term.network is not None:
        return term.network.prefixlen == 0
    return term.name == "all" or (term.name in ("a", "mx") and 0 in (term.bits4, term.bits6))


def _opens(word: str) -> bool:
    """Whether a term other than `all` lets everybody send."""
    found = _read(f"v=spf1 {word}")
    return found is not None and any(term.name != "all" and _everybody(term) for term in found.terms)


def _terms(line: str) -> list[str]:
    if _read(line) is not None:
        # Receivers pass a mechanism over that is written with an equals sign.
        return [re.sub(r"^([+?~-]?(?:include|ip4|ip6|exists))=", r"\1:", term, flags=re.I) for term in line.split()[1:]]
    return salvaged(line)[0].split()[1:]


def _read(line: str) -> SpfRecord | None:
    if not records([line]):
        return None
    try:
        return read(line)
    except BadRecord:
        return None


def _is_end(term: str) -> bool:
    return _bare(term) == "all" or term.lower().startswith("redirect=")


def _bare(term: str) -> str:
    return re.sub(r"^[+?~-]", "", term.lower()).rstrip(".")
