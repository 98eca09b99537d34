"""What the relay writes to people: every subject and every body. Pure.

`text` of a `Notice` is any Unicode with "\\n"; the builder takes care of line ends and of what isn't printable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from relay.base import names
from relay.base.clock import DAY
from relay.base.config import Config
from relay.replies import printable

About = Literal["verified", "complete", "failing", "lost", "taken", "paused"]
"""What a notice about a domain tells of."""
_MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Notice:
    """One short message."""

    subject: str
    text: str


def _hello(handle: str, subject: str, text: str) -> Notice:
    return Notice(subject, f"Hello {handle},\n\n{text}")


# -- domains -------------------------------------------------------------------------------------------------------


def domain(
    kind: About, name: str, *, handle: str, config: Config, findings: Iterable[Mapping[str, Any]] = ()
) -> Notice:
    """About a domain, for its owner. findings: of the look that caused it, as rows keep them; those that are facts
    against the domain are named."""
    shown, e = names.to_unicode(name), config.enrollment
    page = f"{config.server.public_url}/account"
    fix = f"{_listed(findings)}\nFix the records, then press Verify:\n{page}\n"
    match kind:
        case "verified":
            return _hello(
                handle, f"{shown} is verified",
                f"all required DNS records of {shown} have been found. Mail from this domain is accepted and signed "
                f"from now on.\n\n{page}\n",
            )
        case "complete":
            return _hello(
                handle, f"All DNS records of {shown} are in place",
                f"every record that was asked for, by the link to the DNS records of {shown} too, has been found.\n\n"
                f"{page}\n",
            )
        case "taken":
            return _hello(
                handle, f"{shown} is no longer verified for you",
                f"another member has proved in DNS that {shown} is theirs. Mail from it under your account is refused "
                "from now on. If the domain is still yours, publish the new ownership record shown on your page, "
                f"remove what you don't recognise, and verify again.\n\n{page}\n",
            )
        case "paused":
            return _hello(
                handle, f"An option of {shown} is paused",
                f"mail from {shown} is sent as before, but a record that an option of the domain needs is missing or "
                "different. Until it is back, that option is paused: bounces come back to the relay's own host, links "
                f"go through the relay's own host, or replies are not forwarded.\n\n{_listed(findings)}\nFix the "
                f"record, or turn the option off, then press Verify:\n{page}\n",
            )
        case "failing":
            return _hello(
                handle, f"DNS records of {shown} need attention",
                f"a regular check of {shown} found that required DNS records are missing or different. Mail is still "
                f"sent. After {e.failed_rechecks} such checks in a row (one every {e.recheck_verified_hours:g} hours) "
                f"the domain is no longer verified and its mail is refused.\n\n{fix}",
            )
        case "lost":
            return _hello(
                handle, f"{shown} is no longer verified",
                f"required DNS records of {shown} were missing or different {e.failed_rechecks} times in a row. Mail "
                f"from this domain is refused until they are back.\n\n{fix}",
            )


def _listed(findings: Iterable[Mapping[str, Any]]) -> str:
    wrong = [f for f in findings if f.get("ok") is False]
    return "".join(
        f"  {f['name']}\n    {f.get('says', '')}\n" + (f"    {f['fix']}\n" if f.get("fix") else "")
        for f in wrong[:_MAX_FINDINGS]
    )


def approval(name: str) -> Notice:
    """For the operator: a proved domain waits."""
    return Notice(
        f"{name} is waiting for approval",
        f"{names.to_unicode(name)} has been verified and is waiting for your approval.\n\n"
        f"posthouse domain approve {name}\n",
    )


def test_message(
    name: str, *, hostname: str, mail_from: str, return_path: str, tracking: str, subject: str
) -> Notice:
    """The body of a domain's test message."""
    return Notice(
        subject,
        f"This is a test message from {names.to_unicode(name)}, sent through {hostname}.\n\n"
        f"From:        {mail_from}\n"
        f"Return path: {return_path}\n"
        f"Tracking:    {tracking}\n\n"
        "Look at its Authentication-Results header: DKIM should say pass, twice, for this domain.\n"
        "It counts as one recipient of the domain's sending allowance.\n",
    )


test_message.__test__ = False  # type: ignore[attr-defined]


def dns_link(name: str, url: str, days: int, config: Config) -> Notice:
    """For whoever runs a domain's DNS, at its owner's request."""
    shown, host = names.to_unicode(name), config.server.hostname
    return Notice(
        f"DNS records for {shown}",
        f"The owner of {shown} wants to send mail through {host} and asks you to publish some DNS records for it. This "
        f"page shows them, tells which of them are found, and needs no account:\n\n{url}\n\nThe link can be used for "
        f"{days} days. If you don't run the DNS of {shown}, ignore this message.\n",
    )


# -- codes ---------------------------------------------------------------------------------------------------------


def forward_code(name: str, code: str, config: Config) -> Notice:
    """For a mailbox that a domain's replies and reports shall go to."""
    return Notice(
        f"Confirm mail for {name}",
        f"Someone has asked for replies and bounce reports for {names.to_unicode(name)} to be sent to this mailbox.\n\n"
        f"If you agree, enter this code at {config.server.public_url}/account:\n\n    {code}\n\n"
        "If you don't agree, do nothing.\n",
    )


def sender_code(handle: str, address: str, code: str, config: Config) -> Notice:
    """For an address that a member wants to send as."""
    return Notice(
        "Your verification code",
        f"The account {handle} at {config.server.hostname} wants to send mail as {address}.\n\n"
        f"If that was you, enter this code where you were asked for it, or at\n"
        f"{config.server.public_url}/account/senders:\n\n    {code}\n\n"
        f"It is valid for {config.senders.code_minutes} minutes. If it wasn't you, do nothing.\n",
    )


# -- what goes wrong -----------------------------------------------------------------------------------------------


def forwarding_fails(handle: str, name: str, domain_id: int, mailbox: str, says: str, config: Config) -> Notice:
    """For a domain's owner: the mailbox takes nothing."""
    shown = names.to_unicode(name)
    return _hello(
        handle, f"Mail for {shown} can't be forwarded",
        f"mail for {shown} is forwarded to {mailbox}, which does not accept it. Last attempt:\n\n  {says}\n\nThe "
        "senders are not notified. Fix the mailbox, or choose another one:\n"
        f"{config.server.public_url}/account/domains/{domain_id}\n",
    )


def webhook_fails(handle: str, url: str, why: str, config: Config) -> Notice:
    """For a webhook's owner: it takes nothing."""
    return _hello(
        handle, "Your webhook is refusing events",
        f"events can't be posted to\n\n  {url}\n\n{why}\n\nEach is tried again for "
        f"{config.webhooks.give_up_seconds / DAY:g} days; an endpoint that accepts nothing for that long is disabled. "
        f"Every attempt is listed here:\n{config.server.public_url}/account/webhooks\n",
    )


def webhook_disabled(handle: str, url: str, why: str, config: Config) -> Notice:
    """For a webhook's owner: it is given up."""
    return _hello(
        handle, "Your webhook has been disabled",
        f"events are no longer posted to\n\n  {url}\n\n{why}\n\nOnce it works again, enable it and replay the events "
        f"that it missed:\n{config.server.public_url}/account/webhooks\n",
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What a member's standing rests on, in words: which of `bounces` and `complaints`, how many more would stop it
    (None: no number of them alone would), the reckoning with its time, what to do."""

    measure: str
    left: int | None
    numbers: str
    advice: str


def standing(stage: str, handle: str, f: Figures, config: Config) -> Notice:
    """For a member whose stage has become `stage`."""
    page = f"{config.server.public_url}/account#standing"
    end = f"{f.numbers}\n\n{f.advice}\n\nThe formula with your figures: {page}\n"
    match stage:
        case "notice":
            left = f" {f.left} more {f.measure} without further deliveries would suspend you." if f.left else ""
            return _hello(
                handle, f"Many {f.measure} for {handle}",
                f"your {f.measure} have brought you halfway to a suspension.{left}\n\n{end}",
            )
        case "slowed":
            return _hello(
                handle, f"Sending for {handle} has been slowed down",
                f"because of your {f.measure}, your domains are limited to the next lower warming tier for now. The "
                f"limit is lifted automatically when the figures improve.\n\n{end}",
            )
        case "suspended":
            out = "The suspension is lifted automatically once the figures are good again" \
                if config.standing.release == "healed" else "Contact the operator, who can lift it"
            return _hello(
                handle, f"Sending for {handle} has been suspended",
                f"because of your {f.measure}, no more mail is accepted from you: SMTP answers 521, HTTP answers "
                f"403. Mail accepted before is still delivered. {out}. You can still sign in, use the pages and read "
                f"through the API.\n\n{end}",
            )
    return _hello(
        handle, f"{handle} can send again", f"your suspension has been lifted, and counting starts afresh.\n\n{page}\n"
    )


# -- for the operator ----------------------------------------------------------------------------------------------


def role_mail(roles: Sequence[str], sender: str, subject: str, *, whole: bool) -> Notice:
    """Around a message that came for role addresses. Nothing of it becomes more than printable text."""
    wanted = ", ".join(printable(r) for r in roles)
    return Notice(
        f"{wanted[:80]}: {printable(subject)[:200]}",
        f"Mail for {wanted} came in on port 25.\nEnvelope sender: {printable(sender)[:300] or '(none)'}\n"
        + ("" if whole else "It is large: only the beginning is attached.\n"),
    )
