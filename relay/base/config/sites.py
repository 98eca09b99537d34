"""Receiving sites: providers that are known by the names of their exchangers, and the operator's own entries.

The table holds providers whose customers' domains name different exchangers that are the same servers. Each with its
source; a name counts with all names under it.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from relay.base import names
from relay.base.config.kinds import Count, HostName, Section, key


class RollUp(NamedTuple):
    """One provider: its name here, what its exchangers' names end in, and where that is said."""

    name: str
    exchangers: tuple[str, ...]
    source: str


ROLL_UPS = (
    # aspmx.l.google.com, gmail-smtp-in.l.google.com, smtp.google.com, aspmx2.googlemail.com
    RollUp("google", ("google.com", "googlemail.com"), "https://support.google.com/a/answer/174125"),
    # A tenant's name in front: contoso-com.mail.protection.outlook.com, contoso-com.a-v1.mx.microsoft
    RollUp(
        "microsoft365", ("mail.protection.outlook.com", "mx.microsoft"),
        "https://learn.microsoft.com/en-us/microsoft-365/enterprise/external-domain-name-system-records"
        " and https://learn.microsoft.com/en-us/purview/how-smtp-dane-works",
    ),
    # The consumers' hosts count by rules of their own: hotmail-com.olc.protection.outlook.com
    RollUp("outlook.com", ("olc.protection.outlook.com",), "the MX of outlook.com, hotmail.com, live.com, msn.com"),
    # mta5.am0.yahoodns.net, mx-aol.mail.gm0.yahoodns.net
    RollUp("yahoo", ("yahoodns.net",), "the MX of yahoo.com, aol.com, ymail.com and of Yahoo's small-business mail"),
    # mx01.mail.icloud.com, for icloud.com, me.com, mac.com and domains of one's own
    RollUp("apple", ("mail.icloud.com",), "https://support.apple.com/en-us/102374"),
)


def _suffix(name: str) -> str:
    if names.registrable(name) is None:
        raise ValueError(f"under {name} anybody can have a name, so it is no site")
    return name


Suffix = Annotated[HostName, AfterValidator(_suffix)]


class Site(Section):
    """One site as the operator sees it: servers that count what comes from this relay together."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._:,-]{0,99}$")] = key(
        "", "Its name; one that the program knows (posthouse site list) changes that one."
    )
    exchangers: list[Suffix] = key([], "Names of exchangers that belong to it, each with all names under it.")
    domains: list[HostName] = key([], "Recipients' domains that belong to it, whatever their exchangers are called.")
    lanes: Count | None = key(None, "Most conversations at once; without it, connections_a_destination.")
    rate: Annotated[float, Field(gt=0)] | None = key(None, "Most messages a second; without it, no bound.")

    @model_validator(mode="after")
    def _says_something(self) -> Site:
        if not (self.exchangers or self.domains or self.lanes or self.rate):
            raise ValueError(f"site {self.name!r} says nothing: name exchangers, domains, lanes or rate")
        return self


def named(sites: list[Site]) -> set[str]:
    """The sites that have a name: those of the table, and the configuration's."""
    return {known.name for known in ROLL_UPS} | {entry.name for entry in sites}


def once(sites: list[Site]) -> list[Site]:
    """The entries, each name, exchanger and domain in one of them. Raises ValueError with the one that stands twice."""
    for what, found in (
        ("name", [s.name for s in sites]), ("exchanger", [e for s in sites for e in s.exchangers]),
        ("domain", [d for s in sites for d in s.domains]),
    ):
        twice = sorted({one for one in found if found.count(one) > 1})
        if twice:
            raise ValueError(f"the {what} {twice[0]!r} stands in more than one of delivery.sites")
    return sites
