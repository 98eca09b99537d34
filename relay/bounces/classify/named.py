"""Whose domain is called unknown: the recipient's, or another that the text names.

"member.example does not exist" speaks of the sender, said to a recipient at far.example. A host that takes part in the
conversation ("by mx.hoster.example", "mx.far.example[192.0.2.7] said") and the part of an address behind its `@` are
not what is spoken of.

Promises: pure, linear in the text.
"""

from __future__ import annotations

import re
from typing import Literal

_DOMAIN = re.compile(r"(?<![\w.@=/-])((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w-]{1,62})(?![\w@=/]|\.\w)")
_TAKES_PART = re.compile(
    r"(?:\b(?:host|by|server|at|via|to|with|from|gateway|relay|mta|on|smtp|dns|mx|reporting|remote|generating|"
    r"exchanger|www|"
    r"see|visit)\W{1,3}|://\S{0,80}|[\w-]=)$",
    re.IGNORECASE,
)
_SPEAKS = re.compile(
    r"\W{0,2}(?:\[|\(\[?\d|\s?(?:said|says|replied|responded|rejected|refused|returned)\b)", re.IGNORECASE
)
_OF_A_DOMAIN = re.compile(
    r"\b(?:domain|domaine|dominio|domínio|domäne|domein|domena|домен\w?|mx|name|zone)\W{1,12}$", re.IGNORECASE
)
_IS_GONE = re.compile(
    r"['\">)\]]{0,3}\s{0,2}(?:\([^()]{0,60}\)\s?)?(?:(?:domain|host|name)\s)?(?:is |was |seems to be |appears to be )?"
    r"(?:does(?: not|n't) (?:exist|resolve)|do not exist|not exist|unknown|invalid|not found|not valid|"
    r"no longer exists?|unresolvable|"
    r"nonexistent|non-existent|could not be (?:found|resolved)|cannot be (?:found|resolved)|can't be (?:found|"
    r"resolved)|"
    r"existiert nicht|gibt es nicht|n'existe|inconnu|no existe|non esiste|não existe|bestaat niet|nie istnieje|"
    r"не существует|は?存在し|不存在|존재하지)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"@]{1,64}@((?:[\w-]{1,63}\.){1,8}[\w-]{2,63})")

Whose = Literal["recipient", "other", "unnamed"]


def whose(text: str, recipient: str, *, mailbox: bool) -> Whose:
    """Whose domain `text` calls unknown. `recipient`: its addresses, or "" where none is known; then those the text
    names count. `mailbox`: a mailbox may be meant, so only a domain right before such words is spoken of."""
    named = []
    for found in _DOMAIN.finditer(text[:1500]):
        before, behind = text[max(0, found.start() - 90) : found.start()], text[found.end() : found.end() + 90]
        if _SPEAKS.match(behind):
            continue
        gone = _IS_GONE.match(behind) is not None
        if not gone and (mailbox or (_TAKES_PART.search(before) and not _OF_A_DOMAIN.search(before))):
            continue
        named.append(found[1].lower())
        if len(named) > 8:
            break
    if not named:
        return "unnamed"
    theirs = {m[1].lower() for m in _ADDRESS.finditer(recipient if "@" in recipient else text[:1500])}
    if not theirs:
        return "other" if mailbox else "unnamed"
    return "recipient" if any(_kin(d, r) for d in named for r in theirs) else "other"


def _kin(one: str, other: str) -> bool:
    return one == other or one.endswith("." + other) or other.endswith("." + one)
