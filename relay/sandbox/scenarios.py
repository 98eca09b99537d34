"""What a sandbox address asks for, and how far that has come. Pure; the clock is handed in.

Answered in the conversation (`server`):

    bounce+5.1.1@…   550 5.1.1 at RCPT         greylist+90s@…   450 until 90 s after it was first seen
    defer+3@…        451 three times           slow+5s@…        the answer to the message takes 5 s
    tlsfail@…        TLS breaks                ok@…             accepted, like every other address

Accepted, and something comes back later (`responses`):

    late-bounce+5.1.1@…   a DSN, failed        prose-bounce+5.1.1@…   a bounce in words only
    delayed+4.4.1@…       a DSN, delayed       vacation@…             an automatic answer
    complain@…            a complaint to the return path; complain-fbl@… to fbl@ at its domain
    unsubscribe@…         presses one-click    unsubscribe-mailto@…   writes to the mailto: of List-Unsubscribe
    reply@…               a person answers

A dot and anything make another address that asks for the same: complain.2@…, bounce.x+5.1.1@…
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "ok", "bounce", "defer", "greylist", "slow", "tlsfail",
    "late-bounce", "prose-bounce", "delayed", "vacation", "complain", "complain-fbl", "unsubscribe",
    "unsubscribe-mailto", "reply",
]
# What is accepted, and answered afterwards.
ANSWERED: frozenset[Kind] = frozenset((
    "late-bounce", "prose-bounce", "delayed", "vacation", "complain", "complain-fbl", "unsubscribe",
    "unsubscribe-mailto", "reply",
))
# Kinds with nothing behind the name; what stands behind a "+" is the tester's own mark.
_PLAIN: dict[str, Kind] = {
    "tlsfail": "tlsfail", "vacation": "vacation", "complain": "complain", "complain-fbl": "complain-fbl",
    "unsubscribe": "unsubscribe", "unsubscribe-mailto": "unsubscribe-mailto", "reply": "reply",
}
# Kinds with a status: its usual one, and the classes that it may be of.
_STATED: dict[str, tuple[Kind, str, str]] = {
    "bounce": ("bounce", "5.1.1", "45"), "late-bounce": ("late-bounce", "5.1.1", "45"),
    "prose-bounce": ("prose-bounce", "5.1.1", "45"), "delayed": ("delayed", "4.4.1", "4"),
}

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_MOST_DEFERRALS = 100
_MOST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Scenario:
    """`status` an enhanced code (bounces, delays), `count` deferrals, `seconds` of greylisting or slowness."""

    kind: Kind
    status: str = ""
    count: int = 0
    seconds: float = 0.0


def scenario(address: str) -> Scenario:
    """Read an address. One that makes no sense is `ok`: the sandbox takes everything."""
    name, _, detail = address.rpartition("@")[0].lower().partition("+")
    name = name.partition(".")[0]
    if name in _PLAIN:
        return Scenario(_PLAIN[name])
    if name in _STATED:
        kind, usual, classes = _STATED[name]
        status = detail or usual
        # RFC 3463 §2: class, subject, detail.
        good = re.fullmatch(rf"[{classes}]\.\d{{1,3}}\.\d{{1,3}}", status)
        return Scenario(kind, status=status) if good else Scenario("ok")
    if name == "defer" and re.fullmatch(r"\d{0,3}", detail):
        return Scenario("defer", count=min(int(detail or 1), _MOST_DEFERRALS))
    timed = re.fullmatch(r"(\d{1,5})([smh]?)", detail or "5s")
    if name in ("greylist", "slow") and timed:
        seconds = min(int(timed[1]) * _SECONDS[timed[2]], _MOST_SECONDS)
        return Scenario("greylist" if name == "greylist" else "slow", seconds=float(seconds))
    return Scenario("ok")


def basic_code(status: str) -> int:
    """The reply code that usually goes with an enhanced status (RFC 5248, RFC 7505 §4)."""
    return {"5.2.2": 552, "5.3.4": 552, "5.1.10": 556}.get(status, 550 if status[0] == "5" else 451)


class Memory:
    """How often a pair of sender and recipient was deferred, and when it was first seen. Bounded: oldest go."""

    def __init__(self, monotonic: Callable[[], float], most: int) -> None:
        self._monotonic = monotonic
        self._most = most
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def answer(self, asked: Scenario, sender: str, recipient: str) -> str | None:
        """The refusal to give at RCPT, or None to accept. Senders with a return path per message start anew."""
        if asked.kind == "bounce":
            return f"{basic_code(asked.status)} {asked.status} The sandbox refuses this recipient, as its address asks"
        if asked.kind not in ("defer", "greylist"):
            return None
        key = (sender, recipient.lower())
        first, times = self._seen.pop(key, (self._monotonic(), 0))
        if asked.kind == "defer":
            refusal = f"451 4.2.0 The sandbox defers this recipient, {times + 1} of {asked.count} times"
            done = times >= asked.count
        else:
            left = first + asked.seconds - self._monotonic()
            refusal = f"450 4.2.0 Greylisted by the sandbox, {max(left, 0.0):.0f} seconds to go"
            done = left <= 0
        if done:
            return None
        self._seen[key] = (first, times + 1)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return refusal
