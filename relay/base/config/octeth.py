"""The table `[octeth]` of the settings: the sender-domain API in Octeth's shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from relay.base.config.kinds import Count, LocalPart, Seconds, Section, key
from relay.base.domain_options import OPTIONS

Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$")]


class Octeth(Section):
    """The calls `user.senderdomain.*`, under /api/v1 and at /api.php."""

    enabled: bool = key(True, "False leaves the calls out.")
    error_status: Literal["documented", "http"] = key(
        "documented",
        "HTTP status of numbered errors: 200 unless Octeth's documentation names one, or that which HTTP means by it.",
    )
    demo_mode: bool = key(False, "True refuses sendtest with code 99.")
    subdomain: Label = key(
        OPTIONS["custom_subdomain"].default, "Subdomain of the return path, for domains made by these calls."
    )
    track_prefix: Label = key(
        OPTIONS["track_prefix"].default, "Prefix of the tracking host, for domains made by these calls."
    )
    test_from_prefix: LocalPart = key("test", "Local part from which sendtest sends.")
    test_seconds: Seconds = key(30.0, "Longest wait of sendtest for the first try to deliver.")
    requests: Count = key(100, "Requests of one key (or sign-in) to one call in the window.")
    window_seconds: Seconds = key(60.0, "That window.")
    emails: Count = key(100, "Messages that one key may send by POST /api/v1/email in that window.")
    tests: Count = key(10, "The same for sendtest; as many a day may go beyond the domain's warming tier.")
    tests_window_seconds: Seconds = key(300.0, "Its window.")
    max_list: Count = key(10_000, "Most domains in one list.")
