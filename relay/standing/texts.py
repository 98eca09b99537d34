"""The sentences about standing: reasons, advice, the formula with a member's own numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.config import Config
from relay.standing.arithmetic import Judgement, Measure, Z

MEANING = {
    "good": "Everything is fine.",
    "notice": "Attention: you are halfway to a suspension.",
    "slowed": "Your domains are limited to the next lower warming tier.",
    "suspended": "Nothing is accepted from you until the suspension is lifted.",
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
            "Send only to people who asked for it, say in each message why they get it, and let them unsubscribe with "
            "one click. Those who complained are on your suppression list already: remove them from your own list too."
        )
    return (
        "Remove every address that bounced as unknown from your list; they are on your suppression list. Don't send to "
        "old or bought lists, and confirm new addresses before you use them."
    )


def formula(config: Config) -> str:
    """How it is calculated, in one paragraph."""
    s = config.standing
    return (
        f"n is the number of recipients finished in the last {s.window_hours} hours, delivered or bounced; k is the "
        "number of different recipients among them that bounced, or that complained: an address counts once, however "
        "often it fails and whatever its +tag. The share k / n is compared with its limit by its lower bound, "
        "(p + z²/2n − z·√(p(1−p)/n + z²/4n²)) / "
        "(1 + z²/n) with p = k / n and z = 1.96: the smallest share that is credible with so few recipients. "
        f"Nobody is judged with n under {s.min_volume}, nor by fewer than {s.min_complaints} complaints. At "
        f"{percent(s.notice_at)} of a limit you are notified; at {percent(s.slow_at)} your domains are limited to the "
        f"next lower warming tier. At the limit you are suspended, once you have been slowed down, if the k are at "
        f"{s.suspend_domains} or more recipient domains of different owners, or, of bounces, if this relay itself was "
        f"refused {s.suspend_refused} or more of them. Complaints, and bounces that arrive after delivery, count "
        "only if the host that sends them proves, by SPF, DKIM or its confirmed name, that it speaks for the "
        "recipient's domain or for a feedback loop known to the relay; others suppress that one recipient and count "
        "against nobody. Bounces caused by the relay itself, test messages and the sandbox don't count."
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
    """How many more would suspend the member; `domains` and `refused` are what it takes besides the share."""
    more = "hard bounces" if name == "bounces" else name
    if m.reached >= 1 and not m.wide:
        need = f"{domains} recipient domains (now {m.domains})"
        if refused is not None:
            need += f", or {refused} recipients refused to this relay itself (now {m.refused})"
        return f"The limit is reached; a suspension also needs {more} at {need}."
    if m.left is None:
        return f"No number of {more} alone would suspend you now."
    if m.left == 0:
        return "The limit is reached."
    one = more[:-1] if m.left == 1 else more
    return f"{m.left} more {one} without further deliveries would suspend you."
