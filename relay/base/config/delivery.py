"""The table `[delivery]` of the settings: when, by which way and how fast mail goes out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from relay.base.config.kinds import Bytes, Count, HostName, HostPort, Ip, Network, Port, Seconds, Section, Waits, key
from relay.base.config.sites import Site, once


class Delivery(Section):
    """The way out."""

    port: Port = key(25, "Port of remote mail exchangers; only tests change it.")
    helo: HostName = key("", "Name in EHLO; empty: the hostname.")
    schedule_seconds: Waits = key(
        [60, 300, 900, 1800, 3600, 7200, 14400], "Waits after the 1st, 2nd, … failed try; the last one repeats."
    )
    jitter: Annotated[float, Field(ge=0, lt=1)] = key(0.1, "Share by which a wait is shortened or lengthened at random.")
    greylist_seconds: Seconds = key(300.0, "Shortest first wait for a host that answered 450 or 451.")
    unanswered_seconds: Seconds = key(
        7200.0,
        "Shortest wait after a host took all of a message and hung up, fell silent or answered out of step. It may have "
        "the message, and would get it twice.",
    )
    max_age_seconds: Seconds = key(432_000.0, "After so long (5 days) a deferred message bounces.")
    delay_notice_seconds: Seconds = key(14_400.0, "After so long (4 hours) a delay notice is sent, if asked for.")
    report_gather_seconds: Seconds = key(
        60.0, "So long a report waits for further news of the same message, while it has open recipients."
    )
    report_max_recipients: Count = key(100, "Most recipients in one report.")
    report_whole_max_bytes: Bytes = key(1_048_576, "With RET=FULL a report encloses messages of up to so much (1 MiB).")
    workers: Count = key(200, "Deliveries at once, a process.")
    prefetch: Count = key(1000, "Recipients held for delivery at once, a process.")
    prefetch_bytes: Bytes = key(33_554_432, "Message bytes held by claimed recipients, a process (32 MiB).")
    member_share: Count = key(500, "Most held recipients of one member, while others wait.")
    destination_share: Count = key(40, "Held recipients a destination may always have; one that keeps up gets more.")
    inflow_seconds: Seconds = key(
        2.0, "Longest wait of a new message while a process has all the mail it can carry and delivers it as fast as it can."
    )
    lease_seconds: Seconds = key(120.0, "A lease that its process has not renewed for so long is free again.")
    poll_seconds: Seconds = key(2.0, "How often the queue is asked for due recipients without a wake-up.")
    connections_a_destination: Count = key(20, "Most conversations with one receiving site at once, of all processes together, and connections of a process to one address.")
    site_pause_seconds: Seconds = key(5.0, "First pause of a site that asks for less mail (421, 4.7.x), or of an address that does not answer; each further one is twice as long.")
    site_max_pause_seconds: Seconds = key(600.0, "Longest such pause, also where a host asks to stay away for longer.")
    site_slowed_rate: Annotated[float, Field(gt=0)] = key(10.0, "Messages a second to a site that has asked for less for the first time; halved with each further time.")
    site_min_rate: Annotated[float, Field(gt=0)] = key(0.1, "Messages a second below which no site is slowed.")
    site_held: Count = key(50, "Recipients that a process holds for a paused site; the others go back into the queue.")
    site_park_seconds: Seconds = key(3600.0, "Latest next time of what goes back.")
    site_share_seconds: Annotated[float, Field(ge=3)] = key(10.0, "A share of a site's lanes that its process has not renewed for so long is free again.")
    messages_a_connection: Count = key(500, "Most messages on one connection to a remote host.")
    idle_seconds: Seconds = key(15.0, "How long an idle connection is kept.")
    connect_timeout_seconds: Seconds = key(30.0, "Longest wait for a connection.")
    command_timeout_seconds: Seconds = key(300.0, "Longest wait for one reply (RFC 5321 §4.5.3.2).")
    reset_timeout_seconds: Seconds = key(
        5.0, "Longest wait for the answer to the RSET behind a message, by which the answer before it is known to be the message's."
    )
    conversation_seconds: Seconds = key(600.0, "Longest delivery of one message to one host, connection included.")
    max_hosts: Count = key(5, "Mail exchangers tried in one attempt.")
    ipv6: bool = key(True, "False: only IPv4 addresses are tried.")
    source_addresses: list[Ip] = key([], "Local addresses to send from; empty: the system's choice.")
    private_networks: list[Network] = key([], "Networks that are not public and yet delivered to, such as 10.0.0.0/8: mail servers of one's own.")
    allow_private_networks: bool = key(False, "True delivers to every loopback and private address, and asks name servers there (tests, the demo). Until 1.0; name private_networks instead.")
    ca_file: str = key("", "PEM file of the authorities that mail servers' certificates are verified by; empty: the system's.")
    smarthost: HostPort = key("", "HOST:PORT that takes everything instead of the MX.")
    smarthost_user: str = key("", "Login at the smarthost.")
    smarthost_password: SecretStr = key(SecretStr(""), "Password at the smarthost.")
    smarthost_tls: Literal["none", "opportunistic", "required", "verified"] = key("verified", "TLS towards the smarthost.")
    smarthost_domains: dict[HostName, Annotated[HostPort, Field(min_length=1)]] = key({}, "Recipient domain = \"HOST:PORT\" for single domains.")
    sites: Annotated[list[Site], AfterValidator(once)] = key([], "Receiving sites beside those that the program knows, as tables [[delivery.sites]]: name, exchangers (suffixes), domains, lanes, rate.")
    max_queued: Count = key(1_000_000, "Undelivered recipients in the queue before new ones are refused with 451 4.4.2.")
    max_queued_a_member: Count = key(100_000, "The same, for one member.")
