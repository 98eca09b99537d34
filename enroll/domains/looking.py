"""One look at a domain's DNS: the records it should have, asked and compared. Writes nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from enroll.dns_check import Finding, compare
from enroll.dns_check.query import observe
from enroll.domains.altering import left
from enroll.domains.lifecycle import proved
from enroll.domains.model import Domain, Form, KeyState, spare_stem
from enroll.records import (
    FEATURES,
    DomainView,
    Record,
    RelayHosts,
    hosted,
    merge_several_spf,
    required,
    spf_lines,
)
from relay.base.config import Config
from relay.base.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `proof`: all required records at once; `next_pair`: those of a rotation's new pair; `features`:
    the record of each option that asks for one; `former`: that of a return path which serves until the new one is seen.
    Each True, False, or None where it could not be asked (or there is none)."""

    findings: list[dict[str, Any]]
    proof: bool | None
    next_pair: bool | None
    features: dict[str, bool | None]
    former: bool | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the required records that were found missing or different."""
        return tuple(f["name"] for f in self.findings if f["required"] and f["ok"] is False)


def hosts_of(config: Config) -> RelayHosts:
    """The relay's own names, as records point at them."""
    return RelayHosts(
        spf_host=config.spf_host, bounce_host=config.bounce_host, tracking_host=config.tracking_host,
        mx_host=config.mx_host, dmarc_rua=config.dns.dmarc_report_to or None, hosted_zone=config.hosted_zone,
    )


def records_of(domain: Domain, hosts: RelayHosts, *, recommended: bool = True) -> list[Record]:
    """What the owner must or should publish, those that the state depends on first; without `recommended` only those.

    Of two pairs only the live one's records are required; a rotation's new one and a retiring one are listed too.
    """
    own = required(_view(domain, domain.keys), hosts, recommended=recommended)
    agreed = [
        record._replace(why=f"{parent} belongs to another member: its owner agrees by publishing this.")
        for parent in domain.consent
        for record in required(_view(domain, (), name=parent), hosts, recommended=False)
        if record.purpose == "ownership"
    ]
    return [*own[:1], *agreed, *own[1:]]


def hosted_of(domain: Domain, hosts: RelayHosts) -> list[tuple[str, str, str]]:
    """(name, type, value) of what the relay's own zone holds for `domain`, whichever form its owner chose."""
    held = hosted(required(_view(domain, domain.keys), hosts))
    standing = {name for name, _, _ in held}
    targets = {"return_path": hosts.bounce_host, "tracking": hosts.tracking_host}
    for purpose, label in left(domain.notes):
        name = f"{label}.{domain.uuid}.{hosts.hosted_zone}"
        if name not in standing:
            held.append((name, "CNAME", f"{targets[purpose]}."))
    return held


def as_published(domain: Domain, records: Sequence[Record], spf_host: str, form: Form | None = None) -> list[Record]:
    """`records` as the owner enters them: in the form chosen (`form` instead, if given), and the SPF line merged into
    the one that was seen at the last look, because two of them would count for nothing."""
    spf = next((f for f in domain.findings if f.get("purpose") == "spf"), {})
    there = spf_lines(str(value) for value in spf.get("found") or ())
    out = []
    for record in records:
        if record.purpose == "spf" and there and not any(line.endswith("…") for line in there):
            record = record._replace(value=merge_several_spf(there, spf_host))
        by_alias = record.by_alias if form is None else form == "cname"
        out.append(record if not by_alias and not record.by_alias else record._replace(by_alias=by_alias).published)
    return out


async def look(resolver: Resolver, domain: Domain, hosts: RelayHosts) -> Look:
    """Ask for every record of `domain` and compare. Trouble with DNS is in the findings, never an exception.

    A domain without a pair that could sign proves nothing, whatever else is found."""
    wanted = [r for r in records_of(domain, hosts) if not _of_pair(r, domain, "retiring")]
    findings = compare(wanted, await observe(resolver, wanted))
    before = {(f["purpose"], f["name"]): f for f in domain.findings}
    kept = [_kept(finding, record, before) for finding, record in zip(findings, wanted, strict=True)]
    new = domain.next_pair
    of_next = [f["ok"] for f in kept if new is not None and _names_pair(f["name"], new)]
    features = {FEATURES[f["purpose"]]: f["ok"] for f in kept if f["purpose"] in FEATURES}
    former = next((f["ok"] for f in kept if f["purpose"] == "former_return_path"), None)
    proof = proved(f["ok"] for f in kept if f["required"]) if domain.signing_pair is not None else None
    return Look(kept, proof, proved(of_next) if of_next else None, features, former)


def _kept(finding: Finding, record: Record, before: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """A finding as a row keeps it: `required`, `needed`, and `known`, the last answer that was one."""
    last = before.get((record.purpose, record.name), {}).get("known")
    known = finding.ok if finding.ok is not None else last
    return {**asdict(finding), "required": record.required, "needed": record.needed, "known": known}


def _view(domain: Domain, pairs: Sequence[KeyState], name: str | None = None) -> DomainView:
    o = domain.options
    return DomainView(
        name=name or domain.name, ownership_token=domain.ownership_token,
        keys=tuple((k.stem, k.rsa_txt, k.ed_txt, k.state) for k in pairs), options=o,
        uuid=domain.uuid, spare=spare_stem(domain.notes.stems, pairs) if name is None and o.hosted else "",
        proved=domain.first_verified_at is not None,
        former=domain.notes.former_subdomain if o.return_path and domain.return_path_ok else "",
    )


def _of_pair(record: Record, domain: Domain, state: str) -> bool:
    return any(_names_pair(record.name, pair) for pair in domain.keys if pair.state == state)


def _names_pair(name: str, pair: KeyState) -> bool:
    return name.partition(".")[0] in (f"{pair.stem}r", f"{pair.stem}e")
