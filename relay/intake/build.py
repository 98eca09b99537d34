"""A message → its final signed bytes, or a verdict. No transaction, no query; runs in a thread when large.

A member's message is signed with keys that `Keyring` opens once and keeps. A message that is forwarded keeps its
octets: trace fields are put on top and nothing is signed, so that the signatures it came with still hold.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import structlog

from relay import message, replies, suppression
from relay.base import names
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.names import BadName
from relay.base.secrets import SecretsError, Vault, random_id
from relay.directory import DomainEntry, MemberEntry
from relay.intake.repeats import fingerprint
from relay.intake.submission import Built, Fingerprint, Forward, Submission
from relay.message import BadMessage, Bounds, Field, Parsed, Prepared, Trace
from relay.message.prepare import Protocol
from relay.policy import Policy
from relay.replies import Verdict
from relay.signing import SigningKey, body_hash, load_ed25519, load_rsa, sign
from relay.tracking import Rewriter
from relay.unsubscribe import Unsubscribe

log = structlog.get_logger()


class NoKey(Exception):
    """Signing is not possible now: no live pair, or it does not open."""


class Keyring:
    """Signing keys by domain, opened and loaded once: the newest `cached_keys` pairs.

    Thread-safe enough: a pair loaded twice is only wasted work.
    """

    def __init__(self, vault: Vault, config: Config) -> None:
        self._vault, self._max = vault, config.signing.cached_keys
        self._pairs: OrderedDict[int, tuple[SigningKey, ...]] = OrderedDict()
        self.pool = _pool_key(config)

    def of(self, domain: DomainEntry) -> tuple[SigningKey, ...]:
        """The keys that sign for `domain`: its live pair, then the pool's. Raises NoKey."""
        if not domain.keys:
            raise NoKey(f"{domain.name} has no live DKIM pair")
        entry = domain.keys[-1]
        pair = self._pairs.get(entry.id)
        if pair is None:
            seal = ("dkim", str(domain.member_id), domain.name, entry.stem)
            try:
                rsa = load_rsa(self._vault.open(entry.rsa_private, *seal, "rsa"))
                ed = load_ed25519(self._vault.open(entry.ed_private, *seal, "ed25519"))
            except (SecretsError, ValueError) as e:
                raise NoKey(f"{domain.name}: {e}") from None
            pair = (
                SigningKey(domain.name, entry.stem + "r", "rsa-sha256", rsa),
                SigningKey(domain.name, entry.stem + "e", "ed25519-sha256", ed),
            )
            self._pairs[entry.id] = pair
            while len(self._pairs) > self._max:
                self._pairs.popitem(last=False)
        return (*pair, *self.pool)


def _pool_key(config: Config) -> tuple[SigningKey, ...]:
    s = config.signing
    if not s.pool_domain or not s.pool_key_file:
        return ()
    try:
        key = load_rsa(Path(s.pool_key_file).read_bytes(), validated=False)
    except (OSError, ValueError) as e:
        raise NoKey(f"signing.pool_key_file: {e}") from None
    return (SigningKey(s.pool_domain, s.pool_selector, "rsa-sha256", key),)


CATEGORY = "forwarded"
MARK = "X-Posthouse-Forwarded"


def forwarded(
    submission: Submission, forward: Forward, member: MemberEntry, now: float, config: Config
) -> Built:
    """The copy of a message from outside that goes on to a member's mailbox. Pure; `now` in Unix seconds.

    It belongs to the domain's member, who sees it in the message log, and to no domain's figures: neither warming nor
    standing knows of it, and its failure suppresses nobody. Whether it may pass was decided where it came in.
    """
    queue_id = random_id(10)
    trace = Trace(
        config.server.hostname, _forwarded_protocol(submission), helo=submission.helo,
        client_ip=submission.client_address, show_client=True,
        recipient=forward.wanted if forward.wanted.isascii() else None,
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


def _forwarded_protocol(submission: Submission) -> Protocol:
    # RFC 3848 §1, RFC 6531 §4.3
    if submission.smtputf8:
        return "UTF8SMTPS" if submission.tls else "UTF8SMTP"
    return "ESMTPS" if submission.tls else "ESMTP"


def new_queue_id() -> str:
    """An id for one message."""
    return random_id(10)


def bounds(config: Config) -> Bounds:
    """The message bounds of the configuration."""
    s = config.submission
    return Bounds(
        size=s.max_message_bytes, header=s.max_header_bytes, fields=s.max_header_fields, line=s.max_line_bytes,
        mime_depth=s.max_mime_depth, mime_parts=s.max_mime_parts, received=s.max_received,
    )


class Builder:
    """Checks, completes, rewrites where the domain's owner wants it, and signs."""

    def __init__(
        self, policy: Policy, keyring: Keyring, unsubscribe: Unsubscribe, rewriter: Rewriter, config: Config
    ) -> None:
        self._policy, self._keyring, self._unsubscribe, self._config = policy, keyring, unsubscribe, config
        self._rewriter = rewriter
        self.bounds = bounds(config)

    def rewrites(self, submission: Submission) -> bool:
        """Whether something may be put into this message: more work than signing it."""
        return self._rewriter.wanted(submission.domain) and _is_mailing(submission)

    def build(self, submission: Submission, member: MemberEntry, now: float) -> Built | Verdict:
        """The final bytes. `now` in Unix seconds: also the signatures' t=."""
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
            if submission.mail_from is None and (said := self._policy.automatic(submission.login, parsed)) is not None:
                return said
        known = self._fingerprint(submission, member, parsed)
        if isinstance(known, Verdict):
            return known
        category = self._policy.category(submission.login, parsed, submission.category)
        built = self._finish(submission, member, parsed, signer, category, now)
        if known is not None and isinstance(built, Built) and (built.message.own_id or known.key):
            built.fingerprint = known
        return built

    def _fingerprint(self, submission: Submission, member: MemberEntry, parsed: Parsed) -> Fingerprint | Verdict | None:
        if submission.as_came and self._config.submission.idempotency_hours:
            return fingerprint(submission, member.id, parsed)
        return None

    def parse(self, raw: bytes) -> Parsed | Verdict:
        """The message split into fields and body, or what is wrong with it."""
        try:
            parsed = message.parse(raw, self.bounds)
            message.check_own_loop(parsed, self._config.server.hostname)
            message.check_once(parsed)
            return parsed
        except BadMessage as e:
            return refused(e, self._config)

    def _finish(
        self, submission: Submission, member: MemberEntry, parsed: Parsed, signer: DomainEntry | None,
        category: str, now: float,
    ) -> Built | Verdict:
        config = self._config
        queue_id = submission.queue_id or new_queue_id()
        domain = signer.name if signer else config.server.hostname
        prepared = message.prepare(
            parsed, now=now, message_id_domain=domain, queue_id=queue_id,
            trace=Trace(
                config.server.hostname, _protocol(submission), helo=submission.helo,
                client_ip=submission.client_address, recipient=_alone(submission),
            ),
            ours=config.own_hosts,
            # The form feedback loops want: fields from the narrowest to the widest identity.
            feedback_id=f"{queue_id}:{category}:{member.handle}:{config.server.hostname}",
        )
        keys = self.keys(signer)
        if isinstance(keys, Verdict):
            return keys
        # RFC 6376 §3.5: a t= in the future may be refused, and mail that waits can be sent sooner by hand. So it is
        # signed as of now, and holds for as long after it is due as other mail does.
        lifetime = int(config.signing.lifetime_days * DAY + max(0.0, (submission.send_at or now) - now))

        def head(lines: list[Field], rest: list[Field], hashed: bytes) -> bytes:
            signatures = b""
            if keys:
                signatures = sign([*lines, *rest], hashed, keys, now=now, lifetime_seconds=lifetime)
            return b"".join((signatures, prepared.received, *(f.raw for f in lines)))

        lines = self._unsubscribe_lines(submission, member, prepared, signer, category, queue_id)
        built = Built(
            submission=submission, member_id=member.id, queue_id=queue_id, category=category, signer=signer,
            header_from=_shown_from(parsed), message=prepared, content=b"", shared=b"", heads={}, now=now, size=0,
            tls_required=message.tls_required(parsed, demanded=submission.require_tls),
        )
        if signer is not None and _is_mailing(submission) and self._rewriter.wanted(signer):
            made = self._rewriter.template(signer, parsed, prepared, category, len(submission.recipients))
            built.tracking = made if isinstance(made, str) else " ".join(sorted(made.has))
            if not isinstance(made, str):
                for i, r in enumerate(submission.recipients):
                    fields, body = self._rewriter.copy(
                        made, signer, queue_id=queue_id, address=r.address.text, canonical=names.canonical(r.address),
                        category=category, now=now,
                    )
                    own = head(lines.get(i, []), fields, body_hash(body) if keys else b"")
                    content = replace(prepared, fields=fields, body=body).content()
                    if len(submission.recipients) == 1:
                        built.shared, built.content = own, content
                    else:
                        # Nothing is shared any more: what is kept for each recipient is a whole copy.
                        built.heads[i] = own + content
                return _sized(built)
        hashed = body_hash(prepared.body) if keys else b""
        built.content = prepared.content()
        if lines:
            built.heads = {i: head(own, prepared.fields, hashed) for i, own in lines.items()}
        else:
            built.shared = head([], prepared.fields, hashed)
        return _sized(built)

    def _unsubscribe_lines(
        self, submission: Submission, member: MemberEntry, prepared: Prepared, signer: DomainEntry | None,
        category: str, queue_id: str,
    ) -> dict[int, list[Field]]:
        """The fields for unsubscribing of each recipient by position, in the place of the client's own if those don't
        serve; {} where there are none."""
        if category not in suppression.BULK or not _is_mailing(submission) or signer is None:
            return {}
        if self._unsubscribe.has_own([(f.name, f.raw) for f in prepared.fields]):
            return {}
        kept = [f for f in prepared.fields if f.name not in ("list-unsubscribe", "list-unsubscribe-post")]
        prepared.fields[:] = kept
        lines = {}
        for i, r in enumerate(submission.recipients):
            own = self._unsubscribe.lines(
                member.id, signer.id, names.canonical(r.address), queue_id=queue_id, category=category
            )
            lines[i] = [Field(name, raw) for name, raw in own]
        return lines

    def keys(self, signer: DomainEntry | None) -> tuple[SigningKey, ...] | Verdict:
        """The keys that sign for `signer` (None: the relay's own mail), or the refusal when there are none just now."""
        if signer is None:
            return self._keyring.pool
        try:
            return self._keyring.of(signer)
        except NoKey as e:
            log.error("signing.impossible", domain=signer.name, cause=str(e))
            return Verdict(replies.UNAVAILABLE, saw="signing is not possible just now")


def _alone(submission: Submission) -> str | None:
    """The one recipient; of several none learns of another."""
    return submission.recipients[0].address.text if len(submission.recipients) == 1 else None


def _is_mailing(submission: Submission) -> bool:
    """Whether there may be something to leave or to follow: not in the relay's own mail, nor in automatic answers."""
    return submission.login is not None and submission.mail_from is not None


def _sized(built: Built) -> Built:
    """The same, with one recipient's head as the shared one, and the octets that a recipient gets."""
    if len(built.heads) == 1:
        built.shared, built.heads = built.heads[0], {}
    built.size = len(built.content) + len(built.shared or built.heads.get(0, b""))
    return built


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
