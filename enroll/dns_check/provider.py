"""Who runs a domain's DNS, told by the names of its name servers. Pure; never an error, at worst "unknown"."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = "unknown"

# Name servers' host names in lower case without the trailing dot; the first that fits counts.
_PATTERNS = tuple(
    (label, re.compile(rf"(?:^|\.)(?:{pattern})$"))
    for label, pattern in (
        ("Cloudflare", r"cloudflare\.com"),
        ("Route 53", r"awsdns-[0-9]+\.(?:com|net|org|co\.uk)"),
        ("GoDaddy", r"domaincontrol\.com"),
        ("Namecheap", r"registrar-servers\.com|namecheaphosting\.com"),
        ("DigitalOcean", r"digitalocean\.com"),
        ("Gandi", r"gandi\.net"),
        ("OVH", r"ovh\.net|ovh\.ca|anycast\.me"),
        ("Bluehost", r"bluehost\.com"),
        ("HostGator", r"hostgator\.com|websitewelcome\.com"),
        ("eNom", r"name-services\.com"),
        ("Dynadot", r"dynadot\.com|dyna-ns\.net"),
        ("Azure DNS", r"azure-dns\.(?:com|net|org|info)"),
        ("Google Cloud DNS", r"ns-cloud-[a-z][0-9]+\.googledomains\.com"),
        ("Google Domains", r"googledomains\.com"),
        ("Hover", r"hover\.com"),
        ("DreamHost", r"dreamhost\.com"),
        ("Linode", r"linode\.com"),
    )
)
LABELS = tuple(label for label, _ in _PATTERNS)


def provider(ns_hosts: Iterable[str]) -> str:
    """The label of the provider that these name servers belong to; "unknown" for none, others, or a mixture."""
    found = {_label(host) for host in ns_hosts}
    return found.pop() if len(found) == 1 else UNKNOWN


def _label(host: str) -> str:
    name = host.lower().rstrip(".")
    return next((label for label, pattern in _PATTERNS if pattern.search(name)), UNKNOWN)
