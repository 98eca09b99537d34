"""The settings of delivery: when, by which way and how fast mail goes out (`[delivery]`), receiving sites that the program
or the operator knows, what recipients' domains ask of TLS (`[mta_sts]`), and telling them how it went (`[tls_reports]`).
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, SecretStr, model_validator

from relay.base import names
from relay.base.config.kinds import Bytes, Count, HostName, HostPort, Ip, Network, Port, Seconds, Section, Waits, key


class RollUp(NamedTuple):
    """One provider: its name here, what its exchangers' names end in, and where that is said."""

    name: str
    exchangers: tuple[str, ...]
    source: str


# Providers whose customers' domains name different exchangers that are the same servers. Each with its source; a name
# counts with all names under it.
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


class MtaSts(Section):
    """MTA-STS (RFC 8461) when delivering: the policy that a recipient's domain publishes over HTTPS."""

    enabled: bool = key(True, "False neither asks for policies nor applies them.")
    port: Port = key(443, "Port of policy hosts; only tests change it.")
    timeout_seconds: Seconds = key(20.0, "Longest time for fetching a policy; the domain's mail waits for it.")
    max_policy_bytes: Bytes = key(65_536, "Largest policy (RFC 8461 §3.3: 64 KiB).")
    retry_seconds: Seconds = key(300.0, "A policy that could not be fetched is asked for again after so long.")
    refresh_hours: Seconds = key(24.0, "A policy that is in use is fetched again after so long, so that it never ends.")
    idle_days: Seconds = key(30.0, "One that no mail has used for so long is not.")
    refresh_batch: Count = key(50, "Policies fetched again in one turn.")
    max_policies: Count = key(100_000, "Policies kept in the database; a further domain's serves in memory only.")
    remembered: Count = key(10_000, "Domains whose policy, or having none, is remembered in memory, a process.")
    remembered_seconds: Seconds = key(300.0, "For how long that is remembered before the database is asked again.")


class TlsReports(Section):
    """TLS reports (RFC 8460) to domains that ask for them: one a day, of what TLS with their exchangers came to."""

    enabled: bool = key(True, "False counts nothing for others and sends no reports.")
    flush_seconds: Seconds = key(30.0, "Sessions are counted in memory and written down so often.")
    max_counts: Count = key(10_000, "Different counts in memory at once, a process; sessions beyond are only totalled.")
    max_domains: Count = key(10_000, "Domains a day that a report is written for.")
    max_failures: Count = key(100, "Kinds of failures listed in one report; what is more is only in its sum.")
    max_addresses: Count = key(4, "Addresses (rua) that one domain's report is sent to.")
    spread_seconds: Seconds = key(14_400.0, "Reports leave within so long after midnight UTC, not all at once.")
    retry_seconds: Seconds = key(1800.0, "Wait before a report that could not be handed over is tried again.")
    give_up_hours: Seconds = key(24.0, "After so long a report that nobody took is given up.")
    timeout_seconds: Seconds = key(30.0, "Longest time for posting a report over HTTPS.")
    batch: Count = key(50, "Reports sent in one turn.")
    keep_days: Seconds = key(30.0, "How long counts and what became of reports are kept.")
