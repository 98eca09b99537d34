"""A message → its final signed bytes, or a verdict. No transaction, no query; runs in a thread when large."""

from __future__ import annotations

import structlog

from relay import message, replies, suppression
from relay.base import names
from relay.base.config import Config
from relay.base.secrets import random_id
from relay.directory import DomainEntry, MemberEntry
from relay.intake.forward import forwarded
from relay.intake.keyring import Keyring, NoKey
from relay.intake.submission import Built, Submission
from relay.message import BadMessage, Bounds, Field, Parsed, Trace
from relay.message.prepare import Protocol
from relay.policy import Policy
from relay.replies import Verdict
from relay.signing import SigningKey, body_hash, sign
from relay.unsubscribe import Unsubscribe

log = structlog.get_logger()


def bounds(config: Config) -> Bounds:
    """The message bounds of the configuration."""
    s = config.submission
    return Bounds(
        size=s.max_message_bytes, header=s.max_header_bytes, fields=s.max_header_fields, line=s.max_line_bytes,
        mime_depth=s.max_mime_depth, mime_parts=s.max_mime_parts, received=s.max_received,
    )


class Builder:
    """Checks, completes and signs."""

    def __init__(self, policy: Policy, keyring: Keyring, unsubscribe: Unsubscribe, config: Config) -> None:
        self._policy, self._keyring, self._unsubscribe, self._config = policy, keyring, unsubscribe, config
        self.bounds = bounds(config)

    def build(self, submission: Submission, member: MemberEntry, now: float) -> Built | Verdict:
        """The final bytes. `now` in Unix seconds: also the signatures' t=, unless the message is scheduled."""
        if submission.forward is not None:
            return forwarded(submission, submission.forward, member, now, self._config)
        parsed = self.parse(submission.raw)
        if isinstance(parsed, Verdict):
            return parsed
        signer = submission.domain
        if submission.login is not None:
            found = self._policy.header_from(submission.login, parsed)
            if isinstance(found, Verdict):
                return found
            signer = found
        category = self._policy.category(submission.login, parsed, submission.category)
        return self._finish(submission, member, parsed, signer, category, now)

    def parse(self, raw: bytes) -> Parsed | Verdict:
        """The message split into fields and body, or what is wrong with it."""
        try:
            parsed = message.parse(raw, self.bounds)
            message.check_own_loop(parsed, self._config.server.hostname)
            return parsed
        except BadMessage as e:
            return refused(e, self._config)

    def _finish(
        self, submission: Submission, member: MemberEntry, parsed: Parsed, signer: DomainEntry | None,
        category: str, now: float,
    ) -> Built | Verdict:
        config = self._config
        queue_id = random_id(10)
        domain = signer.name if signer else config.server.hostname
        alone = submission.recipients[0].address.text if len(submission.recipients) == 1 else None
        prepared = message.prepare(
            parsed, now=now, message_id_domain=domain, queue_id=queue_id,
            trace=Trace(
                config.server.hostname, _protocol(submission), helo=submission.helo,
                client_ip=submission.client_address, recipient=alone,
            ),
            # The form feedback loops want: fields from the narrowest to the widest identity.
            feedback_id=f"{queue_id}:{category}:{member.handle}:{config.server.hostname}",
        )
        try:
            keys = self._keys(signer)
        except NoKey as e:
            log.error("signing.impossible", domain=domain, cause=str(e))
            return Verdict(replies.UNAVAILABLE, saw="signing is not possible just now")
        hashed = body_hash(prepared.body) if keys else b""
        signed_at = max(now, submission.send_at or now)

        def head(lines: list[Field]) -> bytes:
            fields = [*lines, *prepared.fields]
            signatures = b""
            if keys:
                signatures = sign(
                    fields, hashed, keys, now=signed_at, lifetime_seconds=config.signing.lifetime_days * 86400
                )
            return b"".join((signatures, prepared.received, *(f.raw for f in lines)))

        shared, heads = b"", {}
        if category in suppression.BULK and submission.login is not None and signer is not None:
            if self._unsubscribe.has_own([(f.name, f.raw) for f in prepared.fields]):
                shared = head([])
            else:
                kept = [f for f in prepared.fields if f.name not in ("list-unsubscribe", "list-unsubscribe-post")]
                prepared.fields[:] = kept
                for i, r in enumerate(submission.recipients):
                    lines = self._unsubscribe.lines(
                        member.id, signer.id, names.canonical(r.address), queue_id=queue_id, category=category
                    )
                    heads[i] = head([Field(name, raw) for name, raw in lines])
                if len(heads) == 1:
                    shared, heads = heads[0], {}
        else:
            shared = head([])
        content = prepared.content()
        size = len(content) + len(shared or heads.get(0, b""))
        return Built(
            submission, member.id, queue_id, category, signer, _shown_from(parsed), prepared, content, shared, heads,
            now, size,
        )

    def _keys(self, signer: DomainEntry | None) -> tuple[SigningKey, ...]:
        if signer is None:
            return self._keyring.pool
        return self._keyring.of(signer)


def refused(error: BadMessage, config: Config) -> Verdict:
    """The verdict for a message that breaks the format or a bound."""
    if error.kind == "too_large":
        return Verdict(replies.TOO_LARGE, wanted=str(config.submission.max_message_bytes))
    reply = replies.LOOP if error.kind == "loop" else replies.INVALID_MESSAGE
    return Verdict(reply, saw=str(error), extra={} if error.line is None else {"line": error.line})


def _protocol(submission: Submission) -> Protocol:
    # RFC 3848 §1, RFC 6531 §4.3
    if submission.door != "smtp":
        return "HTTP" if submission.door == "http" else "ESMTP"
    return "UTF8SMTPSA" if submission.smtputf8 else "ESMTPSA"


def _shown_from(parsed: Parsed) -> str:
    try:
        return message.single_from(parsed).address.text[:320]
    except names.BadName:
        return ""
