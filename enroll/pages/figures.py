"""What the pages say about sending: tiers, windows, why mail came back, what happens next. Pure over rows and the
configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enroll.domains import Domain
from enroll.stats import WINDOW_DAYS
from relay import warming
from relay.base.config import Config, Tier
from relay.base.events import AFTERWARDS, CLICKED, COMPLAINED, OPENED, UNSUBSCRIBED, Event
from relay.base.storage.reports import AttemptRow, DetailRow
from relay.bounces.classify import Class, Classified, classify
from relay.directory import Directory
from relay.standing import GOOD, Tomorrow, outlook

STATES = {
    "queued": "waiting for the first attempt",
    "deferred": "tried, will be retried",
    "sent": "accepted by the other side",
    "bounced": "refused permanently",
    "suppressed": "on your suppression list",
    "cancelled": "cancelled",
}


# Each policy and each result has its words (a test holds it).
TLS_POLICIES: Mapping[str, str] = {
    "none": "TLS not wanted", "opportunistic": "TLS where offered", "required": "TLS required",
    "verified": "verified TLS required", "dane": "DANE", "mta-sts": "MTA-STS", "mta-sts-testing": "MTA-STS (testing)",
    "requiretls": "REQUIRETLS", "tls-required-no": "TLS-Required: No",
}
TLS_VERDICTS: Mapping[str, str] = {
    "verified": "certificate verified", "unverified": "certificate not looked at",
    "starttls-not-supported": "the host offers no TLS", "certificate-host-mismatch": "certificate for another name",
    "certificate-expired": "certificate expired", "certificate-not-trusted": "certificate not trusted",
    "validation-failure": "TLS failed", "dnssec-invalid": "no answer about its TLSA records",
    "tlsa-invalid": "TLSA records that can't be used", "requiretls": "not enough for REQUIRETLS",
    "sts-policy-fetch-error": "the MTA-STS policy could not be fetched",
    "sts-policy-invalid": "the MTA-STS policy can't be read, or does not name this host",
    "sts-webpki-invalid": "the MTA-STS policy's host has no certificate to trust",
}


def tls_in_words(t: AttemptRow) -> str:
    """TLS of one try: what was agreed on, which policy held, what was found of the certificate."""
    agreed = f"{t.tls} ({t.tls_cipher})" if t.tls and t.tls_cipher else t.tls or "not encrypted"
    said = (TLS_POLICIES.get(t.tls_policy, ""), TLS_VERDICTS.get(t.tls_verdict, t.tls_verdict))
    return ", ".join(part for part in (agreed, *said) if part)


@dataclass(frozen=True, slots=True)
class Window:
    """One allowance window. `limit` None: without end."""

    name: str
    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Recipients that still fit."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def percent(self) -> int:
        """How much of it is used, 0 to 100; a bar is never empty once something is used."""
        if not self.limit or not self.used:
            return 0
        return max(1, min(100, round(100 * self.used / self.limit)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """A domain's tier and windows. `next_at` is the next free slot when nothing fits now (Unix seconds)."""

    tier: str
    windows: tuple[Window, Window]
    next_at: float | None
    tomorrow: Tomorrow | None = None


def allowance(
    domain: Domain, entries: Sequence[warming.Entry], config: Config, now: float, *, slowed: bool, directory: Directory
) -> Allowance:
    """What `domain` has used and has left, from its entries of the last 24 hours, oldest first. `slowed`: its member
    is."""
    entry = directory.domain_of_member(domain.member_id, domain.name)
    conduct = entry.conduct if entry else None
    tier = warming.tier_of(
        domain.tier, domain.first_verified_at, config.warming.tiers, now, slowed=slowed, conduct=conduct
    )
    hour, day = warming.used(entries, now)
    if tier is None:
        return Allowance(warming.UNLIMITED, (Window("hour", hour, None), Window("day", day, None)), None)
    judged = warming.judge(entries, tier, now, 1)
    return Allowance(
        tier.name, (Window("hour", hour, tier.per_hour), Window("day", day, tier.per_day)),
        None if judged.fits else judged.next_at, outlook(entry, config, now, slowed=slowed) if entry else None,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A tier as the help page tells it: from which day to which; `until` None: no end."""

    tier: Tier
    since: int
    until: int | None


def steps(config: Config) -> list[Step]:
    """The warming tiers in order."""
    found, since = [], 0
    for tier in config.warming.tiers:
        found.append(Step(tier, since, tier.until_day or None))
        since = tier.until_day
    return found


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a recipient: a sentence, and the time it names."""

    says: str
    at: float | None = None
    gives_up_at: float | None = None


def differs(bucket: str | None, stage: str, config: Config) -> str:
    """Why a domain's reputation and its member's standing seem to contradict each other; "" where they don't."""
    if bucket is None or (bucket in ("excellent", "good")) == (stage == GOOD):
        return ""
    return (
        f"Reputation is this domain's over {WINDOW_DAYS} days, and every bounce and complaint weighs in it. The relay "
        f"acts by your standing: that of all your domains together, over {config.standing.window_hours} hours, by "
        f"what so few or so many recipients make certain. It is “{stage}” now."
    )


HAPPENED: Mapping[str, str] = dict(
    zip(AFTERWARDS, ("complained", "unsubscribed", "opened it", "followed a link"), strict=True)
)
"""What recipients do with a message, in words."""

_AGAIN = "The address may well be right: try again later."
_RECORDS = "Check your domain's records, then send it again."
_RELAYS_OWN = "The fault is the relay's and counts against nobody. Send it again later."
_ADVICE: Mapping[Class, str] = {
    "mailbox_unknown": "Remove the address from your list.",
    "domain_unknown": "Remove the address from your list.",
    "moved": "Ask the recipient for the new address, and remove this one from your list.",
    "mailbox_full": "The address is right: send it again in a few days.",
    "mailbox_disabled": "Send it again later; if it bounces again, remove the address from your list.",
    "too_large": "Make it smaller, for example by linking to attachments, and send it again.",
    "content": "Change what the reply complains about, and send it again.",
    "policy": "The reply names the rule. Ask the recipient to allow your mail.",
    "authentication": _RECORDS, "sender": _RECORDS,
    "reputation": _RELAYS_OWN, "rate": _RELAYS_OWN, "greylisted": _RELAYS_OWN, "tls": _RELAYS_OWN,
    "loop": "Mail to this address loops on the other side: contact the recipient another way.",
    "routing": _AGAIN, "expired": _AGAIN, "system": _AGAIN, "protocol": _AGAIN, "unknown": _AGAIN,
}


def why(code: int | None, says: str, stage: str, address: str) -> Classified:
    """Why mail to `address` came back, as the queue judged it: by the words and the command that they answered."""
    said = says if code is None or says.startswith(str(code)) else f"{code} {says}"
    return classify("", said, stage=stage if code else "", recipient=address)


def what_next(person: DetailRow, tries: Sequence[AttemptRow] = (), happened: Sequence[Event] = ()) -> Next:
    """What happens to this recipient next, or why nothing does; `tries` and `happened` are this recipient's."""
    if person.held:
        return Next("Held by the operator. Delivery continues when it is released.")
    if person.state == "queued":
        return Next("The first attempt is due", person.next_at, person.expires_at)
    if person.state == "deferred":
        return Next("The next attempt is due", person.next_at, person.expires_at)
    if person.state == "suppressed":
        return Next("It was not sent: the recipient was on your suppression list. Remove it from your own list too.")
    if person.state == "cancelled":
        return Next("It was cancelled and will not be sent.")
    # Whoever complained or left had the message, whatever came back later.
    left = _left({e.type for e in happened})
    if person.state == "sent":
        return Next(left or _taken(happened))
    stage = next((t.stage for t in reversed(tries) if t.kind != "delivered"), "")
    advice = left or _ADVICE[why(person.code, person.says, stage, person.address).class_]
    return Next(" ".join(part for part in ("It will not be tried again.", _reported(person), advice) if part))


def _left(kinds: set[str]) -> str:
    """What to do about a recipient who wants no more mail; "" where nothing says so."""
    if COMPLAINED in kinds:
        return "The recipient reported it as spam. Remove the address from your own list too."
    if UNSUBSCRIBED in kinds:
        return "The recipient has unsubscribed. Remove the address from your own list too."
    return ""


def _taken(happened: Sequence[Event]) -> str:
    if any(e.type in (OPENED, CLICKED) and not e.data.get("machine") for e in happened):
        return "Nothing more: it has been read."
    return "Nothing more: the other side has accepted it. If the recipient can't find it, look in the spam folder."


def _reported(person: DetailRow) -> str:
    """What became of the report of a failure; "" where there is none and nobody forbade it."""
    if person.report_sent_to:
        return f"A report went to {person.report_sent_to}."
    if person.report_due == "failed":
        return "A report about it is on its way."
    if person.notify is not None and "FAILURE" not in person.notify.upper().split(","):
        return "No report was sent, at the sender's request (NOTIFY)."
    return ""
