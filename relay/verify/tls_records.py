"""What domains publish about TLS with their exchangers: the MTA-STS record and policy (RFC 8461), the TLSRPT record
(RFC 8460). Pure; asking for them is others'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from relay.base import names
from relay.verify.record_fault import BadRecord

StsMode = Literal["enforce", "testing", "none"]
# RFC 8461 §3.2: about one year.
MAX_AGE = 31_557_600
_MAX_MX = 1000
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A policy (RFC 8461 §3.2). `mx`: patterns in lower case; `max_age` in seconds, at most a year."""

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether an exchanger's name, A-labels in lower case, fits a pattern. RFC 8461 §4.1: `*.` is exactly one
        label."""
        parent = host.partition(".")[2]
        return host in self.mx or (bool(parent) and f"*.{parent}" in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """The policy as it is written (RFC 8461 §3.2)."""
        return (
            "version: STSv1", f"mode: {self.mode}", *(f"mx: {pattern}" for pattern in self.mx),
            f"max_age: {self.max_age}",
        )


def sts_id(texts: Sequence[str]) -> str | None:
    """The id in the TXT records at `_mta-sts.<domain>`; None where there is no MTA-STS.

    RFC 8461 §3.1: records that don't begin with `v=STSv1;` are passed over, and of several the domain has none."""
    found = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
    if len(found) != 1:
        return None
    tags = _tags(found[0])
    given = tags.get("id", "")
    return given if _ID.fullmatch(given) else None


def read_policy(body: bytes) -> StsPolicy:
    """A policy as it was fetched. Raises BadRecord where it is none (RFC 8461 §3.2)."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecord("not_text", "The policy is not UTF-8 text.") from None
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon:
            if line.strip():
                raise BadRecord("bad_line", "{at} is not of the form key: value.", line[:60])
        elif name == "mx":
            patterns.append(_pattern(value))
        else:
            # RFC 8461 §3.2: of a key that stands twice the first counts, unknown ones are passed over.
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise BadRecord("bad_version", "The policy has to say version: STSv1.")
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in ("enforce", "testing", "none"):
        raise BadRecord("bad_mode", "{at} is none of enforce, testing and none.", f"mode: {mode[:40]}")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise BadRecord("bad_max_age", "{at} is no number of seconds.", f"max_age: {age[:40]}")
    if mode != "none" and not patterns:
        raise BadRecord("no_mx", "A policy that is not mode: none has to name exchangers.")
    if len(patterns) > _MAX_MX:
        raise BadRecord("many_mx", "The policy names too many exchangers.")
    return StsPolicy(cast(StsMode, mode), tuple(dict.fromkeys(patterns)), min(int(age), MAX_AGE))


def _pattern(text: str) -> str:
    """An mx pattern in lower case. RFC 8461 §3.2: A-labels, as names are compared."""
    if not _PATTERN.fullmatch(text) or len(text) > 255:
        raise BadRecord("bad_mx", "{at} is no name of an exchanger.", f"mx: {text[:60]}")
    return text.lower()


def report_addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """Where TLS reports go, by the TXT records at `_smtp._tls.<domain>`: addresses as `mailto:` and `https:` URIs; ()
    where none are wanted.

    RFC 8460 §3: of several records the domain has none; a URI that isn't one of these is passed over."""
    found = [text for text in texts if re.match(r"v=TLSRPTv1[ \t]*;", text)]
    if len(found) != 1:
        return ()
    listed = (uri.strip() for uri in _tags(found[0]).get("rua", "").split(","))
    return tuple(dict.fromkeys(uri for uri in listed if mail_address(uri) or is_https(uri)))


def mail_address(uri: str) -> str:
    """The address of a mailto: URI (RFC 6068 §2) without its header fields; "" for what isn't one."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return ""
    try:
        return names.address(unquote(rest.partition("?")[0], errors="strict")).text
    except (names.BadName, UnicodeDecodeError):
        return ""


def is_https(uri: str) -> bool:
    """Whether something can be posted there."""
    if len(uri) > 2000 or not uri.isascii() or not uri.isprintable() or " " in uri:
        return False
    try:
        parts = urlsplit(uri)
        return parts.scheme.lower() == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


def _tags(text: str) -> dict[str, str]:
    """RFC 8461 §3.1, RFC 8460 §3: name=value between semicolons; the first of a name counts."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(), value.strip())
    return tags
