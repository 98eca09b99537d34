"""A message from outside on its way to a member's mailbox → its final bytes. Pure.

It keeps its octets: trace fields are put on top and nothing is signed, so that the signatures it came with still hold.
It belongs to the domain's member, who sees it in the message log, and to no domain's figures: neither warming nor
standing knows of it, and its failure suppresses nobody. Whether it may pass is for the room that took it in.
"""

from __future__ import annotations

from relay import message
from relay.base.config import Config
from relay.base.names import BadName
from relay.base.secrets import random_id
from relay.directory import MemberEntry
from relay.intake.submission import Built, Forward, Submission
from relay.message import Trace
from relay.message.prepare import Protocol

CATEGORY = "forwarded"
MARK = "X-Posthouse-Forwarded"


def forwarded(
    submission: Submission, forward: Forward, member: MemberEntry, now: float, config: Config
) -> Built:
    """The copy that goes out. `now` in Unix seconds."""
    queue_id = random_id(10)
    trace = Trace(
        config.server.hostname, _protocol(submission), helo=submission.helo, client_ip=submission.client_address,
        show_client=True, recipient=forward.wanted if forward.wanted.isascii() else None,
    )
    prepared = message.passed_on(forward.parsed, now=now, queue_id=queue_id, trace=trace)
    # RFC 8601 §4: the results stand above the Received line of the host that found them.
    head = b"".join((forward.results, f"{MARK}: {forward.domain.name}\r\n".encode("ascii"), prepared.received))
    content = prepared.content()
    try:
        shown = message.single_from(forward.parsed, foreign=True).address.text[:320]
    except BadName:
        shown = ""
    return Built(
        submission=submission, member_id=member.id, queue_id=queue_id, category=CATEGORY, signer=None,
        header_from=shown, message=prepared, content=content, shared=head, heads={}, now=now,
        size=len(content) + len(head), tls_required=message.tls_required(forward.parsed, demanded=False),
    )


def _protocol(submission: Submission) -> Protocol:
    # RFC 3848 §1, RFC 6531 §4.3
    if submission.smtputf8:
        return "UTF8SMTPS" if submission.tls else "UTF8SMTP"
    return "ESMTPS" if submission.tls else "ESMTP"
