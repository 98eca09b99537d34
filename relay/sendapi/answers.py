"""What this door says when all goes well, as values that can be kept and said again byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.names import Address
from relay.base.web import dumps, raw_answer, refuse, shown
from relay.replies import NO_RECIPIENTS, Refused, Verdict
from relay.sendapi.responses import NothingAccepted, RejectedOne, Sent

Rejected = tuple[str, Verdict]
"""A recipient that was left out, as it was written, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a JSON text, and headers of its own. `again`: asking again can help, whatever the status says."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)
    again: bool = False

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
    made = refuse(refusal, public_url=config.server.public_url, clock=clock)
    kept = {k: v for k, v in made.headers.items() if k in ("Retry-After", "WWW-Authenticate")}
    return Answer(made.status, made.text or "", kept)


def sent(
    accepted: Iterable[tuple[Address, int]], rejected: Iterable[Rejected], queue_id: str | None, public_url: str
) -> Answer:
    """The 200: one integer for each accepted recipient, each refused one with its reason."""
    body: Sent = {
        "accepted": [
            {"recipient": address.text, "recipientId": number, "messageId": number} for address, number in accepted
        ],
        "rejected": [rejection(text, verdict, public_url) for text, verdict in rejected],
        "id": queue_id,
    }
    return Answer(200, dumps(body))


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
