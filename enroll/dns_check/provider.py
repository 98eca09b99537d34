"""Who runs a domain's DNS, told by the names of its name servers, and how a record is entered there. Pure; never an
error, at worst "unknown"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from enroll.records import Record
from enroll.records.record import line_value, short_name

UNKNOWN = "unknown"


class Provider(NamedTuple):
    """A DNS provider: how its name servers are called, and the words of its form for a record.

    pattern: of host names in lower case without the trailing dot. name, text, target: what the fields for the name, for
    a TXT record's value and for a CNAME's or MX's target are called. full: names are entered whole, else relative to
    the zone. apex: what is entered for the zone itself. dot: targets end in a dot. quoted: TXT is entered in quoted
    strings. joined: an MX's preference is entered in one field with its target. note: a sentence that must be known.
    """

    label: str
    pattern: str
    name: str = "Name"
    text: str = "Value"
    target: str = "Value"
    full: bool = False
    apex: str = "@"
    dot: bool = False
    quoted: bool = False
    joined: bool = False
    note: str = ""


# The first that fits counts.
_PROVIDERS = (
    Provider(
        "Cloudflare", r"cloudflare\.com", text="Content", target="Target",
        note="Set the proxy status of each record to “DNS only” (grey cloud).",
    ),
    Provider(
        "Route 53", r"awsdns-[0-9]+\.(?:com|net|org|co\.uk)", "Record name", apex="", quoted=True, joined=True,
        note="Where a TXT record exists at a name already, add the value to it as a line of its own.",
    ),
    Provider("GoDaddy", r"domaincontrol\.com"),
    Provider(
        "Namecheap", r"registrar-servers\.com|namecheaphosting\.com", "Host",
        note="MX records stand under Mail Settings, set to “Custom MX”.",
    ),
    Provider("DigitalOcean", r"digitalocean\.com", "Hostname", target="Is an alias of", dot=True),
    Provider("Gandi", r"gandi\.net", target="Hostname", dot=True),
    Provider("OVH", r"ovh\.net|ovh\.ca|anycast\.me", "Sub-domain", target="Target", apex="", dot=True),
    Provider("Bluehost", r"bluehost\.com", "Host record", "TXT value", "Points to"),
    Provider("HostGator", r"hostgator\.com|websitewelcome\.com", "Name", "Record", "Record", full=True),
    Provider("eNom", r"name-services\.com", "Host name", "Address", "Address"),
    Provider("Dynadot", r"dynadot\.com|dyna-ns\.net", "Subdomain", "Record value", "Record value", apex=""),
    Provider("Azure DNS", r"azure-dns\.(?:com|net|org|info)", target="Alias"),
    Provider(
        "Google Cloud DNS", r"ns-cloud-[a-z][0-9]+\.googledomains\.com", "DNS name", "TXT data", "Canonical name",
        apex="", dot=True, quoted=True, joined=True,
    ),
    Provider("Google Domains", r"googledomains\.com", "Host name", "Data", "Data"),
    Provider("Hover", r"hover\.com", "Hostname", target="Target name"),
    Provider("DreamHost", r"dreamhost\.com", "Host", "TXT value", "Points to", apex=""),
    Provider("Linode", r"linode\.com", "Hostname", target="Alias to", apex=""),
)
_NOBODY = Provider(UNKNOWN, "", full=True)
_PATTERNS = tuple((one.label, re.compile(rf"(?:^|\.)(?:{one.pattern})$")) for one in _PROVIDERS)
LABELS = tuple(label for label, _ in _PATTERNS)


def provider(ns_hosts: Iterable[str]) -> str:
    """The label of the provider that these name servers belong to; "unknown" for none, others, or a mixture."""
    found = {_label(host) for host in ns_hosts}
    return found.pop() if len(found) == 1 else UNKNOWN


def form_of(label: str) -> Provider:
    """The form of the provider with this label; for others, one that asks for everything in full."""
    return next((one for one in _PROVIDERS if one.label == label), _NOBODY)


def entered(record: Record, form: Provider) -> list[tuple[str, str]]:
    """(field, what to enter) of a record in a provider's form, in the order of such forms."""
    short = record.name if form.full else short_name(record.name)
    fields = [("Type", record.type), (form.name, form.apex if short == "@" else short)]
    if record.type == "TXT":
        return [*fields, (form.text, line_value(record) if form.quoted else record.value)]
    target = record.value if form.dot else record.value.rstrip(".")
    if record.type == "MX" and not form.joined:
        preference, _, host = target.partition(" ")
        return [*fields, ("Priority", preference), (form.target, host)]
    return [*fields, (form.target if record.type == "CNAME" or not form.joined else form.text, target)]


def _label(host: str) -> str:
    name = host.lower().rstrip(".")
    return next((label for label, pattern in _PATTERNS if pattern.search(name)), UNKNOWN)
