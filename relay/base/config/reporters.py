"""Feedback loops that are known to report for other people's domains: an address, or a domain with all under it.

A provider's reports about its own domains need no entry: they come from its domain or its exchangers. These come from
elsewhere. Named is only what serves nothing else, so that no user of a provider can write in its name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from relay.base import names

KNOWN = (
    "arf.mail.yahoo.com",  # Yahoo's, also for AOL, Verizon and the other domains it runs
    "scomp@aol.net",  # AOL's former one
    "staff@hotmail.com",  # Microsoft's JMRP: outlook.com, hotmail.com, live.com, msn.com
    "senderscore.net",  # Validity (Return Path): Comcast, Cox, Fastmail, La Poste, Rackspace, Telenor, UOL and others
    "fbl@corp.mail.ru",  # VK's: mail.ru, bk.ru, list.ru, inbox.ru
    "signal-spam.fr",  # Signal Spam: Orange, SFR and other French providers
)


def read(entry: str) -> str:
    """An entry in its one form. Raises ValueError where it names neither an address nor a domain that is somebody's."""
    local, at, domain = entry.strip().rpartition("@")
    try:
        found = names.domain(domain.rstrip("."))
    except names.BadName as e:
        raise ValueError(f"{entry!r} is neither a domain nor an address: {e}") from None
    if names.registrable(found) is None:
        raise ValueError(f"{entry!r}: under {found} anybody can have a name, so it reports for nobody")
    return f"{local}{at}{found}".lower()


Reporter = Annotated[str, AfterValidator(read)]
