"""What THEY said: a remote reply or a failure → delivered | later | never.

Every other module asks here whether a failure is temporary or permanent; the answer is decided in this file
alone. Promises: only a 5xx reply at the right stage, and what `concluded` is told outright (null MX, a name
that does not exist, a message the remote side can't take), makes `never`; whatever is unknown, contradictory
or out of step is `later`, and so is a refusal that our own missing TLS provoked. Remote words are kept, bounded,
with control characters made visible, so that an outcome can be shown and logged as it is.

Leaves to others: talking (`relay.delivery.client`), when to try again and when age makes an end (the queue).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["delivered", "later", "never"]
Stage = Literal["route", "connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot"]
# What the answer is about, and so what else may be concluded from it: this recipient, this message at this
# host, this host (try the next MX), or the whole destination.
Scope = Literal["recipient", "message", "host", "destination"]
Failure = Literal[
    "refused", "unreachable", "timeout", "deadline", "closed", "garbage", "oversized", "out_of_step",
    "injected", "tls", "certificate", "tlsa", "tls_missing", "auth_missing", "busy", "stopped", "internal",
]
# RFC 8460 §4.3: what TLS with a host failed for; "requiretls" is ours, for what RFC 8689 wants and the host has not.
TlsResult = Literal[
    "", "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
    "validation-failure", "tlsa-invalid", "dnssec-invalid", "sts-policy-fetch-error", "sts-policy-invalid",
    "sts-webpki-invalid", "requiretls",
]
# What a further try at the same host won't change by itself.
_LACKING: frozenset[TlsResult] = frozenset(
    {
        "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
        "requiretls",
    }
)

TEXT_LIMIT = 1000

# RFC 3463 §3: the enhanced code of each failure, and the sentence people read. Always class 4.
_FAILURES: dict[Failure, tuple[str, str]] = {
    "refused": ("4.4.1", "connection refused"),
    "unreachable": ("4.4.1", "host or network unreachable"),
    "timeout": ("4.4.2", "no answer in time"),
    "deadline": ("4.4.2", "the conversation took too long"),
    "closed": ("4.4.2", "connection closed by the remote host"),
    "garbage": ("4.5.0", "the answer is not an SMTP reply"),
    "oversized": ("4.5.0", "the answer is longer than an SMTP reply may be"),
    "out_of_step": ("4.5.0", "the remote host sent a reply that nothing asked for"),
    "injected": ("4.7.5", "the remote host sent data between its STARTTLS reply and the TLS handshake"),
    "tls": ("4.7.5", "TLS handshake failed"),
    "certificate": ("4.7.5", "the certificate of the remote host could not be verified"),
    "tlsa": ("4.7.5", "the certificate of the remote host is not the one that its TLSA records name"),
    "tls_missing": ("4.7.10", "TLS is required and the remote host does not offer it"),
    "auth_missing": ("4.7.0", "the remote host offers no authentication that may be used here"),
    "busy": ("4.4.5", "all connections to this host are in use"),
    "stopped": ("4.3.2", "this relay stopped before the remote host had answered"),
    "internal": ("4.3.0", "internal error"),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply (RFC 5321 §4.2) as it came: code, and the text of each line without it, undecoded."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code the last line begins with (RFC 2034 §4), of any class; else None."""
        word = self.lines[-1].split(b" ", 1)[0]
        parts = word.split(b".")
        if len(parts) != 3 or parts[0] not in (b"2", b"4", b"5"):
            return None
        # RFC 3463 §2: subject and detail have one to three digits.
        if not (parts[1].isdigit() and parts[2].isdigit() and len(parts[1]) <= 3 and len(parts[2]) <= 3):
            return None
        return word.decode("ascii")

    def verbatim(self, limit: int = TEXT_LIMIT) -> str:
        """Code and text of all lines on one line (line ends become spaces), printable and bounded."""
        text = b" ".join(self.lines) if len(self.lines) > 1 else self.lines[0]
        return printable(f"{self.code} ".encode("ascii") + text, limit)


@dataclass(frozen=True, slots=True)
class Peer:
    """With whom: the MX name, its address, the TLS version and whether its certificate was verified.

    `policy` is which TLS was asked of it, in a word; `cipher` what was agreed on; `tls_result`: what TLS with it failed
    for, also where mail may go on without. `tls_verified` is None without TLS. `dsn`: it offers DSN, so
    requests about reports go on to it (RFC 3461 §5.2.1). `downgraded`: in the clear although it offers TLS, which
    could not be had this time."""

    host: str = ""
    ip: str = ""
    tls: str | None = None
    tls_verified: bool | None = None
    dsn: bool = False
    downgraded: bool = False
    policy: str = ""
    cipher: str = ""
    tls_result: TlsResult = ""


NOBODY = Peer()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient in one attempt. `text` is verbatim where they said something; `dsn`, `policy`,
    `cipher`, `tls_result` as in Peer.

    `unanswered`: all of the message was written, and no answer came that can be told to be about it: they may have it.
    `our_tls`: they refused because we had no TLS with them; it says nothing about the recipient."""

    kind: Kind
    code: int | None
    enhanced: str | None
    text: str
    host: str
    ip: str
    tls: str | None
    tls_verified: bool | None
    stage: Stage
    scope: Scope
    duration_seconds: float = 0.0
    dsn: bool = False
    unanswered: bool = False
    our_tls: bool = False
    policy: str = ""
    cipher: str = ""
    tls_result: TlsResult = ""

    @property
    def lacks_tls(self) -> bool:
        """True when the host, as it is, hasn't got the TLS that was asked of it."""
        return self.kind == "later" and self.code is None and self.tls_result in _LACKING

    @property
    def tls_verdict(self) -> str:
        """What was found of the host's certificate: `verified`, `unverified`, or in RFC 8460's words why not; "" where
        there was none to look at."""
        if self.tls_result:
            return self.tls_result
        return "" if self.tls is None else "verified" if self.tls_verified else "unverified"

    @property
    def try_next_host(self) -> bool:
        """True when another mail exchanger of the same destination may do better now (RFC 5321 §5.1).

        Not when a host fell silent after the final dot: it may well have the message (RFC 1047)."""
        return self.kind == "later" and self.scope == "host" and not self.unanswered


def printable(text: bytes, limit: int = TEXT_LIMIT) -> str:
    """Remote bytes as one printable line of at most `limit` characters; what is cut shows as `…`.

    Controls, line and direction marks and bytes that are not UTF-8 are written as escapes."""
    shown = text[: limit * 4].decode("utf-8", "backslashreplace")
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def from_reply(
    reply: Reply, stage: Stage, peer: Peer = NOBODY, *, duration_seconds: float = 0.0, limit: int = TEXT_LIMIT
) -> Outcome:
    """Judge the reply that ended `stage`. Only a 2xx to the final dot is `delivered`."""
    enhanced = reply.enhanced
    kind, scope = _judge(reply.code, enhanced, stage)
    if enhanced is not None and int(enhanced[0]) != reply.code // 100:
        # RFC 2034 §4: the classes must agree; one that doesn't says nothing.
        enhanced = None
    our_tls = kind == "never" and stage != "dot" and _misses_tls(reply, enhanced, peer)
    if our_tls:
        # RFC 3463 §3.8: x.7.5, a failure of cryptography. The next exchanger may have a TLS that works.
        kind, scope, enhanced = "later", "host", "4.7.5"
    return Outcome(
        kind=kind, code=reply.code, enhanced=enhanced, text=reply.verbatim(limit), host=peer.host, ip=peer.ip,
        tls=peer.tls, tls_verified=peer.tls_verified, stage=stage, scope=scope, duration_seconds=duration_seconds,
        dsn=peer.dsn, our_tls=our_tls, policy=peer.policy, cipher=peer.cipher, tls_result=peer.tls_result,
    )


def _misses_tls(reply: Reply, enhanced: str | None, peer: Peer) -> bool:
    """Whether a refusal may speak of our missing TLS: whatever it says, where TLS was offered and could not be had."""
    if peer.downgraded:
        return True
    # RFC 3207 §4: 530 "Must issue a STARTTLS command first", also from who offers none; RFC 5248 §2.4: x.7.10.
    wants = enhanced == "5.7.10" or (reply.code == 530 and any(b"TLS" in line.upper() for line in reply.lines))
    return wants and peer.tls is None


def _judge(code: int, enhanced: str | None, stage: Stage) -> tuple[Kind, Scope]:
    family = code // 100
    if stage == "dot" and family == 2:
        return "delivered", "recipient"
    if family not in (4, 5):
        # A 2xx to DATA, a 354 to MAIL, a code nobody defined: client and server are out of step.
        return "later", "host"
    # RFC 5321 §3.8: 421 may come at any stage, the server is closing.
    # RFC 5321 §3.1, RFC 7504 §3: a 554 or 521 greeting speaks of this host now; so do refusals of
    # EHLO, STARTTLS and AUTH: the next exchanger may answer otherwise.
    # 503 speaks of the order of commands, never of the mail.
    if code in (421, 503) or stage in ("connect", "greeting", "ehlo", "starttls", "auth", "route"):
        return "later", "host"
    scope: Scope = "recipient" if stage == "rcpt" else "message"
    if family == 4:
        return "later", scope
    if enhanced is not None and enhanced[0] != "5":
        return "later", scope
    # RFC 5321 §4.5.3.1.10: "552 too many recipients" to RCPT is 452, unless it says it means something else.
    if code == 552 and stage == "rcpt" and (enhanced is None or enhanced in ("5.0.0", "5.5.3")):
        return "later", scope
    return "never", scope


def from_failure(
    failure: Failure, stage: Stage, peer: Peer = NOBODY, *, said: Reply | None = None,
    duration_seconds: float = 0.0, unanswered: bool = False, why: str = "",
) -> Outcome:
    """An attempt that ended without a fitting reply: always `later`, and about the host.

    `said` is the reply that was taken as the failure, when there was one; its words are shown. `why`: more about the
    failure, in our words. `unanswered` as in Outcome."""
    enhanced, sentence = _FAILURES[failure]
    sentence = f"{sentence}: {why}" if why else sentence
    text = f"{sentence} (said: {said.verbatim()})" if said is not None else sentence
    return Outcome(
        kind="later", code=said.code if said is not None else None, enhanced=enhanced, text=text, host=peer.host,
        ip=peer.ip, tls=peer.tls, tls_verified=peer.tls_verified, stage=stage, scope="host",
        duration_seconds=duration_seconds, unanswered=unanswered, policy=peer.policy, cipher=peer.cipher,
        tls_result=peer.tls_result,
    )


def without_required_tls(found: Outcome) -> Outcome:
    """`found`, by which no exchanger has the TLS that the sender requires, as the end (RFC 8689 §4.2.1, §6: 5.7.30)."""
    return replace(
        found, kind="never", code=550, enhanced="5.7.30", scope="destination",
        text=f"REQUIRETLS support required: {found.text}",
    )


def concluded(
    kind: Literal["later", "never"], enhanced: str, text: str, stage: Stage, scope: Scope, peer: Peer = NOBODY,
    *, code: int | None = None, duration_seconds: float = 0.0,
) -> Outcome:
    """What we concluded without a reply: no route, or a message that this host can't take as it is.

    `code` is the SMTP code the conclusion stands for, as reports want one (RFC 7505 §4: 556)."""
    return Outcome(
        kind=kind, code=code, enhanced=enhanced, text=text, host=peer.host, ip=peer.ip, tls=peer.tls,
        tls_verified=peer.tls_verified, stage=stage, scope=scope, duration_seconds=duration_seconds,
        policy=peer.policy, cipher=peer.cipher, tls_result=peer.tls_result,
    )
