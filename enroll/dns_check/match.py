"""What stands at a record's name, read as receivers read it: it fits, or this is the mistake.

Takes the values of one server and the record that should stand there. Names the mistake in one sentence and gives
the corrected line. Knows nothing of servers that fail; missing records are looked for in `elsewhere`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from enroll.records import (
    OWNERSHIP_PREFIX,
    Purpose,
    Record,
    line_value,
    merge_several_spf,
    merge_spf,
    quoted,
    spf_includes,
    spf_lines,
    spf_permits_all,
)
from relay.base.keys import parse_dkim_txt

# RFC 7208 §4.6.4: terms that cost a lookup, of which a receiver makes ten at most.
_SPF_LOOKUP = re.compile(r"[+?~-]?(?:include:|a(?:[:/]|$)|mx(?:[:/]|$)|ptr(?::|$)|exists:)|redirect=", re.IGNORECASE)
_SPF_MAX_LOOKUPS = 10
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Mistake:
    """code: a machine's word. says: one sentence with what was found. fix: the corrected line, or what to do."""

    code: str
    says: str
    fix: str


def judge(record: Record, values: Sequence[str], others: Sequence[Record] = ()) -> Mistake | None:
    """None when `values` are as `record` wants them, else the mistake; code "missing" when none is meant as it.

    others: all records of the domain, to recognise one's value at another one's name.
    """
    # A record may be nothing but its alias: a place that is kept for a later key.
    mistake = (_cname if record.type == "CNAME" else _JUDGES[record.purpose])(record, values)
    if mistake is None or mistake.code == "second_record":
        return mistake
    for other in others:
        if other.name != record.name and other.type == record.type and other.value in values:
            return Mistake(
                "swapped", f"The value found belongs to another record, {other.name}.", line(record)
            )  # fmt: skip
    return mistake


def line(record: Record) -> str:
    """The record as one line of a zone file, without TTL, in the form that its owner chose."""
    record = record.published
    return f"{record.name}. IN {record.type} {line_value(record)}"


def shown(values: Sequence[str], most: int = 3, octets: int = 120) -> str:
    """Values in quotation marks for a sentence, shortened, without control characters."""
    cut = [f"“{printable(value[:octets])}{'…' if len(value) > octets else ''}”" for value in values[:most]]
    return ", ".join(cut) + (f" and {len(values) - most} more" if len(values) > most else "")


def printable(text: str) -> str:
    """Control and other unprintable characters replaced, for pages, mail and logs."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _ownership(record: Record, values: Sequence[str]) -> Mistake | None:
    if record.value in values:
        return None
    if not values:
        return _missing()
    for value in values:
        if value.strip() == record.value:
            says = "The value has white space before or behind it."
            return Mistake("white_space", says, f"Enter the value without it: {record.value}")
        if _unquoted(value) == record.value:
            return _in_quotes(record)
        if value.startswith(OWNERSHIP_PREFIX):
            if record.value.startswith(value):
                return _cut(record, value)
            return Mistake(
                "other_domain",
                f"The value {shown([value])} belongs to another domain, to another account, or to an earlier try.",
                line(record),
            )  # fmt: skip
    return _different(record, values)


def _dkim(record: Record, values: Sequence[str]) -> Mistake | None:
    if not values:
        return _missing()
    # RFC 6376 §3.6.2.2: with more than one record at a selector receivers may take any of them.
    if len(values) > 1:
        return Mistake(
            "second_record",
            f"{len(values)} TXT records stand at this name, and receivers may take any of them.",
            f"Remove all but this one: {line(record)}",
        )  # fmt: skip
    return _key(record, values[0])


def _key(record: Record, value: str) -> Mistake | None:
    # Quotes around the whole record reach receivers as part of the first tag's name; within p= they do no harm.
    if value.lstrip().startswith('"'):
        inner = _key(record, _unquoted(value))
        return _in_quotes(record) if inner is None else inner
    if "\\;" in value and _key(record, value.replace("\\;", ";")) is None:
        says = "The semicolons have backslashes before them, which receivers read as part of the value."
        return Mistake("escaped", says, line(record))
    try:
        found, wanted = parse_dkim_txt(value), parse_dkim_txt(record.value)
    except ValueError:
        # A cut may fall where no tag list is left.
        return _cut(record, value) if _is_start(record, value) else _different(record, [value])
    if "p" not in found:
        return _cut(record, value) if _is_start(record, value) else _different(record, [value])
    # RFC 6376 §3.6.1: an empty p= means that the key has been revoked.
    if not found["p"]:
        return Mistake("revoked", "The record has an empty p=, which declares the key revoked.", line(record))
    if found["p"] != wanted["p"]:
        if wanted["p"].startswith(found["p"]):
            return _cut(record, value)
        return Mistake(
            "other_domain",
            f"Another key stands there, another domain's or an earlier one: {shown([value], octets=60)}.",
            line(record),
        )  # fmt: skip
    # RFC 6376 §3.6.1: v= must be DKIM1 and stand first; k= defaults to rsa, h= and s= to all.
    fits = (
        found.get("v", "DKIM1") == "DKIM1"
        and ("v" not in found or next(iter(found)) == "v")
        and found.get("k", "rsa") == wanted.get("k", "rsa")
        and "sha256" in _list(found.get("h", "sha256"))
        and bool({"*", "email"} & set(_list(found.get("s", "*"))))
    )
    return None if fits else _different(record, [value])


def _spf(record: Record, values: Sequence[str]) -> Mistake | None:
    lines = spf_lines(values)
    include = record.value.split("include:")[1].split()[0]
    if not lines:
        found = next((value for value in values if _unquoted(value).lower().startswith("v=spf1")), None)
        return _missing() if found is None else _in_quotes(record)
    if len(lines) > 1:
        # RFC 7208 §4.5: two records are a permanent error, as if there were none that works.
        merged = merge_several_spf(lines, include)
        return Mistake(
            "second_record",
            f"{len(lines)} SPF records stand there; receivers then use none of them.",
            f"Leave one: {record.name}. IN TXT {_quoted(merged)}",
        )  # fmt: skip
    fixed = f"{record.name}. IN TXT {_quoted(merge_spf(lines[0], include)[0])}"
    if spf_permits_all(lines[0]):
        return Mistake("permits_all", f"The record {shown(lines)} lets everybody send in your name.", fixed)
    if not spf_includes(lines[0], include):
        return Mistake("not_included", f"The record {shown(lines)} does not include the relay.", fixed)
    if sum(1 for term in lines[0].split()[1:] if _SPF_LOOKUP.match(term)) > _SPF_MAX_LOOKUPS:
        return Mistake(
            "too_many_lookups",
            f"The record asks for more than {_SPF_MAX_LOOKUPS} lookups; receivers give up and count it as an error.",
            "Remove includes that you no longer need.",
        )  # fmt: skip
    return None


def _dmarc(record: Record, values: Sequence[str]) -> Mistake | None:
    # RFC 7489 §6.6.3: what does not begin with v=DMARC1 is passed over; two that do count as none.
    lines = [value for value in values if re.match(r"v\s*=\s*DMARC1\s*(?:;|$)", value)]
    if not lines:
        if any(re.match(r"v\s*=\s*DMARC1", _unquoted(value)) for value in values):
            return _in_quotes(record)
        return _different(record, values) if values else _missing()
    if len(lines) > 1:
        return Mistake(
            "second_record",
            f"{len(lines)} DMARC records stand there; receivers then use none of them.",
            "Remove all but one.",
        )  # fmt: skip
    if re.search(r";\s*p\s*=\s*(?:none|quarantine|reject)\s*(?:;|$)", lines[0], re.IGNORECASE):
        return None
    return Mistake("different", f"The record {shown(lines)} has no policy p= that receivers know.", line(record))


def _cname(record: Record, values: Sequence[str]) -> Mistake | None:
    if not values:
        return _missing()
    wanted, found = _host(record.value), _host(values[0])
    # The target itself, or the name in the relay's own zone that leads there.
    if found in (wanted, _host(record.alias) or wanted):
        return None
    above = record.name.split(".")
    if found in [f"{wanted}.{'.'.join(above[at:])}" for at in range(len(above))]:
        return Mistake(
            "dot_eaten",
            f"The alias points at {shown([found])}: your provider has put the domain behind the target.",
            f"Enter the target with a dot at the end: {line(record)}",
        )  # fmt: skip
    return foreign_alias(record, [found]) or Mistake(
        "different", f"The alias points at {shown([found])}.", line(record)
    )


def foreign_alias(record: Record, chain: Sequence[str]) -> Mistake | None:
    """The mistake of an alias into the relay's own zone, but to a name that was given to another domain or account,
    or for another record; None where there is no such alias."""
    own, (uuid, zone) = _host(record.alias), record.alias_place
    if not own:
        return None
    for target in map(_host, chain):
        if target == own or not target.endswith(f".{zone}"):
            continue
        if target.endswith(f".{uuid}.{zone}"):
            says = f"The alias leads to {shown([target])}, which is the place of another record of this domain."
            return Mistake("swapped", says, line(record))
        says = f"The alias leads to {shown([target])}, which was given to another domain or to another account."
        return Mistake("other_domain", says, line(record))
    return None


def _mx(record: Record, values: Sequence[str]) -> Mistake | None:
    if not values:
        return _missing()
    wanted = _host(record.value.split()[1])
    pairs = sorted((int(number), _host(host)) for number, _, host in (value.partition(" ") for value in values))
    # RFC 5321 §5.1: the lowest preference is tried first, so a better or equal one elsewhere takes the mail.
    best = [host for number, host in pairs if number == pairs[0][0]]
    if best == [wanted]:
        return None
    says = f"Mail for the domain goes to {shown(best)}."
    if any(host == wanted for _, host in pairs):
        return Mistake("other_first", f"{says} The relay is there too, but not first.", line(record))
    return Mistake("different", says, line(record))


_JUDGES: dict[Purpose, Callable[[Record, Sequence[str]], Mistake | None]] = {
    "ownership": _ownership, "dkim_rsa": _dkim, "dkim_ed25519": _dkim, "spf": _spf, "dmarc": _dmarc,
    "return_path": _cname, "former_return_path": _cname, "tracking": _cname, "mx": _mx,
}  # fmt: skip


def _missing() -> Mistake:
    return Mistake(MISSING, "", "")


def _different(record: Record, values: Sequence[str]) -> Mistake:
    return Mistake("different", f"Something else stands there: {shown(values)}.", line(record))


def _in_quotes(record: Record) -> Mistake:
    says = "The value has quotation marks of its own, which receivers read as part of it."
    return Mistake("quoted", says, f"Enter the value without quotation marks: {record.value}")


def _cut(record: Record, value: str) -> Mistake:
    return Mistake(
        "cut_at_255",
        f"The value is cut after {len(value)} characters.",
        f"Enter it as strings of at most 255 characters in one record: {line(record)}",
    )  # fmt: skip


def _is_start(record: Record, value: str) -> bool:
    return len(value) >= 4 and "".join(record.value.split()).startswith("".join(value.split()))


def _unquoted(value: str) -> str:
    return re.sub(r'"\s*"', "", value.strip()).strip('"').strip()


def _quoted(text: str) -> str:
    return quoted(text) if text.isascii() else f'"{printable(text)}"'


def _list(text: str) -> list[str]:
    return [part.strip().lower() for part in text.split(":")]


def _host(text: str) -> str:
    return text.strip().lower().rstrip(".")
