"""The table `[tracking]` of the settings: what is rewritten in messages, and what is recorded of opens and clicks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relay.base.config.kinds import Bytes, Count, Seconds, Section, key


class Tracking(Section):
    """Tracked links, opens, and the visible unsubscribe line, for domains that have switched them on."""

    own_names: list[str] = key([], "Other names of this relay's pages and API that a member's tracking host could have: `<with-hyphen>.<enrolled domain>`.")
    links_days: Count = key(730, "How long tracked links lead on; older ones say that they are too old.")
    max_links: Count = key(500, "Links rewritten in one message; further ones stay as they are.")
    max_url_bytes: Annotated[int, Field(ge=1, le=4000)] = key(2000, "Longer links stay as they are.")
    max_part_bytes: Bytes = key(1_048_576, "Larger text parts stay as they are (1 MiB).")
    max_copies_bytes: Bytes = key(
        67_108_864, "A message whose copies, one for each recipient, would together be larger goes out untracked (64 MiB)."
    )
    inline_bytes: Bytes = key(8192, "Larger messages of domains that track are built in a thread.")
    unsubscribe_text: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = key(
        "Unsubscribe", "Words of the visible unsubscribe line."
    )
    machine_seconds: Seconds = key(2.0, "What is opened or clicked before the delivery, or so soon after it, counts as a machine's doing.")
    hits_an_hour: Count = key(30, "Opens, and clicks on one link, of one recipient that are recorded an hour, a process.")
    max_waiting: Count = key(5000, "Opens and clicks waiting to be recorded, a process; more are led on and not recorded.")
    check_port: Annotated[int, Field(ge=1, le=65535)] = key(443, "Port on which a member's tracking host must answer; only tests change it.")
    check_seconds: Seconds = key(10.0, "Longest time for that look.")
