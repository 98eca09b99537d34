"""Kinds of values in the settings that are more than a number or a text: host names, places, addresses, ports, waits.

Promises that a host name has one form, in which the relay can compare it: lower case, A-labels, no dot at its end.
Text that is no host name stays (in lower case); that it is none says `posthouse check-config`. The other kinds refuse
what can't be used.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from relay.base import names


def host_name(text: str) -> str:
    """The one form of a host name. RFC 5321 §2.3.5: letter case means nothing; recipients' domains arrive like this."""
    try:
        return names.domain(text)
    except names.BadName:
        return text.lower().rstrip(".")


HostName = Annotated[str, AfterValidator(host_name)]
