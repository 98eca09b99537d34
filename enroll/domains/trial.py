"""A small test message in a domain's own name, through the same gate as any other: it is signed, paced, counted."""

from __future__ import annotations

from enroll.domains.model import Domain
from enroll.errors import conflict, invalid
from enroll.letter import letter
from relay.base import names
from relay.base.config import Config
from relay.directory import Directory, Login
from relay.intake import Accepted, Intake, Recipient, Submission
from relay.replies import Refused, Verdict

MAX_SUBJECT = 200


async def send_test(
    intake: Intake, directory: Directory, config: Config, domain: Domain, to: str, subject: str | None = None
) -> Accepted:
    """Queue a test message from `test@<domain>` to one address. It spends one recipient of the warming tier.

    Raises EnrollError: 422 for a bad address, 409 when the domain may not send; Refused with the verdict that any
    submission would get (suppressed, warming, suspended, queue full).
    """
    try:
        recipient = names.address(to.strip())
    except names.BadName as e:
        raise invalid("to", e.reason) from None
    if domain.state != "verified":
        raise conflict(f"The domain is {domain.state}: only a verified one may send.")
    await directory.refresh()
    entry = directory.domain_of_member(domain.member_id, domain.name)
    member = directory.member(domain.member_id)
    if entry is None or member is None:
        raise conflict("The domain may not send just now.")
    sender = names.address(f"{config.enrollment.test_sender}@{domain.name}")
    shown = names.to_unicode(domain.name)
    text = (
        f"This is a test message from {shown}, sent through {config.server.hostname}.\n\n"
        f"From:        {sender.text}\n"
        f"Return path: {entry.return_path or config.bounce_host}\n\n"
        "Look at its Authentication-Results header: DKIM should say pass, twice, for this domain.\n"
        "It counts as one recipient of the domain's sending allowance.\n"
    )
    raw = letter(
        sender.text, recipient, (subject or f"Sender domain test from {domain.name}")[:MAX_SUBJECT], text,
        auto_submitted=False,
    )
    login = Login(member.id, member.handle, member.did, 0, "", frozenset({"send"}), None, "transactional")
    taken = await intake.accept(
        Submission(
            login=login, domain=entry, door="http", mail_from=sender, recipients=[Recipient(recipient)], raw=raw,
            category="transactional", smtputf8=recipient.smtputf8,
        )
    )
    if isinstance(taken, Verdict):
        raise Refused(taken)
    return taken
