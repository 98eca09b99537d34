"""The table `[reputation]` of the settings: the DNS blocklists in which the relay looks itself up."""

from __future__ import annotations

from pydantic import Field

from relay.base.config.kinds import HostName, Ip, Section, key


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
