"""A DNS record that the owner of a domain publishes, in each form in which it is shown, and what records depend on.

Values and their writing only: which records there are, and how each is judged, say the kinds in `kinds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from relay.base import names
from relay.base.domain_options import Options
from relay.base.keys import zone_strings

if TYPE_CHECKING:
    from enroll.records.kinds import Kind

MISSING = "missing"


class Record(NamedTuple):
    """One record to publish.

    domain: the one it is for. name: full name in A-labels, no trailing dot. value: TXT as plain text; host names end in
    a dot; "" where no line may be shown, for the reason in `note`. why: one sentence. note: what has to be known before
    it is entered, "" for nothing. alias: the name in the relay's own zone, with a dot at its end, that a CNAME may
    point at instead; "" for none. by_alias: the owner chose to publish that CNAME. report_address: where reports
    might go, if DNS lets them.
    """

    kind: Kind
    domain: str
    name: str
    type: str
    value: str
    required: bool
    why: str
    note: str = ""
    alias: str = ""
    by_alias: bool = False
    report_address: str = ""

    @property
    def purpose(self) -> str:
        """The kind's word, as findings and APIs have it."""
        return self.kind.name

    @property
    def title(self) -> str:
        """The kind in words for people."""
        return self.kind.title

    @property
    def needed(self) -> bool:
        """Whether its owner must publish it to get what was asked for: what the state depends on, and the options."""
        return self.required or bool(self.kind.option)

    @property
    def short(self) -> str:
        """The name relative to the registrable domain ("@" for that itself), as many providers ask for it."""
        return short_name(self.name)

    @property
    def explained(self) -> str:
        """Why it is there, and what has to be known before it is entered."""
        return f"{self.why} {self.note}".rstrip()

    @property
    def published(self) -> Record:
        """The record as its owner enters it: the CNAME where that was chosen and can stand, else the record itself."""
        if not (self.by_alias and self.alias):
            return self
        return self._replace(type="CNAME", value=self.alias)

    @property
    def label(self) -> str:
        """What stands before the domain in its name, "" for nothing."""
        return self.name.removesuffix(self.domain).rstrip(".")

    @property
    def alias_place(self) -> tuple[str, str]:
        """(the domain's own label in the relay's zone, that zone), of a record that has an alias."""
        label, _, zone = self.alias.rstrip(".").removeprefix(f"{self.label}.").partition(".")
        return label, zone

    def placed(self, uuid: str, zone: str, *, by_alias: bool) -> Record:
        """The record with its name in `zone`, unique to member and domain, that a CNAME at its own may point at; with
        none where an alias can't stand: at the domain itself (RFC 1034 §3.6.2)."""
        alias = f"{self.label}.{uuid}.{dotted(zone)}" if self.label else ""
        return self._replace(alias=alias, by_alias=by_alias)


class DomainView(NamedTuple):
    """What records depend on. name: A-labels. keys: (stem, RSA TXT, Ed25519 TXT, state) of each pair to publish.

    uuid: the domain's own label in the relay's zone. spare: the stem that the next pair of a hosted domain will have,
    "" while both of its stems are in use. proved: whether it ever was, after which ownership and DKIM alone carry its
    state. former: the subdomain of the return path that serves until the new one is seen, "" for none. consent:
    parents, held by other members, at which ownership must be shown too.
    """

    name: str
    ownership_token: str
    keys: tuple[tuple[str, str, str, str], ...] = ()
    options: Options = Options()
    uuid: str = ""
    spare: str = ""
    proved: bool = False
    former: str = ""
    consent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelayHosts:
    """The relay's own names, as records point at them; dmarc_rua: a mailbox for aggregate reports, or None.
    report_address: the relay's own one, suggested where none is named and DNS shows that it may be used; "" for none.

    hosted_zone: the zone in which the relay keeps members' records, "" for none.
    """

    spf_host: str
    bounce_host: str
    tracking_host: str
    mx_host: str
    dmarc_rua: str | None = None
    hosted_zone: str = ""
    report_address: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """code: a machine's word. says: one sentence with what was found. fix: the corrected line, or what to do."""

    code: str
    says: str
    fix: str


def zone_file(records: Iterable[Record], *, ttl: int = 3600) -> str:
    """The records as lines of a zone file (RFC 1035 §5.1), names absolute, TXT cut at 255 octets and quoted. What has
    to be known before a line is entered stands above it as a comment; a record without a value is a comment alone."""
    lines = []
    for record in records:
        if record.note:
            lines.append(f"; {record.name}: {printable(record.note)}")
        if record.value:
            lines.append(f"{record.name}. {ttl} IN {record.type} {line_value(record)}")
    return "".join(f"{line}\n" for line in lines)


def line(record: Record) -> str:
    """The record as one line of a zone file, without TTL, in the form that its owner chose."""
    record = record.published
    return f"{record.name}. IN {record.type} {line_value(record)}"


def line_value(record: Record) -> str:
    """The value as it stands in a zone file."""
    return readable(record.value) if record.type == "TXT" else record.value


def quoted(text: str) -> str:
    """A TXT value as quoted strings of at most 255 octets each; UnicodeEncodeError when it is not ASCII."""
    return " ".join(f'"{_escaped(part)}"' for part in zone_strings(text))


def readable(text: str) -> str:
    """`quoted`, for reading only: what is not ASCII stands as it is."""
    return quoted(text) if text.isascii() else f'"{printable(text)}"'


def dig_command(record: Record) -> str:
    """A command that shows what stands at the record's name now."""
    return f"dig +short {record.name} {record.type}"


def shown(values: Iterable[str], most: int = 3, octets: int = 120) -> str:
    """Values in quotation marks for a sentence, shortened, without control characters."""
    values = list(values)
    cut = [f"“{printable(value[:octets])}{'…' if len(value) > octets else ''}”" for value in values[:most]]
    return ", ".join(cut) + (f" and {len(values) - most} more" if len(values) > most else "")


def printable(text: str) -> str:
    """Control and other unprintable characters replaced, for pages, mail and logs."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def short_name(name: str) -> str:
    """A full name relative to its registrable domain; "@" for that itself."""
    top = names.registrable(name)
    if top is None:
        return name
    return "@" if name == top else name.removesuffix(f".{top}")


def dotted(host: str) -> str:
    """A host name with a dot at its end."""
    return host if host.endswith(".") else f"{host}."


def undotted(text: str) -> str:
    """A host name as names are compared."""
    return text.strip().lower().rstrip(".")


def _escaped(text: str) -> str:
    # RFC 1035 §5.1: a quote and a backslash are escaped, what does not print is \DDD.
    return "".join(
        "\\" + char if char in '"\\' else char if " " <= char <= "~" else f"\\{ord(char):03d}" for char in text
    )
