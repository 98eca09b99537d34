"""Which DNS records the owner of a domain must publish, and why each.

Pure: a domain, its keys and the relay's names go in, records come out, with their zone file, `dig` commands and
the SPF line merged into the one that stands there. Promises values that `checks` accepts. Whether they are
published is asked in `observe` and judged in `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from relay.base import names
from relay.base.domain_options import Options
from relay.base.keys import zone_strings

Purpose = Literal[
    "ownership", "dkim_rsa", "dkim_ed25519", "spf", "dmarc", "return_path", "former_return_path", "tracking", "mx"
]
FEATURES: Mapping[str, str] = {"return_path": "return_path", "tracking": "tracking", "mx": "replies"}
"""Purposes of records that an owner's option asks for, with that option's name. Once a domain has been proved, such a
record carries its own feature and nothing else."""

OWNERSHIP_LABEL = "_posthouse-challenge"
OWNERSHIP_PREFIX = "posthouse-domain-verification="
# How many labels of a record's name stand before the domain.
_OWN_LABELS: dict[Purpose, int] = {
    "ownership": 1, "dkim_rsa": 2, "dkim_ed25519": 2, "spf": 0, "dmarc": 1, "return_path": 1, "former_return_path": 1,
    "tracking": 1, "mx": 0,
}


class Record(NamedTuple):
    """One record to publish.

    name: full name in A-labels, no trailing dot. short: the same relative to the registrable domain ("@" for that
    itself), as many providers ask for it. value: TXT as plain text; host names end in a dot. why: one sentence.
    alias: the name in the relay's own zone, with a dot at its end, that a CNAME may point at instead; "" for none.
    by_alias: the owner chose to publish that CNAME.
    """

    purpose: Purpose
    name: str
    type: str
    value: str
    required: bool
    why: str
    alias: str = ""
    by_alias: bool = False

    @property
    def needed(self) -> bool:
        """Whether its owner must publish it to get what was asked for: what the state depends on, and the options."""
        return self.required or self.purpose in FEATURES

    @property
    def short(self) -> str:
        """The name relative to the registrable domain."""
        return short_name(self.name)

    @property
    def published(self) -> Record:
        """The record as its owner enters it: the CNAME where that was chosen and can stand, else the record itself."""
        if not (self.by_alias and self.alias):
            return self
        return self._replace(type="CNAME", value=self.alias)

    @property
    def alias_place(self) -> tuple[str, str]:
        """(the domain's own label in the relay's zone, that zone), of a record that has an alias."""
        label, _, zone = self.alias.rstrip(".").split(".", _OWN_LABELS[self.purpose])[-1].partition(".")
        return label, zone

    @property
    def domain(self) -> str:
        """The domain that the record is for: its name without the labels that its purpose puts before."""
        return self.name.split(".", _OWN_LABELS[self.purpose])[-1]


class DomainView(NamedTuple):
    """What records depend on. name: A-labels. keys: (stem, RSA TXT, Ed25519 TXT, state) of each pair to publish.

    uuid: the domain's own label in the relay's zone. spare: the stem that
    the next pair of a hosted domain will have, "" while both of its stems are in use. proved: whether it ever was,
    after which ownership and DKIM alone carry its state. former: the subdomain of the return path that serves until the
    new one is seen, "" for none.
    """

    name: str
    ownership_token: str
    keys: tuple[tuple[str, str, str, str], ...] = ()
    options: Options = Options()
    uuid: str = ""
    spare: str = ""
    proved: bool = False
    former: str = ""


@dataclass(frozen=True, slots=True)
class RelayHosts:
    """The relay's own names, as records point at them; dmarc_rua: a mailbox for aggregate reports, or None.

    hosted_zone: the zone in which the relay keeps members' records, "" for none.
    """

    spf_host: str
    bounce_host: str
    tracking_host: str
    mx_host: str
    dmarc_rua: str | None = None
    hosted_zone: str = ""


def required(domain: DomainView, hosts: RelayHosts, *, recommended: bool = True) -> list[Record]:
    """All records of a domain, those that its state depends on (`required`) first, then those of its options; without
    `recommended` only these two kinds.

    Of two key pairs only the live one is required; a retiring one is listed, a removed one is not.
    """
    d, first = domain, not domain.proved
    out = [
        Record(
            "ownership", f"{OWNERSHIP_LABEL}.{d.name}", "TXT", f"{OWNERSHIP_PREFIX}{d.ownership_token}", True,
            "Proves that the domain is yours.",
        )
    ]  # fmt: skip
    out += _dkim(d)
    if d.options.return_path:
        out.append(Record(
            "return_path", d.options.return_path_host(d.name), "CNAME", _dot(hosts.bounce_host), first,
            "Brings bounces back to the relay under your own name, so that SPF counts for your domain.",
        ))  # fmt: skip
    if d.options.tracking:
        out.append(Record(
            "tracking", d.options.tracking_host(d.name), "CNAME", _dot(hosts.tracking_host), first,
            "Lets tracked links carry your own name.",
        ))  # fmt: skip
    if d.options.replies:
        out.append(Record(
            "mx", d.name, "MX", f"10 {_dot(hosts.mx_host)}", first,
            "Brings mail for the domain to the relay, which forwards it to your mailbox.",
        ))  # fmt: skip
    if recommended:
        out += [*_former(d, hosts), *_recommended(d, hosts)]
    else:
        out = [record for record in out if record.needed]
    if hosts.hosted_zone and d.uuid:
        if d.options.hosted and d.spare and recommended:
            out += _spare(d)
        out = [r._replace(alias=alias_of(r, d.uuid, hosts.hosted_zone), by_alias=d.options.hosted) for r in out]
        # A spare name has no record but the alias itself.
        out = [r.published if r.type == "CNAME" and not r.value else r for r in out]
    return sorted(out, key=lambda record: (not record.required, not record.needed))


def _former(d: DomainView, hosts: RelayHosts) -> list[Record]:
    if not d.former:
        return []
    why = "The return path in use until the new one is seen: keep it until then."
    return [Record("former_return_path", f"{d.former}.{d.name}", "CNAME", _dot(hosts.bounce_host), False, why)]


def _recommended(d: DomainView, hosts: RelayHosts) -> list[Record]:
    # RFC 7208 §3: the policy of a domain; RFC 7489 §6.3: p=none asks for nothing but reports.
    rua = f"; rua=mailto:{hosts.dmarc_rua}" if hosts.dmarc_rua else ""
    return [
        Record(
            "spf", d.name, "TXT", merge_spf(None, hosts.spf_host)[0], False,
            "Names the relay as a permitted sender, for receivers that look at SPF.",
        ),
        Record(
            "dmarc", f"_dmarc.{d.name}", "TXT", f"v=DMARC1; p=none{rua}", False,
            "Tells receivers that your mail is signed; large providers ask for it.",
        ),
    ]  # fmt: skip


def _spare(d: DomainView) -> list[Record]:
    why = "A place for the next {} key: once this stands, keys change without your doing anything."
    return [
        Record("dkim_rsa", f"{d.spare}r._domainkey.{d.name}", "CNAME", "", False, why.format("RSA")),
        Record("dkim_ed25519", f"{d.spare}e._domainkey.{d.name}", "CNAME", "", False, why.format("Ed25519")),
    ]


def _dkim(d: DomainView) -> list[Record]:
    out = []
    live = any(state == "live" for *_, state in d.keys)
    for stem, rsa_txt, ed_txt, state in d.keys:
        if state not in ("pending", "live", "retiring"):
            continue
        needed = state == "live" or (state == "pending" and not live)
        why = "Lets receivers check the {} signature on your mail."
        if state == "retiring":
            why = "The {} key before this one: keep it while mail signed with it is under way."
        # RFC 6376 §3.6.2.1: keys stand at <selector>._domainkey.<domain>.
        out += [
            Record("dkim_rsa", f"{stem}r._domainkey.{d.name}", "TXT", rsa_txt, needed, why.format("RSA")),
            Record("dkim_ed25519", f"{stem}e._domainkey.{d.name}", "TXT", ed_txt, needed, why.format("Ed25519")),
        ]
    return out


def alias_of(record: Record, uuid: str, zone: str) -> str:
    """The name in `zone`, unique to member and domain, that a CNAME at the record's name may point at.

    "" where an alias can't stand: at the domain itself (RFC 1034 §3.6.2).
    """
    own = _OWN_LABELS[record.purpose]
    label = ".".join(record.name.split(".")[:own])
    return f"{label}.{uuid}.{_dot(zone)}" if own else ""


def hosted(records: Iterable[Record]) -> list[tuple[str, str, str]]:
    """(name, type, value) of what the relay's own zone holds, so that the records' aliases lead somewhere."""
    held = (r for r in records if r.alias and r.value != r.alias)
    return list(dict.fromkeys((r.alias.rstrip("."), r.type, r.value) for r in held))


def zone_file(records: Iterable[Record], *, ttl: int = 3600, spf_there: str | None = None) -> str:
    """The records as lines of a zone file (RFC 1035 §5.1), names absolute, TXT cut at 255 octets and quoted.

    spf_there: what to do about an SPF record that stands at the domain already ("": nothing), None where none does.
    """
    return "".join(
        f"{record.name}. {ttl} IN {record.type} {line_value(record)}\n"
        if record.purpose != "spf" or spf_there is None
        # RFC 7208 §3.2: a second SPF record beside the first would make both count for nothing.
        else f"; {record.name} has an SPF record already. {' '.join(spf_there.split())}".rstrip() + "\n"
        for record in records
    )


def line_value(record: Record) -> str:
    """The value as it stands in a zone file."""
    return quoted(record.value) if record.type == "TXT" else record.value


def quoted(text: str) -> str:
    """A TXT value as quoted strings of at most 255 octets each; UnicodeEncodeError when it is not ASCII."""
    return " ".join(f'"{_escaped(part)}"' for part in zone_strings(text))


def dig_command(record: Record) -> str:
    """A command that shows what stands at the record's name now."""
    return f"dig +short {record.name} {record.type}"


def merge_spf(existing: str | None, include: str) -> tuple[str, str]:
    """The SPF line that lets `include` send, made from the one already there; and the difference, as `-` and `+` lines.

    Nothing to change gives `existing` and "". A line that ends in `+all` permits everybody: it becomes `~all`.
    """
    wanted = f"include:{include}"
    if existing is None:
        line = f"v=spf1 {wanted} ~all"
        return line, f"+ {line}"
    if spf_includes(existing, include) and not spf_permits_all(existing):
        return existing, ""
    # RFC 7208 §4.6.1: terms are evaluated from left to right, and nothing counts after `all`.
    terms = [term for term in existing.split()[1:] if _bare(term) != wanted.lower()]
    before = next((at for at, term in enumerate(terms) if _is_end(term)), len(terms))
    ends = ["~all" if _permits(term) else term for term in terms[before:]]
    line = " ".join(["v=spf1", *terms[:before], wanted, *ends])
    return line, f"- {existing}\n+ {line}"


def merge_several_spf(lines: Sequence[str], include: str) -> str:
    """One SPF line in place of those that stand there, with `include`; RFC 7208 §4.5 lets only one stand."""
    if len(lines) == 1:
        return merge_spf(lines[0], include)[0]
    terms = dict.fromkeys(term for line in lines for term in line.split()[1:] if _bare(term) != "all")
    return merge_spf(" ".join(["v=spf1", *terms, "~all"]) if lines else None, include)[0]


def spf_lines(values: Iterable[str]) -> list[str]:
    """Those TXT values that are SPF records (RFC 7208 §4.5: they begin with v=spf1 and a space or the end)."""
    return [value for value in values if re.match(r"v=spf1(?: |$)", value, re.IGNORECASE)]


def spf_includes(line: str, include: str) -> bool:
    """True when an SPF line passes what `include` passes, before anything else ends it."""
    for term in line.lower().split()[1:]:
        if _bare(term) == f"include:{include.lower()}" and term[0] in "+i":
            return True
        if _bare(term) == "all":
            return False
    # RFC 7208 §6.1: without `all`, the whole policy may be another name's.
    return f"redirect={include.lower()}" in line.lower().rstrip(".").split()


def spf_permits_all(line: str) -> bool:
    """True when an SPF line lets everybody send."""
    return any(_permits(term) for term in line.split()[1:])


def _permits(term: str) -> bool:
    # RFC 7208 §4.6.2: without a qualifier a mechanism means pass.
    return term.lower() in ("all", "+all")


def _is_end(term: str) -> bool:
    return _bare(term) == "all" or term.lower().startswith("redirect=")


def _bare(term: str) -> str:
    return re.sub(r"^[+?~-]", "", term.lower()).rstrip(".")


def short_name(name: str) -> str:
    """A full name relative to its registrable domain; "@" for that itself."""
    top = names.registrable(name)
    if top is None:
        return name
    return "@" if name == top else name.removesuffix(f".{top}")


def _dot(host: str) -> str:
    return host if host.endswith(".") else f"{host}."


def _escaped(text: str) -> str:
    # RFC 1035 §5.1: a quote and a backslash are escaped, what does not print is \DDD.
    return "".join(
        "\\" + char if char in '"\\' else char if " " <= char <= "~" else f"\\{ord(char):03d}" for char in text
    )
