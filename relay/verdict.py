"""A reply and a verdict: one named answer of ours, and one decision that ends in it.

`relay.replies` is the table of all replies and gives these on: who needs a verdict imports it from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from relay.base.clock import not_before


@dataclass(frozen=True, slots=True)
class Reply:
    """One named answer. `smtp`/`http` are 0 where a door never says it; `text` is a format string."""

    name: str
    smtp: int
    enhanced: str
    http: int
    code: str
    text: str
    meaning: str
    fix: str
    stages: str = ""
    closes: bool = False
    policy: bool = False  # carries a reference and a page /r/<id>

    @property
    def temporary(self) -> bool:
        """True when trying again later, unchanged, can succeed."""
        return 400 <= self.smtp < 500 or self.http in (429, 500, 503, 507)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision of policy: the rule, what it saw and wanted, how to fix it, when it will pass.

    `saw`/`wanted` are words for the member (never a stranger's data), and so is `cure`, where there is a better one
    than the reply's `fix`; `said` is the whole sentence, where the reply's own is too general. `passes_at` is Unix
    seconds.
    `reference` is the unguessable id of the page `/r/<reference>`, set once it is recorded. `guess`: the credentials
    are nobody's, so a door counts them as a failure; right ones used wrongly are not.
    """

    reply: Reply
    saw: str = ""
    wanted: str = ""
    passes_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    member_id: int | None = None
    cure: str = ""
    guess: bool = False
    said: str = ""

    def text(self, account_url: str = "/account") -> str:
        """The sentence of this refusal, controls and non-ASCII replaced, for SMTP and HTTP."""
        said = self.said or self.reply.text.format(
            saw=self.saw, wanted=self.wanted, reference=self.reference or "-", account_url=account_url,
            tier=self.extra.get("tier", "?"),
            when="later" if self.passes_at is None else f"after {not_before(self.passes_at)}",
        )
        return printable(said)

    def fix(self, account_url: str = "/account") -> str:
        """What the member can do about it."""
        return (self.cure or self.reply.fix).format(account_url=account_url)

    def referred(self, reference: str) -> Verdict:
        """The same verdict with its page's id."""
        return replace(self, reference=reference)

    def smtp_lines(self, public_url: str) -> list[str]:
        """The reply without CRLF, one string a line: `451-4.7.1 …`, each under 512 octets (RFC 5321 §4.5.3.1.5).

        Every line carries the enhanced code (RFC 2034 §3); a policy refusal ends with its page's URL.
        """
        text = self.text(f"{public_url}/account")
        if self.reply.policy and self.reference:
            text += f"; {public_url}/r/{self.reference}"
        elif self.reply.name == "auth_failed":
            text += f"; sign in at {public_url}/account and regenerate the key"
        return smtp_lines(self.reply.smtp, self.reply.enhanced, text)

    def json(self, public_url: str) -> dict[str, Any]:
        """The HTTP body: `{"error", "code", "detail"}` with the same facts as the SMTP reply."""
        account = f"{public_url}/account"
        detail: dict[str, Any] = {"rule": self.reply.name, "verdict": "refused", "fix": self.fix(account)}
        if self.saw:
            detail["saw"] = self.saw
        if self.wanted:
            detail["wanted"] = self.wanted
        if self.passes_at is not None:
            detail["passesAt"] = not_before(self.passes_at)
        detail.update(self.extra)
        if self.reference:
            detail["reference"] = self.reference
            if self.reply.policy:
                detail["url"] = f"{public_url}/r/{self.reference}"
        return {"error": self.text(account), "code": self.reply.code, "detail": detail}


class Refused(Exception):
    """A verdict on its way through code that can't return it. Its str is for the log only.

    `field` names the field of a request that is wrong, where that is known.
    """

    field: str | None = None

    def __init__(self, verdict: Verdict | Reply, **words: Any) -> None:
        self.verdict = verdict if isinstance(verdict, Verdict) else Verdict(verdict, **words)
        super().__init__(f"{self.verdict.reply.name}: {self.verdict.text()}")

    @property
    def reply(self) -> Reply:
        """The reply of the table."""
        return self.verdict.reply

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return self.verdict.reply.http

    @property
    def code(self) -> str:
        """The same for programs."""
        return self.verdict.reply.code

    @property
    def passes_at(self) -> float | None:
        """When trying again can help, in Unix seconds."""
        return self.verdict.passes_at

    @property
    def text(self) -> str:
        """What the person who asked reads: what is refused, and what helps."""
        fix = self.verdict.fix()
        return f"{self.verdict.text()}. {fix}" if fix else self.verdict.text()


_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160), 8232, 8233), "?")


def printable(text: str) -> str:
    """`text` as printable US-ASCII: controls become `?`, other characters `\\uXXXX`; safe in a reply line."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_CONTROLS).encode("ascii", "backslashreplace").decode("ascii")


def smtp_lines(code: int, enhanced: str, text: str, width: int = 480) -> list[str]:
    """An SMTP reply as its lines, split at `width` octets, without CRLF."""
    prefix = f"{enhanced} " if enhanced else ""
    parts = [text[i : i + width] for i in range(0, len(text), width)] or [""]
    last = len(parts) - 1
    return [f"{code}{' ' if i == last else '-'}{prefix}{part}" for i, part in enumerate(parts)]


def line(reply: Reply, saw: str = "") -> str:
    """A dialogue reply as one line without CRLF."""
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    return f"{reply.smtp} {prefix}{printable(reply.text.replace('{saw}', saw))}"
