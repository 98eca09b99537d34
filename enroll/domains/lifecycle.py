"""A domain's states and what may follow what. Pure: no clock, no storage, no DNS.

    initializing → pending → verified ⇄ disabled        suspended, blocked: the operator's        deleted

Promises that a look at DNS moves only `pending` and `verified`, that "could not be asked" moves nothing, and that
the clock alone takes a proved name away only after several failed looks in a row.

The first proof needs every record that was asked for. From then on ownership and DKIM alone carry the state; return
path, tracking host and MX each carry their own feature, which begins when its record is seen and rests when it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from relay.base import events
from relay.base.clock import DAY, HOUR
from relay.notices import About

State = Literal["initializing", "pending", "verified", "disabled", "suspended", "blocked", "deleted"]
By = Literal["owner", "clock", "link"]
"""Who looks: whoever has a link to the domain's records brings it on, and takes nothing away."""

LOCKED: frozenset[str] = frozenset({"suspended", "blocked"})
"""States that only the operator lifts."""
APPROVAL = "waits for the operator's approval"


@dataclass(frozen=True, slots=True)
class Move:
    """What one look at DNS makes of a domain. `event` and `notice` are None where nothing is told."""

    state: str
    failing: int
    reason: str = ""
    event: str | None = None
    notice: About | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What a domain's options come to, whatever its state.

    awaits: options whose feature waits for its record. path: the subdomain of the return path in use, "" for the
    relay's own. tracking: whether links carry the domain's own name.
    """

    awaits: tuple[str, ...] = ()
    path: str = ""
    tracking: bool = False


def next_features(
    was: Features, seen: Mapping[str, bool | None], *, path: str, former: bool | None = None
) -> Features:
    """The features after a look.

    `seen`: each option that asks for a record → whether that was found (None: could not be asked). `path`: the
    subdomain that the return path should have; `former`: whether the record of another one, still in use, was found.
    A feature rests at the first look that finds its record gone, whoever looks: going on would lose bounces or lead
    readers nowhere, and mail goes on without it.
    """
    awaits = tuple(name for name, ok in seen.items() if ok is False or (ok is None and name in was.awaits))
    if "return_path" not in seen:
        used = ""
    elif seen["return_path"]:
        used = path
    else:
        gone = seen["return_path"] is False if was.path == path else former is False
        used = "" if gone else was.path
    return Features(awaits, used, was.tracking and "tracking" in seen and "tracking" not in awaits)


def proved(required: Iterable[bool | None]) -> bool | None:
    """All required findings in one word: False if one is a fact against it, None if one could not be asked."""
    answers = list(required)
    if False in answers:
        return False
    if None in answers or not answers:
        return None
    return True


def next_state(
    state: str, proof: bool | None, *, by: By, failing: int, reason: str = "", failed_rechecks: int = 3,
    needs_approval: bool = False, counts: bool = True,
) -> Move:
    """The move that a look with the result `proof` makes.

    `failing`: failed looks by the clock so far, in a row; at `failed_rechecks` a verified domain falls back to
    pending. The owner's own look takes it back at once. `needs_approval`: a proved domain waits for the operator.
    `counts`: False when the clock's last failed look is so recent that this one is no second look.
    """
    if state == "pending" and proof:
        if needs_approval:
            return Move("blocked", 0, APPROVAL)
        notice: About | None = None if by == "owner" else "verified"
        return Move("verified", 0, event=events.DOMAIN_VERIFIED, notice=notice)
    if state != "verified" or proof is None:
        return Move(state, failing, reason)
    if proof:
        return Move("verified", 0)
    if by == "owner":
        return Move("pending", 0, "a required record is missing or different", events.DOMAIN_LOST)
    if not counts or by == "link":
        return Move("verified", failing, reason)
    failing += 1
    if failing >= failed_rechecks:
        says = f"a required record was missing or different {failing} times in a row"
        return Move("pending", 0, says, events.DOMAIN_LOST, "lost")
    if failing == 1:
        return Move("verified", 1, reason, events.DOMAIN_FAILING, "failing")
    return Move("verified", failing, reason)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often the clock looks, in seconds."""

    pending_first: float = 300.0
    pending_longest: float = HOUR
    pending_for: float = 30 * DAY
    verified: float = DAY
    unasked: float = HOUR


def next_look(
    state: str, *, by: By, proof: bool | None, now: float, waited: float | None, pending_since: float, rhythm: Rhythm
) -> float | None:
    """When the clock looks next (Unix seconds); None: not by itself.

    `waited` is the wait before this look, which doubles while a domain stays pending; an owner's look starts it
    anew, because somebody is at work there. A verified domain that could not be asked is looked at sooner.
    """
    if state == "verified":
        return now + (min(rhythm.unasked, rhythm.verified) if proof is None else rhythm.verified)
    if state != "pending":
        return None
    wait = rhythm.pending_first
    if by == "clock" and waited is not None:
        wait = min(max(2 * waited, rhythm.pending_first), rhythm.pending_longest)
    return now + wait if now + wait <= pending_since + rhythm.pending_for else None
