"""What the send API says when all goes well, as values that can be kept and said again byte for byte."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from relay.base.clock import DAY, HOUR, Clock
from relay.base.config import Config
from relay.base.web import dumps, raw_answer, refuse, shown
from relay.intake import Accepted
from relay.replies import NO_RECIPIENTS, RATE_LIMITED, Refused, Verdict
from relay.sendapi.models import NothingAccepted, RejectedOne, Sent
from relay.warming import Remaining

REPLAYED = {"Idempotent-Replayed": "true"}
Rejected = tuple[str, Verdict]
"""A recipient that was left out, as it was written, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a JSON text, and headers of its own. `again`: asking again can help, whatever the status says. `left`:
    how many recipients a warming tier still lets out, None where it isn't known or there is no limit."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)
    again: bool = False
    left: int | None = None

    @property
    def final(self) -> bool:
        """True when asking again with the same body can't get another answer: it may be kept."""
        return not self.again and self.status < 500 and self.status not in (401, 409, 429)

    def response(self) -> web.Response:
        """As it goes to the client."""
        made = raw_answer(self.text, self.status)
        made.headers.update(self.headers)
        return made


def refused(refusal: Refused | Verdict, config: Config, clock: Clock) -> Answer:
    """A refusal as an answer."""
    verdict = refusal.verdict if isinstance(refusal, Refused) else refusal
    made = refuse(verdict, public_url=config.server.public_url, clock=clock)
    kept = {k: v for k, v in made.headers.items() if k in ("Retry-After", "WWW-Authenticate")}
    left = None
    if verdict.reply is RATE_LIMITED:
        facts, wait = verdict.extra, int(kept["Retry-After"])
        kept |= _limits(
            ("hour", facts["perHour"], HOUR, facts["perHour"] - facts["usedThisHour"], wait),
            ("day", facts["perDay"], DAY, facts["perDay"] - facts["usedToday"], wait),
        )
        left = max(0, min(facts["perHour"] - facts["usedThisHour"], facts["perDay"] - facts["usedToday"]))
    return Answer(made.status, made.text or "", kept, left=left)


def sent(
    accepted: Accepted, rejected: Iterable[Rejected], public_url: str, now: float
) -> Answer:
    """The 200: one integer for each accepted recipient, each refused one with its reason."""
    body: Sent = {
        "accepted": [
            {"recipient": address.text, "recipientId": number, "messageId": number}
            for address, number in (*accepted.recipients, *accepted.repeated)
        ],
        "rejected": [rejection(text, verdict, public_url) for text, verdict in rejected],
        "id": accepted.queue_id,
    }
    headers = rate_limit(accepted.remaining, now)
    if accepted.repeated and not accepted.recipients:
        headers |= REPLAYED
    left = accepted.remaining
    return Answer(200, dumps(body), headers, left=None if left is None else min(left.hour, left.day))


def tightest(answers: Iterable[Answer]) -> dict[str, str]:
    """The RateLimit fields of that answer which leaves the fewest recipients, for all of them together."""
    limited = [answer for answer in answers if answer.left is not None]
    least = min(limited, key=lambda answer: answer.left or 0, default=None)
    return {k: v for k, v in least.headers.items() if k.startswith("RateLimit")} if least else {}


def rate_limit(left: Remaining | None, now: float) -> dict[str, str]:
    """What a warming tier lets out, and what is left of it, as header fields; none where there is no limit."""
    if left is None:
        return {}
    tier = left.tier
    return _limits(
        ("hour", tier.per_hour, HOUR, left.hour, math.ceil(left.hour_at - now)),
        ("day", tier.per_day, DAY, left.day, math.ceil(left.day_at - now)),
    )


def _limits(*windows: tuple[str, int, float, int, int]) -> dict[str, str]:
    """(name, quota, window in seconds, left, seconds until more) each, in recipients."""
    # draft-ietf-httpapi-ratelimit-headers: lists of strings with parameters (RFC 9651 §3.1).
    return {
        "RateLimit-Policy": ", ".join(f'"{name}";q={quota};w={int(window)}' for name, quota, window, _, _ in windows),
        "RateLimit": ", ".join(f'"{name}";r={max(0, left)};t={max(0, wait)}' for name, _, _, left, wait in windows),
    }


def nothing_accepted(rejected: Iterable[Rejected], public_url: str) -> Answer:
    """The 422 for a message of which every recipient was refused by itself: an error with the lists of a 200."""
    said: NothingAccepted = {
        **Verdict(NO_RECIPIENTS).json(public_url),  # type: ignore[typeddict-item]  # error, code, detail
        "accepted": [], "rejected": [rejection(text, verdict, public_url) for text, verdict in rejected], "id": None,
    }
    return Answer(NO_RECIPIENTS.http, dumps(said))


def rejection(text: str, verdict: Verdict, public_url: str) -> RejectedOne:
    """One refused recipient, with the same facts that a whole refusal carries."""
    said = verdict.json(public_url)
    return {
        "recipient": shown(text, 320), "reason": said["error"], "code": said["code"], "detail": said["detail"],
    }
