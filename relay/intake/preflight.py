"""Preflight: make every check and say what each one saw, sending nothing and spending nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from relay import warming
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import Storage, allowances
from relay.intake.build import Builder
from relay.intake.receivers import Receiver, rules, unmet
from relay.intake.submission import Submission
from relay.message import Parsed
from relay.policy import Policy
from relay.replies import Verdict


@dataclass(frozen=True, slots=True)
class Check:
    """One check's answer. `verdict` is None where it passes; `evidence` is what it looked at; `advice` never stops."""

    name: str
    verdict: Verdict | None
    evidence: dict[str, Any] = field(default_factory=dict)
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Receivers:
    """Whose published rules are checked too, and what asks DNS about our own names; None: it isn't asked."""

    names: Sequence[Receiver]
    resolver: Resolver | None


async def preflight(
    submission: Submission, policy: Policy, builder: Builder, storage: Storage, config: Config, clock: Clock,
    *, receivers: Receivers | None = None,
) -> list[Check]:
    """The checks in the order in which a message meets them, then those of `receivers`. Raises StorageError."""
    login = submission.login
    assert login is not None
    checks: list[Check] = []
    sender = policy.sender(login, submission.mail_from.text if submission.mail_from else "")
    checks.append(
        Check("sender", sender if isinstance(sender, Verdict) else None, {"mailFrom": _text(submission.mail_from)})
    )
    parsed = builder.parse(submission.raw)
    checks.append(
        Check("format", parsed if isinstance(parsed, Verdict) else None, {"bytes": len(submission.raw)})
    )
    domain = None if isinstance(sender, Verdict) else sender
    category = None
    if isinstance(parsed, Parsed):
        found = policy.header_from(login, parsed)
        checks.append(Check("from", found if isinstance(found, Verdict) else None))
        domain = domain if isinstance(found, Verdict) else found
        category = policy.category(login, parsed, submission.category)
    if domain is not None:
        want = 0
        for r in submission.recipients:
            answer = await policy.addressee(login, r.address.text, category=category)
            want += not isinstance(answer, Verdict)
            checks.append(
                Check("recipient", answer if isinstance(answer, Verdict) else None, {"recipient": r.address.text})
            )
        if (many := policy.many(len(submission.recipients))) is not None:
            checks.append(Check("recipients", many, {"recipients": len(submission.recipients)}))
        now = clock.now()
        tier = policy.tier(domain, now)
        if tier is None:
            checks.append(Check("warming", None, {"tier": warming.UNLIMITED}))
        else:
            async with storage.read() as tx:
                entries = (await allowances.entries(tx, [domain.id], now - DAY)).get(domain.id, [])
            judged = warming.judge(entries, tier, now, want)
            refusal = None if judged.fits else warming.refusal(judged, tier, domain.name, want, login.member_id)
            evidence = {
                "tier": tier.name, "usedThisHour": judged.hour, "perHour": tier.per_hour, "usedToday": judged.day,
                "perDay": tier.per_day,
            }
            checks.append(Check("warming", refusal, evidence))
        signing = {"domain": domain.name, "selectors": [f"{k.stem}{s}" for k in domain.keys[-1:] for s in "re"]}
        keys = builder.keys(domain)
        checks.append(Check("signing", keys if isinstance(keys, Verdict) else None, signing))
    if isinstance(parsed, Parsed):
        checks.extend(_advice(parsed))
    if receivers is not None and domain is not None:
        for name in receivers.names:
            asked = await rules(name, domain, category, storage, config, clock, receivers.resolver)
            evidence = {"receiver": name, "rules": {r.name: {"met": r.met, "says": r.says} for r in asked}}
            checks.append(Check("receiver", None, evidence, advice=unmet(asked)))
    return checks


def _advice(parsed: Parsed) -> list[Check]:
    """What spam filters may dislike: never a refusal."""
    out = []
    subject = next((f.value for f in parsed.all("subject")), b"").decode("ascii", "replace").strip()
    letters = [c for c in subject if c.isalpha()]
    if len(letters) >= 8 and sum(c.isupper() for c in letters) > 0.7 * len(letters):
        out.append("The subject is mostly capitals.")
    body = parsed.body.lower()
    if body.count(b"http://") + body.count(b"https://") > 20:
        out.append("The message has more than 20 links.")
    kinds = b" ".join(f.value for f in parsed.all("content-type")).lower()
    if b"text/html" in kinds or (b"content-type: text/html" in body and b"content-type: text/plain" not in body):
        out.append("There is no plain-text part beside the HTML one.")
    if not subject:
        out.append("The subject is empty.")
    return [Check("content", None, advice=text) for text in out]


def _text(address: object) -> str:
    return str(getattr(address, "text", ""))


