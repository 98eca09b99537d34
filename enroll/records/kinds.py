"""The kinds of DNS records. Each is one class: what must be published, what counts as published, where it is put by
mistake, what it is called, what waits for it, and why it is there.

A new kind is a class here and its place in `KINDS`; checking, pages, APIs, letters and the command line follow from it.
All is pure but `look_further`, which may ask DNS besides. Values come from the domain's own servers, one server's at a
time; what is wrong with them is said in one sentence, with the corrected line. SPF, DMARC and DKIM keys are read by
those readers that judge arriving mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from enroll.records.record import (
    MISSING,
    DomainView,
    Mistake,
    Record,
    RelayHosts,
    dotted,
    line,
    printable,
    readable,
    shown,
    undotted,
)
from enroll.records.spf_line import includes, left_out, merge_several_spf, merge_spf, permits_all
from relay.base import names
from relay.base.resolver import Answer
from relay.verify import AsksRecords, BadRecord, Discovery, Fault, dmarc_record, read_key, spf_fault, spf_record, walk

OWNERSHIP_LABEL = "_posthouse-challenge"
OWNERSHIP_PREFIX = "posthouse-domain-verification="


class Kind:
    """A kind of record.

    name: the machine's word. title: for people. failed: how a sentence about a wrong one begins. noun: what is missing
    when it is missing, "" for a record of its type. option: what it blocks once the domain has been proved: the option
    of that name, "" for none. topic: the question of the help page that it answers. merges: the line to enter depends
    on what stands there already, so DNS is asked before the first one is shown.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    failed: ClassVar[str]
    why: ClassVar[str]
    noun: ClassVar[str] = ""
    option: ClassVar[str] = ""
    topic: ClassVar[str] = ""
    merges: ClassVar[bool] = False

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """The records of this kind that `domain` needs or should have."""
        raise NotImplementedError

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """None when `values` are as `record` wants them, else the mistake; code "missing" when none is meant as it.
        further: what `look_further` gave."""
        raise NotImplementedError

    def recognises(self, values: Sequence[str]) -> bool:
        """Whether one of `values` can only be meant as this kind of record, right or wrong."""
        return False

    def misplaced(self, record: Record) -> list[str]:
        """Other names at which people put it."""
        raise NotImplementedError

    async def look_further(self, record: Record, values: Sequence[str], resolver: AsksRecords) -> Any:
        """What has to be asked beyond the name itself to judge `values`."""
        return None

    def unsure(self, record: Record, further: Any) -> bool:
        """Whether `further` lacks an answer without which a missing record is no fact."""
        return False

    def remark(self, record: Record, values: Sequence[str], further: Any) -> str:
        """A sentence about a right one that has to be said instead of where it was found; "" for none."""
        return ""

    def to_enter(self, record: Record, values: Sequence[str], further: Any = None) -> tuple[str, str]:
        """(value, note) to show where `values` stand, of a kind that `merges`."""
        return record.value, ""

    def target(self, hosts: RelayHosts) -> str:
        """The host that a CNAME of this kind points at."""
        raise NotImplementedError


class Txt(Kind):
    """What texts have in common."""

    def misplaced(self, record: Record) -> list[str]:
        """At the domain itself, without its underscore, or at the domain above."""
        label = record.name.partition(".")[0]
        return [record.domain, f"{label.removeprefix('_')}.{record.domain}", f"{label}.{_top(record)}"]


class Ownership(Txt):
    """The token that proves that a domain is its member's, and that the holder of a parent agrees."""

    name, title, topic = "ownership", "Ownership", "ownership"
    failed = "Domain ownership verification failed"
    why = "Proves that the domain is yours."

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """One at the domain, one at each parent that somebody else holds."""
        value = f"{OWNERSHIP_PREFIX}{domain.ownership_token}"
        for at in (domain.name, *domain.consent):
            agreed = f"{at} belongs to another member, who agrees by publishing this."
            yield Record(
                kind=self, domain=at, name=f"{OWNERSHIP_LABEL}.{at}", type="TXT", value=value, required=True,
                why=self.why if at == domain.name else agreed,
            )

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """The token among whatever else."""
        if record.value in values:
            return None
        if not values:
            return _missing()
        for value in values:
            if value.strip() == record.value:
                says = "There is white space before or after the value."
                return Mistake("white_space", says, f"Enter the value without it: {record.value}")
            if _unreadable(value) == record.value:
                return _in_quotes(record)
            if value.startswith(OWNERSHIP_PREFIX):
                if record.value.startswith(value):
                    return _cut(record, value)
                whose = "another domain, to another account, or to an earlier attempt"
                return Mistake("other_domain", f"The value {shown([value])} belongs to {whose}.", line(record))
        return _different(record, values)


class Dkim(Txt):
    """A DKIM key. RFC 6376 §3.6.2.1: keys stand at <selector>._domainkey.<domain>."""

    topic = "dkim"
    suffix: ClassVar[str]
    algorithm: ClassVar[str]
    called: ClassVar[str]
    why = "Lets receivers check the {} signature on your mail."

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """Of each pair in use; required of the one that signs. For a hosted domain also a place for the next."""
        live = any(state == "live" for *_, state in domain.keys)
        for stem, rsa_txt, ed_txt, state in domain.keys:
            if state not in ("pending", "live", "retiring"):
                continue
            why = self.why
            if state == "retiring":
                why = "The previous {} key: keep it while mail signed with it is still in transit."
            yield self._record(
                domain, stem, rsa_txt if self.algorithm == "rsa" else ed_txt, why,
                required=state == "live" or (state == "pending" and not live),
            )
        if domain.options.hosted and domain.spare:
            why = "Reserved for the next {} key: with this in place, keys are rotated without any work for you."
            # It has no value yet: the alias alone is published.
            yield self._record(domain, domain.spare, "", why)._replace(type="CNAME")

    def _record(self, domain: DomainView, stem: str, value: str, why: str, *, required: bool = False) -> Record:
        return Record(
            kind=self, domain=domain.name, name=f"{stem}{self.suffix}._domainkey.{domain.name}", type="TXT",
            value=value, required=required, why=why.format(self.called),
        )

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """The key, in whatever form receivers take it."""
        if not values:
            return _missing()
        # RFC 6376 §3.6.2.2: with more than one record at a selector receivers may take any of them.
        if len(values) > 1:
            if len(values) == 2 and any(self._key(record, "".join(two)) is None for two in (values, values[::-1])):
                says = "The key has been entered as two records; it has to be a single record, of several strings."
            else:
                says = f"There are {len(values)} TXT records at this name, and receivers may use any of them."
            return Mistake("second_record", says, f"Remove all but this one: {line(record)}")
        return self._key(record, values[0])

    def _key(self, record: Record, value: str) -> Mistake | None:
        # Quotes around the whole record reach receivers as part of the first tag's name; within p= they do no harm.
        if value.lstrip().startswith('"'):
            inner = self._key(record, _unreadable(value))
            return _in_quotes(record) if inner is None else inner
        if "\\;" in value and self._key(record, value.replace("\\;", ";")) is None:
            says = "The semicolons have backslashes before them, which receivers take as part of the value."
            return Mistake("escaped", says, line(record))
        wanted = read_key(record.value)
        try:
            found = read_key(value)
        except BadRecord as bad:
            # A cut may fall where no tag list is left.
            if _is_start(record, value):
                return _cut(record, value)
            if re.search(r"(?:^|[\s;])[vkp]\s*=", value):
                return _said(bad.fault, line(record))
            if value.strip().rstrip(";").endswith(wanted.key):
                before = shown([record.value.removesuffix(wanted.key)])
                return Mistake("bare_key", f"The key has been entered without {before} before it.", line(record))
            return _different(record, [value])
        if "p" not in found.tags and _is_start(record, value):
            return _cut(record, value)
        fault = found.fault(self.algorithm)
        if fault is not None and (not found.key or found.key == wanted.key):
            # A record of another sort is nobody's key: what is wrong with it is that it is there.
            meant = {"v", "k", "p", "h", "s", "t", "P", "K"} & found.tags.keys() and not spf_record.records([value])
            return _said(fault, line(record)) if meant else _different(record, [value])
        if found.key == wanted.key:
            return None
        if wanted.key.startswith(found.key):
            return _cut(record, value)
        return self._other_key(record, found.key, wanted.key)

    def _other_key(self, record: Record, found: str, wanted: str) -> Mistake:
        if wanted in found:
            rest = found.replace(wanted, " … ").strip()
            says = f"There is something besides the key in p=: {shown([rest], octets=80)}."
            return Mistake("more_than_key", says, line(record))
        # Keys of one type begin alike, so that what is shown has to begin where they differ.
        at = next(n for n, (one, other) in enumerate(zip(found + " ", wanted, strict=False)) if one != other)
        says = (
            "There is another key, from a different domain or an earlier time: from character "
            f"{at + 1} of p= it reads {shown([found[at:]], octets=24)} instead of {shown([wanted[at:]], octets=24)}."
        )
        return Mistake("other_domain", says, line(record))

    def remark(self, record: Record, values: Sequence[str], further: Any) -> str:
        """That a key is only being tested."""
        try:
            testing = any("y" in read_key(value).tags.get("t", "").split(":") for value in values)
        except BadRecord:
            return ""
        # RFC 6376 §3.6.1.
        says = "Found, but in test mode (t=y): receivers may treat your mail as unsigned. Remove t=y."
        return says if testing else ""

    def misplaced(self, record: Record) -> list[str]:
        """At the domain, without _domainkey, without the selector, or at the domain above."""
        label, domain = record.name.partition(".")[0], record.domain
        return [domain, f"{label}.{domain}", f"_domainkey.{domain}", f"{label}._domainkey.{_top(record)}"]


class DkimRsa(Dkim):
    """The RSA key of a pair."""

    name, title, failed = "dkim_rsa", "DKIM (RSA)", "DKIM not yet verified (RSA key)"
    suffix, algorithm, called = "r", "rsa", "RSA"


class DkimEd25519(Dkim):
    """The Ed25519 key of a pair (RFC 8463)."""

    name, title, failed = "dkim_ed25519", "DKIM (Ed25519)", "DKIM not yet verified (Ed25519 key)"
    suffix, algorithm, called = "e", "ed25519", "Ed25519"


class Cname(Kind):
    """An alias of one of the relay's own hosts."""

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """The alias, if it is asked for: required until the first proof, and then of its option alone."""
        label = self.label(domain)
        if label:
            yield Record(
                kind=self, domain=domain.name, name=f"{label}.{domain.name}", type="CNAME",
                value=dotted(self.target(hosts)), required=bool(self.option) and not domain.proved, why=self.why,
            )

    def label(self, domain: DomainView) -> str:
        """What stands before the domain, "" where no such alias is wanted."""
        raise NotImplementedError

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """The target, by name."""
        return match_alias(record, values)

    def misplaced(self, record: Record) -> list[str]:
        """At the domain above."""
        top = _top(record)
        return [f"{record.name.partition('.')[0]}.{top}"] if top != record.domain else []


class ReturnPath(Cname):
    """The host of the domain's own return path."""

    name, title, option = "return_path", "Return path", "return_path"
    failed = "Return path not yet verified"
    why = "Brings bounces back to the relay under your own name, so that SPF passes for your domain."

    def label(self, domain: DomainView) -> str:
        """The subdomain that was chosen."""
        return domain.options.custom_subdomain if domain.options.return_path else ""

    def target(self, hosts: RelayHosts) -> str:
        """Where bounces go."""
        return hosts.bounce_host


class Tracking(Cname):
    """The host of the domain's own tracked links."""

    name, title, option = "tracking", "Tracking", "tracking"
    failed = "Tracking host not yet verified"
    why = "Lets tracked links carry your own name."

    def label(self, domain: DomainView) -> str:
        """Prefix and subdomain."""
        return domain.options.tracking_label if domain.options.tracking else ""

    def target(self, hosts: RelayHosts) -> str:
        """Where links lead."""
        return hosts.tracking_host


class Mx(Kind):
    """The exchanger that brings replies here."""

    name, title, option, topic = "mx", "Replies (MX)", "replies", "replies"
    failed = "Reply forwarding not yet verified"
    why = "Routes mail for the domain to the relay, which forwards it to your mailbox."

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """One, where replies are forwarded."""
        if domain.options.replies:
            yield Record(
                kind=self, domain=domain.name, name=domain.name, type="MX", value=f"10 {dotted(hosts.mx_host)}",
                required=not domain.proved, why=self.why,
            )

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """The relay, before all others (RFC 5321 §5.1: a better or equal one elsewhere takes the mail)."""
        if not values:
            return _missing()
        wanted = undotted(record.value.split()[1])
        pairs = sorted((int(number), undotted(host)) for number, _, host in (value.partition(" ") for value in values))
        best = [host for number, host in pairs if number == pairs[0][0]]
        if best == [wanted]:
            return None
        says = f"Mail for the domain goes to {shown(best)}."
        if any(host == wanted for _, host in pairs):
            return Mistake("other_first", f"{says} The relay is listed too, but not first.", line(record))
        return Mistake("different", says, line(record))

    def misplaced(self, record: Record) -> list[str]:
        """At a name that providers' forms make of "@" and of the web server."""
        return [f"@.{record.domain}", f"www.{record.domain}"]


class FormerReturnPath(ReturnPath):
    """A return path that serves until the one in its place is seen."""

    name, title, option = "former_return_path", "Return path in use", ""
    failed = "The return path in use has disappeared"
    why = "The return path in use until the new one has been found: keep it until then."

    def label(self, domain: DomainView) -> str:
        """The subdomain still in use."""
        return domain.former


class Spf(Kind):
    """The permission to send (RFC 7208)."""

    name, title, topic, noun = "spf", "SPF", "spf", "SPF record"
    failed = "SPF is not as recommended"
    why = "Authorizes the relay to send for your domain, for receivers that check SPF."
    merges = True

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """One at the domain, whose line is merged into what stands there (`to_enter`)."""
        yield Record(
            kind=self, domain=domain.name, name=domain.name, type="TXT", value=merge_spf(None, hosts.spf_host)[0],
            required=False, why=self.why,
        )

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """One record, without a fault, that includes the relay before it ends; further: a fault beyond the record."""
        lines, include = spf_record.records(values), self._include(record)
        if not lines:
            near = spf_record.near_miss(values)
            if near is None:
                return _missing()
            return _said(near, line(record._replace(value=self.to_enter(record, values)[0])))
        fixed = f"{record.name}. IN TXT {readable(merge_several_spf(lines, include))}"
        if out := left_out(lines):
            fixed = f"Correct {shown(out)}, or leave it out, as in: {fixed}"
        if len(lines) > 1:
            # RFC 7208 §4.5: two records are a permanent error, as if there were none that works.
            says = f"There are {len(lines)} SPF records; receivers then use none of them."
            return Mistake("second_record", says, fixed if out else f"Keep one: {fixed}")
        try:
            found = spf_record.read(lines[0])
        except BadRecord as bad:
            return _said(bad.fault, fixed)
        if permits_all(found):
            return Mistake("permits_all", f"The record {shown(lines)} lets anybody send in your name.", fixed)
        if not includes(found, include):
            return self._not_included(lines, fixed)
        if isinstance(further, Fault):
            return _said(further, "Remove includes that you no longer need, or correct that part.")
        return None

    def _not_included(self, lines: Sequence[str], fixed: str) -> Mistake:
        # Receivers take a word with = for a modifier that they don't know, and pass it over (RFC 7208 §6).
        for word in lines[0].split():
            if re.match(r"(?:include|ip4|ip6|exists)=", word, re.IGNORECASE):
                says = f"{shown([word])} needs a colon in place of the equals sign; as it is, receivers ignore it."
                return Mistake("equals_sign", says, fixed)
        return Mistake("not_included", f"The record {shown(lines)} does not include the relay.", fixed)

    def recognises(self, values: Sequence[str]) -> bool:
        """Whatever else stands beside an SPF record is nobody's."""
        return bool(spf_record.records(values)) or spf_record.near_miss(values) is not None

    def misplaced(self, record: Record) -> list[str]:
        """At a name that providers' forms make of "@" and of the web server."""
        return [f"@.{record.domain}", f"www.{record.domain}"]

    async def look_further(self, record: Record, values: Sequence[str], resolver: AsksRecords) -> Fault | None:
        """The fault that shows only in what the one record includes."""
        lines = spf_record.records(values)
        if len(lines) != 1:
            return None
        return await spf_fault(lines[0], record.domain, resolver, ours=self._include(record))

    def to_enter(self, record: Record, values: Sequence[str], further: Any = None) -> tuple[str, str]:
        """The line merged into the one that stands there, because two of them would count for nothing."""
        lines, include = spf_record.records(values), self._include(record)
        if not lines:
            lines = [value for value in values if spf_record.near_miss([value]) is not None]
        if not lines:
            return record.value, ""
        merged = merge_several_spf(lines, include)
        if [merged] == spf_record.records(values):
            return merged, ""
        if out := left_out(lines):
            return merged, (
                f"Replace the SPF record that is there with this line. It leaves out {shown(out)}, which receivers "
                "can't read: correct that and add it if you need it."
            )
        return merged, "There is an SPF record already: replace it with this line, which keeps everything in it."

    def _include(self, record: Record) -> str:
        return record.value.split("include:")[-1].split()[0]


@dataclass(frozen=True, slots=True)
class Reportable(Discovery):
    """What a walk came to, of a domain about which reports may be sent to `report_address`."""

    report_address: str = ""


async def _texts(name: str, resolver: AsksRecords) -> tuple[str, ...]:
    answer = await resolver.txt(name)
    return answer.texts() if isinstance(answer, Answer) else ()


class Dmarc(Txt):
    """The policy (RFC 9989). A domain inherits that of its organisational domain, which is as good as one of its own.
    """

    name, title, topic, noun = "dmarc", "DMARC", "spf", "DMARC record"
    failed = "DMARC is not as recommended"
    why = "Publishes a DMARC policy; large mailbox providers require one."
    merges = True

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        """One. RFC 9989 §4.7: p=none asks for nothing but reports."""
        rua = f"; rua=mailto:{hosts.dmarc_rua}" if hosts.dmarc_rua else ""
        yield Record(
            kind=self, domain=domain.name, name=f"_dmarc.{domain.name}", type="TXT", value=f"v=DMARC1; p=none{rua}",
            required=False, why=self.why, report_address="" if rua else hosts.report_address,
        )

    def match(self, record: Record, values: Sequence[str], further: Any = None) -> Mistake | None:
        """One record without a fault, or none and one to inherit."""
        lines = dmarc_record.records(values)
        if len(lines) > 1:
            says = f"There are {len(lines)} DMARC records; receivers then use none of them."
            return Mistake("second_record", says, "Remove all but one.")
        if lines:
            faults = dmarc_record.read(lines[0]).faults
            return _said(faults[0], self._corrected(record, lines[0], faults[0])) if faults else None
        near = dmarc_record.near_miss(values)
        if near is not None:
            meant = next(value for value in values if dmarc_record.near_miss([value]) is not None)
            return _said(near, self._corrected(record, meant, near))
        if self._inherited(further):
            return None
        return self._broken_above(record, further) or (_different(record, values) if values else _missing())

    def _broken_above(self, record: Record, further: Any) -> Mistake | None:
        """The fault in the record that would be inherited, if it counted."""
        if not isinstance(further, Discovery):
            return None
        if further.unread is not None:
            at, texts = further.unread
        elif further.record is not None:
            at, texts = further.at, (further.record.text,)
        else:
            return None
        top = names.registrable(record.domain) or record.domain
        if at != top and not at.endswith(f".{top}"):
            return None
        above = record._replace(domain=at, name=f"_dmarc.{at}")
        found = self.match(above, texts)
        if found is None:
            return None
        says = f"The DMARC record of {at}, which this domain would inherit, has no effect. {found.says}"
        return Mistake("inherited_broken", says, found.fix)

    def recognises(self, values: Sequence[str]) -> bool:
        """Whatever else stands beside a DMARC record is nobody's."""
        return bool(dmarc_record.records(values)) or dmarc_record.near_miss(values) is not None

    def misplaced(self, record: Record) -> list[str]:
        """At the domain itself, or without the underscore. One further up is inherited, and right."""
        return [record.domain, f"dmarc.{record.domain}"]

    async def look_further(self, record: Record, values: Sequence[str], resolver: AsksRecords) -> Discovery | None:
        """What the domain inherits while it has no record of its own, and whether reports about it may go to us."""
        if dmarc_record.records(values):
            return None
        found = await walk(record.domain, resolver, own=False)
        to, host = record.report_address, record.report_address.partition("@")[2]
        # RFC 9990 §4: reports go to an address elsewhere only where that domain says that it wants them.
        if not to or not dmarc_record.records(await _texts(f"{record.domain}._report._dmarc.{host}", resolver)):
            return found
        return Reportable(**{f.name: getattr(found, f.name) for f in fields(found)}, report_address=to)

    def unsure(self, record: Record, further: Any) -> bool:
        """Where the organisation's name could not be asked, nobody knows what is inherited."""
        top = names.registrable(record.domain) or record.domain
        return isinstance(further, Discovery) and further.record is None and any(
            at == top or at.endswith(f".{top}") for at in further.unheard
        )

    def remark(self, record: Record, values: Sequence[str], further: Any) -> str:
        """Where the policy comes from."""
        own = dmarc_record.records(values)
        if own:
            read = dmarc_record.read(own[0])
            if read.testing and read.p != "none":
                return "Found. It is in test mode (t=y): receivers apply a policy one step weaker than p= says."
            return ""
        found = self._inherited(further)
        if found is None or found.record is None:
            return ""
        policy, test = found.record.policy(own=False), ""
        if found.record.testing and policy != "none":
            test = " That record is in test mode (t=y): receivers apply a policy one step weaker."
        return f"Inherited from {found.at}, whose policy here is p={policy}; no record of its own is needed.{test}"

    def to_enter(self, record: Record, values: Sequence[str], further: Any = None) -> tuple[str, str]:
        """The record that stands there, or what is inherited: never a weaker policy in its place."""
        meant = [*dmarc_record.records(values), *(v for v in values if dmarc_record.near_miss([v]) is not None)]
        if meant:
            if len(meant) > 1:
                return meant[0], "Keep one of the records that are there, this or another, and remove the rest."
            fixed = dmarc_record.repaired(meant[0])
            if not fixed and self.match(record, meant[:1]) is None:
                fixed = meant[0]
            return fixed, "" if fixed else f"Correct the record that is there: {shown(meant[:1])}."
        found = self._inherited(further)
        if found is None or found.record is None:
            if self._broken_above(record, further) is not None:
                return "", "Correct the record that this domain would inherit; it then needs none of its own."
            to = further.report_address if isinstance(further, Reportable) else ""
            return f"{record.value}; rua=mailto:{to}" if to else record.value, ""
        note = f"Inherited from {found.at}: there is nothing to publish."
        return f"v=DMARC1; p={found.record.policy(own=False)}", note

    def _inherited(self, further: Any) -> Discovery | None:
        if isinstance(further, Discovery) and further.record is not None and further.record.applies:
            return further
        return None

    def _corrected(self, record: Record, value: str, fault: Fault) -> str:
        # Never the recommended line: a policy that somebody wrote is theirs, and mostly a stronger one.
        fixed = dmarc_record.repaired(value)
        if fixed:
            return line(record._replace(value=fixed))
        if fault.code == "no_policy":
            return f"Add a policy, for instance p=none: {readable(printable(fault.fixed))}"
        return f"Correct that part of {shown([value])}."


KINDS: tuple[Kind, ...] = (
    Ownership(), DkimRsa(), DkimEd25519(), ReturnPath(), Tracking(), Mx(), FormerReturnPath(), Spf(), Dmarc(),
)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}
FEATURES: Mapping[str, str] = {kind.name: kind.option for kind in KINDS if kind.option}
"""Kinds of records that an owner's option asks for, with that option's name. Once a domain has been proved, such a
record carries its own feature and nothing else."""


def required(
    domain: DomainView, hosts: RelayHosts, *, recommended: bool = True, kinds: Sequence[Kind] = KINDS
) -> list[Record]:
    """All records of a domain, those that its state depends on (`required`) first, then those of its options; without
    `recommended` only these two sorts.

    Of two key pairs only the live one is required; a retiring one is listed, a removed one is not.
    """
    out = [record for kind in kinds for record in kind.wanted(domain, hosts)]
    if not recommended:
        out = [record for record in out if record.needed]
    if hosts.hosted_zone and domain.uuid:
        out = [r.placed(domain.uuid, hosts.hosted_zone, by_alias=domain.options.hosted) for r in out]
        # A spare name has no record but the alias itself.
        out = [r.published if r.type == "CNAME" and not r.value else r for r in out]
    return sorted(out, key=lambda record: (not record.required, not record.needed))


def hosted(records: Iterable[Record]) -> list[tuple[str, str, str]]:
    """(name, type, value) of what the relay's own zone holds, so that the records' aliases lead somewhere."""
    held = (r for r in records if r.alias and r.value != r.alias)
    return list(dict.fromkeys((r.alias.rstrip("."), r.type, r.value) for r in held))


def match_alias(record: Record, values: Sequence[str]) -> Mistake | None:
    """Judge the target of an alias: what the record wants, or the name in the relay's own zone that leads there."""
    if not values:
        return _missing()
    wanted, found = undotted(record.value), undotted(values[0])
    if found in (wanted, undotted(record.alias) or wanted):
        return None
    above = record.name.split(".")
    if found in [f"{wanted}.{'.'.join(above[at:])}" for at in range(len(above))]:
        says = f"The CNAME points to {shown([found])}: your provider has added the domain to the target."
        return Mistake("dot_eaten", says, f"Enter the target with a dot at the end: {line(record)}")
    return foreign_alias(record, [found]) or Mistake(
        "different", f"The CNAME points to {shown([found])}.", line(record)
    )


def foreign_alias(record: Record, chain: Sequence[str]) -> Mistake | None:
    """The mistake of an alias into the relay's own zone, but to a name that was given to another domain or account,
    or for another record; None where there is no such alias."""
    own = undotted(record.alias)
    if not own:
        return None
    uuid, zone = record.alias_place
    for target in map(undotted, chain):
        if target == own or not target.endswith(f".{zone}"):
            continue
        if target.endswith(f".{uuid}.{zone}"):
            says = f"The CNAME points to {shown([target])}, which is the target for another record of this domain."
            return Mistake("swapped", says, line(record))
        says = f"The CNAME points to {shown([target])}, which belongs to another domain or another account."
        return Mistake("other_domain", says, line(record))
    return None


def _missing() -> Mistake:
    return Mistake(MISSING, "", "")


def _different(record: Record, values: Sequence[str]) -> Mistake:
    return Mistake("different", f"There is something else at this name: {shown(values)}.", line(record))


def _said(fault: Fault, fix: str) -> Mistake:
    return Mistake(fault.code, fault.says.replace("{at}", shown([fault.at], octets=80)), fix)


def _in_quotes(record: Record) -> Mistake:
    says = "The value contains quotation marks, which receivers take as part of it."
    return Mistake("quoted", says, f"Enter the value without quotation marks: {record.value}")


def _cut(record: Record, value: str) -> Mistake:
    says = f"The value has been cut off after {len(value)} characters."
    return Mistake("cut_at_255", says, f"Enter it as strings of at most 255 characters in one record: {line(record)}")


def _is_start(record: Record, value: str) -> bool:
    return len(value) >= 4 and "".join(record.value.split()).startswith("".join(value.split()))


def _unreadable(value: str) -> str:
    return re.sub(r'"\s*"', "", value.strip()).strip('"').strip()


def _top(record: Record) -> str:
    return names.registrable(record.domain) or record.domain
