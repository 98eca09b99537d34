"""A small test message in a domain's own name, through the same intake as any other: it is signed, paced, counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from enroll.domains.model import Domain
from enroll.errors import conflict, invalid
from relay.base import names
from relay.base.config import Config
from relay.base.storage import Storage, reports
from relay.directory import Directory, Login
from relay.intake import Accepted, Intake, Recipient, Submission
from relay.notices import letter, texts
from relay.replies import Refused, Verdict

MAX_SUBJECT = 200
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class FirstTry:
    """What became of a recipient at its first try: its state then, and the last words about it."""

    state: str
    says: str


def test_subject(name: str, asked: str | None) -> str:
    """The subject of a test message from the domain `name`."""
    return (asked or f"Sender domain test from {name}")[:MAX_SUBJECT]


test_subject.__test__ = False  # type: ignore[attr-defined]


async def first_try(storage: Storage, member_id: int, recipient_id: int, seconds: float) -> FirstTry | None:
    """Wait until a recipient has been tried, by whichever process; None when that takes longer than `seconds`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        async with storage.read() as tx:
            found = await reports.message(tx, member_id, recipient_id=recipient_id)
        if found is None or not found[1]:
            return FirstTry("cancelled", "the message is gone")
        [recipient], tries = found[1], found[2]
        if tries or recipient.state not in ("queued", "deferred"):
            return FirstTry(recipient.state, recipient.says)
        if loop.time() >= end:
            return None
        await asyncio.sleep(_LOOK_SECONDS)


async def send_test(
    intake: Intake, directory: Directory, config: Config, domain: Domain, to: str, subject: str | None = None, *,
    local_part: str | None = None, message_id: str | None = None, beyond_tier: int = 0,
) -> Accepted:
    """Queue a test message from `<local_part>@<domain>` to one address. It spends one recipient of the warming tier.

    local_part: None for the configured one. message_id: the left side of its Message-ID; None lets intake make one.
    beyond_tier: so many recipients a day may go beyond the tier, and as many an hour as the day has room for.
    Raises EnrollError: 422 for a bad address, 409 when the domain may not send; Refused with the verdict that any
    submission would get (suppressed, warming, suspended, queue full).
    """
    try:
        recipient = names.address(to.strip())
    except names.BadName as e:
        raise invalid("to", e.reason) from None
    await directory.refresh()
    if (paused := directory.paused_domain(domain.member_id, domain.name)) is not None:
        raise conflict(f"{paused.says}. {paused.cure.format(account_url=f'{config.server.public_url}/account')}")
    entry = directory.domain_of_member(domain.member_id, domain.name)
    member = directory.member(domain.member_id)
    if entry is None or member is None:
        raise conflict("The domain may not send just now.")
    sender = names.own_address(f"{local_part or config.enrollment.test_sender}@{domain.name}")
    tracked = domain.options.link_tracking or domain.options.open_tracking
    host = entry.tracking_host or urlsplit(config.server.public_url).hostname
    notice = texts.test_message(
        domain.name, hostname=config.server.hostname, mail_from=sender.text,
        return_path=entry.return_path or config.bounce_host, tracking=str(host) if tracked else "off",
        subject=test_subject(domain.name, subject),
    )
    # Somebody asked for it and looks at it: it is not automatic.
    raw = letter(
        sender.text, recipient, notice, automatic=None,
        more={"Message-ID": f"<{message_id}@{domain.name}>"} if message_id else None,
    )
    login = Login(member.id, member.handle, member.did, 0, "", frozenset({"send"}), None, "transactional")
    taken = await intake.accept(
        Submission(
            login=login, domain=entry, door="http", mail_from=sender, recipients=[Recipient(recipient)], raw=raw,
            category="transactional", smtputf8=recipient.smtputf8, beyond_tier=beyond_tier,
        )
    )
    if isinstance(taken, Verdict):
        raise Refused(taken)
    return taken
