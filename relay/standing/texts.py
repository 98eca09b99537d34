"""The sentences about standing: reasons, advice, the formula with a member's own numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.config import Config
from relay.standing.arithmetic import Judgement, Measure, Z

MEANING = {
    "good": "All is well.",
    "notice": "Attention: half of the way to a stop is gone.",
    "slowed": "Your domains send at the next lower warming tier.",
    "suspended": "Nothing is accepted from you until you are released.",
}


def percent(share: float) -> str:
    """A share for people: two digits that say something, `5 %`, `0.08 %`, `6.5 %`."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def worse(judgement: Judgement) -> tuple[str, Measure]:
    """The measure that is nearer to its threshold, with its name."""
    if judgement.complaints.reached > judgement.bounces.reached and judgement.complaints.left is not None:
        return "complaints", judgement.complaints
    return "bounces", judgement.bounces


def reason(judgement: Judgement, config: Config) -> str:
    """Why, on one line: it stands in refusals, on pages and in events."""
    name, m = worse(judgement)
    return (
        f"{m.k} {name} of {m.n} finished recipients in {config.standing.window_hours} hours ({percent(m.share)}; "
        f"lower bound {percent(m.lower)}, allowed {percent(m.threshold)})"
    )


def advice(judgement: Judgement) -> str:
    """What to do about it."""
    if worse(judgement)[0] == "complaints":
        return (
            "Mail only people who asked for it, say in each message why they get it, and let them leave with one "
            "click. Whoever complained is on your suppression list already: take them out of your own list too."
        )
    return (
        "Take every address that bounced as unknown out of your list; they are on your suppression list. Don't mail "
        "old or bought lists, and confirm new addresses before you use them."
    )


def formula(config: Config) -> str:
    """How it is reckoned, in one paragraph."""
    s = config.standing
    return (
        f"Counted are the recipients that were finished in the last {s.window_hours} hours: n = delivered + bounced; "
        "and of them k, the different recipients that bounced, or that complained: however often, and with whatever "
        "+tag, one address counts once. A share k / n is held against its limit by its lower bound, "
        "(p + z²/2n − z·√(p(1−p)/n + z²/4n²)) / "
        "(1 + z²/n) with p = k / n and z = 1.96: the smallest share that so few recipients leave credible. "
        f"With n under {s.min_volume} nobody is judged, nor by fewer than {s.min_complaints} complaints. At "
        f"{percent(s.notice_at)} of a limit you are told, at {percent(s.slow_at)} your domains send at the next "
        f"lower warming tier. At the limit you are suspended, once you have been slowed, if the k are at "
        f"{s.suspend_domains} or more recipient domains of different owners, or, of bounces, if this relay itself was "
        f"refused {s.suspend_refused} or more of them. Complaints, and bounces that come after the delivery, count "
        "only if the host that brings them proves, by SPF, DKIM or its confirmed name, that it speaks for the "
        "recipient's domain or for a feedback loop that the relay knows; others take that one recipient off your list "
        "and judge nobody. Bounces for which the relay itself was blamed, test messages and the sandbox don't count."
    )


@dataclass(frozen=True, slots=True)
class Said:
    """One measure for people: its name, the share, the reckoning, what is left, how far it has gone (percent)."""

    name: str
    share: str
    reckoning: str
    left: str
    gone: int


def said(judgement: Judgement, config: Config) -> list[Said]:
    """Both measures with their numbers."""
    least = {"bounces": 0, "complaints": config.standing.min_complaints}
    refused = {"bounces": config.standing.suspend_refused, "complaints": None}
    shown = []
    for name, m in (("bounces", judgement.bounces), ("complaints", judgement.complaints)):
        gone = m.reached if judgement.enough and m.k >= least[name] else 0.0
        shown.append(
            Said(
                name, f"{m.k} of {m.n}: {percent(m.share)}", reckoning(m),
                left(name, m, config.standing.suspend_domains, refused[name]), round(100 * min(1.0, gone)),
            )
        )
    return shown


def reckoning(m: Measure) -> str:
    """The formula with its numbers put in."""
    if m.n == 0:
        return f"nothing has finished yet; limit {percent(m.threshold)}"
    p, z2 = m.share, Z * Z
    return (
        f"({p:.4f} + {z2 / (2 * m.n):.4f} − 1.96·√({p * (1 - p) / m.n:.7f} + {z2 / (4 * m.n * m.n):.7f})) / "
        f"{1 + z2 / m.n:.4f} = {percent(m.lower)}; limit {percent(m.threshold)}"
    )


def left(name: str, m: Measure, domains: int, refused: int | None) -> str:
    """How many more would stop the member; `domains` and `refused` are what it takes besides the share."""
    more = "hard bounces" if name == "bounces" else name
    if m.reached >= 1 and not m.wide:
        need = f"{domains} recipient domains (now {m.domains})"
        if refused is not None:
            need += f", or {refused} recipients refused to this relay itself (now {m.refused})"
        return f"The limit is reached; a stop needs {more} at {need}."
    if m.left is None:
        return f"No number of {more} alone would stop your sending now."
    if m.left == 0:
        return "The limit is reached."
    one = more[:-1] if m.left == 1 else more
    return f"{m.left} more {one}, and nothing else, would stop your sending."
