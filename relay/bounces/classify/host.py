"""The sending host named by its IP address in a refusal: "192.0.2.1 is listed", "banned sender[192.0.2.1]".

No table of phrases holds what a thousand operators write about a host they don't want; an address beside a word for
not being wanted says it in all of them. Promises: linear in the text; what is said of the message, of a recipient or
of the sender's domain, and the address of the host that speaks ("host mx[192.0.2.7] said:"), is not taken for it.
Leaves to its package: with which status, and against which other reading of the text, the host's address counts.
"""

from __future__ import annotations

import ipaddress
import re

_WORDS = 8
# An IPv4 address, or what may be an IPv6 one; then a word, in which dots and hyphens count (statuses, names).
_TOKENS = re.compile(
    r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?![\w]|\.\d)|(?<![\w:.])(?:ipv6:)?([0-9a-f:]{3,39}[0-9a-f:])(?![\w:.])"
    r"|([^\s<>()\[\]{}\"|,;:!?=_#/\\]+)"
)
_LINKS = re.compile(r"https?://\S{1,300}")
_UNWANTED = frozenset({
    "blocked", "listed", "refused", "denied", "banned", "bad", "untrusted", "blacklisted", "blocklisted",
    "denylisted", "blackholed", "unwelcome", "blocklist", "blacklist", "barred",
})  # fmt: skip
# What lies between is said of something else than the host.
_ELSE = frozenset({
    "message", "messages", "content", "subject", "header", "headers", "body", "attachment", "attachments", "url",
    "urls", "uri", "link", "links", "domain", "domains", "recipient", "recipients", "user", "users", "mailbox",
    "mailboxes", "account", "spf", "dkim", "dmarc", "arc", "authentication", "authenticated", "relaying", "spam",
    "virus", "said", "says", "giving", "like", "connect", "connected", "connecting", "talk", "by", "policy", "rule",
})  # fmt: skip
# What refuses the mail although the host's address stands behind it, or is itself within the message.
_NEVER = frozenset({
    "relaying", "link", "links", "url", "urls", "uri", "attachment", "attachments", "content", "body", "header",
    "headers", "domain", "domains",
})  # fmt: skip
# Host and message both may be meant; then the host only where it is named as such, between the two.
_HOSTS = frozenset({
    "ip", "host", "hosts", "server", "client", "sender", "address", "relay", "mta", "from", "for", "connection",
    "machine",
})  # fmt: skip
_ABOUT_CONTENT = re.compile(r"virus|malware|phish|attach|url|uri|link|surbl|content|body|infected|domain|trojan")
_CODE = re.compile(r"[245]\d\d(?:-[245]\.\d+\.\d+)?|[245]\.\d{1,3}\.\d{1,3}")


def blamed(text: str, *, strictly: bool) -> bool:
    """Whether `text` says of an IP address in it that it is not wanted. `strictly`: the text speaks of content or of a
    sender too, so only what is said plainly of the host counts."""
    text = _LINKS.sub(" ", text.lower())
    if strictly and _ABOUT_CONTENT.search(text):
        return False
    words: list[str] = []
    found: list[int] = []
    for m in _TOKENS.finditer(text):
        if m[1] or m[2]:
            if _is_address(m[1] or m[2]):
                found.append(len(words))
                words.append("")
                continue
            words.append(m[0])
        else:
            words.append(m[0].strip(".'-*"))
    return any(_unwanted(words, at, strictly) for at in found[:20])


def _unwanted(words: list[str], at: int, strictly: bool) -> bool:
    if not _NEVER.isdisjoint(words[max(at - 3, 0) : at]):
        return False
    for word in words[at + 1 : at + 1 + _WORDS]:
        if word in _UNWANTED:
            return True
        if word in _ELSE or "@" in word or _CODE.fullmatch(word):
            break
    named = False
    for back in range(at - 1, max(at - 1 - _WORDS, -1), -1):
        word = words[back]
        if word in _UNWANTED:
            # "message refused [192.0.2.1]": the address stands there by the way.
            before = words[max(back - 4, 0) : back]
            if not _NEVER.isdisjoint(before) or any("@" in w for w in before):
                return False
            by_the_way = not _ELSE.isdisjoint(before)
            return named or not (strictly or by_the_way)
        if word in _ELSE or "@" in word or _CODE.fullmatch(word):
            return False
        named = named or word in _HOSTS
    return False


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
