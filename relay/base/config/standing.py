"""The settings of standing, when bounces and complaints stop a member's sending, and of reputation, the DNS blocklists
in which the relay looks itself up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from relay.base.config.kinds import Count, HostName, Ip, Seconds, Section, key


class Standing(Section):
    """When a member's bounces or complaints stop its sending: shares of finished recipients in a rolling window."""

    window_hours: Count = key(24, "Length of the window.")
    bounce_share: Annotated[float, Field(gt=0, lt=1)] = key(
        0.05,
        "Share of bounces that suspends a member, held against the lower bound of the 95 % Wilson interval."
    )
    complaint_share: Annotated[float, Field(gt=0, lt=1)] = key(0.0008, "The same for complaints.")
    min_volume: Count = key(50, "With fewer finished recipients in the window nobody is judged.")
    min_complaints: Count = key(2, "With fewer complaints in the window nobody is judged by them.")
    notice_at: Annotated[float, Field(gt=0, le=1)] = key(0.5, "Part of a share at which the member is told.")
    slow_at: Annotated[float, Field(gt=0, le=1)] = key(
        0.75,
        "Part of a share at which the member's domains fall to the next lower warming tier."
    )
    suspend_domains: Count = key(
        3,
        "Nobody is suspended by failures at fewer recipient domains (of different organisations)."
    )
    suspend_refused: Count = key(
        50,
        "Or, at fewer domains, only with so many different recipients that were refused in the relay's own deliveries."
    )
    release: Literal["operator", "healed"] = key(
        "operator",
        "Who ends such a suspension: healed lets the clock do it too, once the shares have fallen under the "
        "notice."
    )
    exempt_domains: list[str] = key(
        [],
        "Recipient domains that never count, such as those whose exchanger is the sandbox; sandbox.<hostname> is "
        "always one."
    )
    poll_seconds: Seconds = key(1.0, "How often new outcomes are counted and judged.")
    batch: Count = key(5000, "Events counted by one transaction.")
    incident_examples: Count = key(5, "Replies kept with an incident.")
    incident_quiet_hours: Count = key(72, "An open incident that nothing has joined for so long is closed by itself.")

    @model_validator(mode="after")
    def _ordered(self) -> Standing:
        if not self.notice_at <= self.slow_at:
            raise ValueError("standing: notice_at must not be over slow_at")
        return self


class Blocklist(Section):
    """One DNS blocklist (RFC 5782)."""

    zone: HostName = key("zen.spamhaus.org", "The zone that is asked.")
    delisting: str = key("", "The page where one asks to be taken off.")
    terms: str = key("", "Who may ask it, in a sentence: read its own terms before you add or keep one.")
    policy: list[Ip] = key([], "Answers that name a policy of the network's owner, such as for dial-up addresses.")


DEFAULT_BLOCKLISTS = [
    Blocklist(
        zone="zen.spamhaus.org", delisting="https://check.spamhaus.org/",
        terms="Free for low-volume, non-commercial use from a resolver of your own; else by contract.",
        policy=["127.0.0.10", "127.0.0.11"],
    ),
    Blocklist(
        zone="bl.spamcop.net", delisting="https://www.spamcop.net/bl.shtml",
        terms="Free for everybody, without warranty.",
    ),
    Blocklist(
        zone="psbl.surriel.com", delisting="https://psbl.org/remove", terms="Free for everybody, without warranty.",
    ),
]


class Reputation(Section):
    """What the world thinks of this relay's addresses."""

    enabled: bool = key(True, "False: no blocklist is asked, by no duty and not by the doctor.")
    blocklists: list[Blocklist] = Field(
        default=DEFAULT_BLOCKLISTS,
        description="Asked once a day about each address that mail leaves from. Keep only those whose terms you meet.",
    )
