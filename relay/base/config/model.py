"""The settings model: sections, keys, defaults, bounds. No reading, no checking of the machine."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from relay.base import netguard
from relay.base.config.delivery import Delivery, MtaSts, TlsReports
from relay.base.config.kinds import (
    Bytes,
    Count,
    HostName,
    LocalPart,
    Mailbox,
    NameServer,
    Network,
    Port,
    Seconds,
    Section,
    Selector,
    Sender,
    Waits,
    key,
)
from relay.base.config.octeth import Octeth
from relay.base.config.reporters import Reporter
from relay.base.config.standing import Reputation, Standing


class Dns(Section):
    """Asking DNS, and answering it."""

    resolvers: list[NameServer] = key([], "Resolvers as IP or IP:port; empty: the system's.")
    dnssec: Literal["off", "trust-ad"] = key(
        "off",
        "trust-ad believes the resolvers that an answer is validated (the AD bit), for DANE and REQUIRETLS: only for a "
        "validating resolver on this machine or on a way nobody can change packets on; `posthouse doctor` tries it.",
    )
    authoritative_port: Port = key(53, "Port on which authoritative servers are asked.")
    private_networks: list[Network] = key([], "Networks, not public, with authoritative servers to ask.")
    timeout_seconds: Seconds = key(5.0, "Longest wait for one answer.")
    lifetime_seconds: Seconds = key(12.0, "Longest time for one question, retries included.")
    cache_entries: Count = key(10_000, "Answers kept in memory.")
    spf_host: HostName = key("", "Name members include in their SPF; empty: spf.<hostname>.")
    bounce_host: HostName = key("", "Domain of the return paths; empty: bounce.<hostname>.")
    tracking_host: HostName = key("", "Name that tracking CNAMEs point at; empty: track.<hostname>.")
    mx_host: HostName = key("", "Name that reply-forwarding MX records point at; empty: the hostname.")
    dmarc_report_to: Mailbox = key("", "Mailbox suggested for DMARC aggregate reports; empty: none.")
    listen: list[str] = key([], "Addresses of the relay's own authoritative server (role dns).")
    hosted_zone: HostName = key("", "Zone in which the relay keeps members' records (CNAME targets); empty: none.")
    hosted_servers: list[HostName] = key([], "Names of the zone's servers, outside of it; empty: the hostname.")
    hosted_ttl_seconds: Count = key(300, "How long resolvers may keep a hosted record.")
    hosted_negative_ttl_seconds: Count = key(60, "How long they may keep that there is none.")
    hosted_cache_domains: Count = key(5_000, "Domains whose hosted records are kept in memory.")
    answers_a_second: Count = key(100, "UDP answers a second to one network (IPv4 /24, IPv6 /56).")
    answers_slip: Count = key(2, "Above that, one question in so many is sent to TCP; the others get no answer.")
    answers_networks: Count = key(50_000, "Networks counted at once.")
    max_connections: Count = key(100, "TCP connections to the authoritative server.")
    max_connections_an_address: Count = key(10, "Of these, from one address (in IPv6: one /64).")


def _directory(text: str) -> str:
    if not text.startswith(("https://", "http://")) or text.endswith("/"):
        raise ValueError("https:// and a host are needed, without a slash at the end")
    return text


class Identity(Section):
    """DIDs that members bring, and handles that this relay answers for."""

    plc_directory: Annotated[str, AfterValidator(_directory)] = key("https://plc.directory", "Where the documents of did:plc are asked for, without a slash at the end.")
    handle_domain: HostName | Annotated[str, Field(max_length=0)] = key("", "Members' handles end in this name where other programs ask for them; empty: the host of public_url.")
    timeout_seconds: Seconds = key(5.0, "Longest time for one question about a DID or a handle.")
    max_document_bytes: Bytes = key(65_536, "Most read of a DID document.")
    web_port: Port = key(443, "Port on which the hosts of handles and of did:web are asked; only tests change it.")


class Senders(Section):
    """Sender addresses, and the API in Wix's shape."""

    wix: bool = key(True, "Serve the API in Wix's shape: senders, sending domains, email transmissions (docs/wix.md).")
    max_addresses: Count = key(100, "Sender addresses a member may have.")
    max_details: Count = key(100, "Sender details (a name with an address) a member may have.")
    max_data_bytes: Count = key(4096, "Most of a client's own data kept with one address, or one of the details.")
    code_minutes: Count = key(15, "How long a verification code is good.")
    code_tries: Count = key(5, "Wrong answers before a verification code is good for nothing.")
    codes_an_hour: Count = key(3, "Verification codes sent to one address in an hour, whoever asks.")
    codes_a_member: Count = key(20, "Verification codes that one member may have sent in an hour.")
    public_mailboxes: list[str] = key(
        [], "Mailbox providers besides the well-known ones, whose domains never become sending domains."
    )


class Publishing(Section):
    """Getting a domain's records into its DNS: links for whoever runs that."""

    link_days: Count = key(14, "How long a link to a domain's records, for whoever runs its DNS, can be used.")
    links_a_domain: Count = key(10, "Such links that a domain may have at once.")
    links_mailed_a_day: Count = key(10, "Such links that one member may have mailed in a day.")


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


class AggregateReports(Section):
    """Reports of receivers about a whole day's mail (DMARC, RFC 9990; TLS, RFC 8460), at an address of the relay."""

    enabled: bool = key(True, "False: there is no such address, and none is suggested.")
    local_part: LocalPart = key(
        "dmarc", "The address is this at dns.hosted_zone, or at dns.bounce_host where there is no such zone."
    )
    max_bytes: Bytes = key(10_485_760, "Largest report, unpacked (10 MiB).")
    max_ratio: Count = key(200, "A file that grows by more than this when it is unpacked is no report.")
    max_depth: Count = key(20, "Deepest nesting of its XML or JSON.")
    max_rows: Count = key(10_000, "Most rows of one report.")
    max_rows_a_day: Count = key(2_000, "Most rows kept of one domain and day; reports that bring more are cut short.")


Role = Literal["submission", "inbound", "http", "delivery", "recheck", "webhooks", "dns", "sandbox"]


class Server(Section):
    """Who this relay is."""

    hostname: HostName = key("localhost", "The relay's own name: in its greeting, in EHLO to others, in Received.")
    public_url: str = key("http://127.0.0.1:8080", "Where members reach the pages and the API, without a slash at the end.")
    notice_from: Sender = key("", "Sender of the relay's own mail; empty: postmaster@ the pool domain, else the hostname.")
    operator_email: Mailbox = key("", "Where alarms and mail for postmaster@ and abuse@ go; empty: alarms only to the log, and such mail is refused.")
    production: bool = key(False, "True refuses made-up certificates, plain http URLs and default names.")
    data_dir: Path = key(Path("posthouse-data"), "Folder of the database, the master key and made-up certificates.")
    trusted_proxies: list[str] = key([], "Networks whose X-Forwarded-For and X-Forwarded-Proto are believed on the HTTP port: your reverse proxy's.")
    spare_descriptors: Count = key(128, "Files and sockets kept back for storage, DNS and the log when the bounds on connections are fitted to the process.")
    shutdown_seconds: Seconds = key(20.0, "How long SIGTERM lets work in flight finish before it is given back.")


class Database(Section):
    """Where everything is kept."""

    url: str = key("sqlite:///posthouse.db", "sqlite:///FILE (relative to data_dir) or postgresql://USER:PASSWORD@HOST/NAME.")
    password: SecretStr = key(SecretStr(""), "Password of the PostgreSQL user, as it is; in url @ : / and % would have to be written %40 %3A %2F and %25.")
    readers: Count = key(4, "Connections for reading, a process.")
    busy_timeout_seconds: Seconds = key(10.0, "How long a writer waits for another process on SQLite.")
    group_max: Count = key(200, "At most so many accepted messages (or settled deliveries) share one transaction.")
    open_transaction_seconds: Seconds = key(
        60.0, "A transaction that somebody keeps open for longer is alarmed: the event feed may wait for it (PostgreSQL)."
    )
    statement_timeout_seconds: Seconds = key(30.0, "A statement that runs longer is given up (PostgreSQL).")
    snapshot_seconds: Seconds = key(0.5, "How old the in-memory directory may grow before it is compared with the tables.")
    snapshot_max_age_seconds: Seconds = key(30.0, "With the database out of reach so long, logins get a temporary failure.")


class Secrets(Section):
    """Keys that never enter the database."""

    master_key_file: Path = key(Path("master.key"), "File of the master key (relative to data_dir); made at the first start on an empty database, mode 0600.")
    previous_key_files: list[Path] = key([], "Master keys (relative to data_dir) that only read what they made: while keys change.")


class Tls(Section):
    """The certificate of the SMTP ports."""

    cert_file: str = key("", "PEM chain; empty outside production: a self-signed certificate is made in data_dir.")
    key_file: str = key("", "PEM private key belonging to cert_file, not readable by others.")
    reload_seconds: Seconds = key(60.0, "How often the two files are looked at for a change.")


class Submission(Section):
    """Ports 587 and 465, and the bounds that HTTP shares with them."""

    listen: list[str] = key(["0.0.0.0:587"], "Addresses with STARTTLS.")
    listen_tls: list[str] = key(["0.0.0.0:465"], "Addresses with TLS from the first byte.")
    max_message_bytes: Bytes = key(26_214_400, "Largest message, as it arrives (25 MiB).")
    max_header_bytes: Bytes = key(262_144, "Largest header block.")
    max_header_fields: Count = key(1000, "Most header fields.")
    max_line_bytes: Bytes = key(998, "Longest line of a message without its CRLF (RFC 5322 §2.1.1).")
    max_recipients: Count = key(100, "Most recipients a message, by SMTP and by HTTP.")
    max_mime_depth: Count = key(50, "Deepest nesting of MIME parts.")
    max_mime_parts: Count = key(1000, "Most MIME parts.")
    max_received: Count = key(30, "Most Received fields before a message counts as looping.")
    max_bad_commands: Count = key(10, "Bad commands, and answers to a suspended member, on a connection before it is closed.")
    max_idle_commands: Count = key(200, "NOOP, RSET, HELP, VRFY and EHLO on a connection before it is closed.")
    max_auth_failures: Count = key(3, "Wrong keys on a connection before it is closed; each is answered first.")
    max_messages_a_connection: Count = key(1000, "Messages on a connection before it is asked to reconnect.")
    command_timeout_seconds: Seconds = key(300.0, "Longest wait for a command (RFC 5321 §4.5.3.2).")
    login_timeout_seconds: Seconds = key(60.0, "Longest time from connecting to being logged in.")
    data_min_bytes_a_second: Count = key(512, "A client that sends DATA slower than this on average is cut off.")
    data_grace_seconds: Seconds = key(60.0, "Time before the DATA rate is judged.")
    max_connections_an_address: Count = key(20, "Open connections from one address (in IPv6: one /64); trusted load tests raise it.")
    max_connections: Count = key(1000, "Open connections in all, a process.")
    max_data_memory_bytes: Bytes = key(268_435_456, "Bytes of unfinished messages held at once, a process (256 MiB).")
    auth_failures_an_address: Count = key(30, "Wrong keys from one address (in IPv6: one /64) in the window before more of them are asked to wait; a right one never is.")
    auth_failures_a_key: Count = key(10, "Wrong keys with one public id from one address in the window before more of them wait.")
    auth_failure_window_seconds: Seconds = key(600.0, "The window in which wrong keys are counted.")
    full_disk_seconds: Seconds = key(10.0, "So long after it found the disk full the relay refuses MAIL with 452, on port 25 too; then it tries again.")
    sign_inline_bytes: Bytes = key(65_536, "Messages under this size are signed on the event loop, others in threads.")
    signing_threads: Count = key(2, "Threads for signing and for checking large messages.")
    idempotency_hours: Annotated[float, Field(ge=0)] = key(24.0, "So long a message that comes again by SMTP or send/raw, octet for octet, gets the first answer and is not sent again; 0: never. At most retention.log_days.")


class Http(Section):
    """The HTTP port: send API, management API, pages."""

    listen: list[str] = key(["127.0.0.1:8080"], "Addresses; put a reverse proxy with TLS in front.")
    max_body_bytes: Bytes = key(36_700_160, "Largest request body (35 MiB: a 25 MiB message in base64).")
    max_small_body_bytes: Bytes = key(1_048_576, "Largest body of a request that carries no message.")
    max_batch: Count = key(100, "Messages in one /v1/send/batch.")
    max_json_depth: Count = key(32, "Deepest nesting of a JSON body.")
    max_json_values: Count = key(200_000, "Most values, commas and brackets of a JSON body.")
    max_connections: Count = key(1000, "Open connections in all, a process.")
    max_connections_an_address: Count = key(100, "Of these, from one client (in IPv6: one /64); behind a trusted proxy its requests at work count, and the proxy never.")
    requests_a_minute: Count = key(600, "Requests a minute on pages and management calls, of one member from one address (in IPv6: one /64), and of all strangers there.")
    read_timeout_seconds: Seconds = key(60.0, "Longest time that a head, or a body, may take to arrive, and a connection may be idle.")
    page_size: Count = key(50, "Rows a page of a list, where the caller names no number.")
    max_page_size: Count = key(200, "Most rows a page of a list.")
    max_schedule_days: Count = key(30, "How far ahead sendAt may lie.")
    max_upload_memory_bytes: Bytes = key(268_435_456, "Bytes of request bodies held at once, a process (256 MiB).")
    idempotency_hours: Count = key(24, "How long an Idempotency-Key is remembered.")
    idempotency_stale_seconds: Seconds = key(300.0, "A request with an Idempotency-Key that has not finished after so long counts as lost and may be repeated.")


class Enrollment(Section):
    """Letting people and domains in."""

    signup: Literal["open", "invite", "closed"] = key("invite", "Who may make an account at /enroll.")
    max_domains: Count = key(100, "Domains a member may enroll; `posthouse member limit` sets another number for one.")
    max_keys: Count = key(50, "Live API keys a member may hold.")
    manual_approval: bool = key(False, "True: a proved domain waits for the operator's approval.")
    max_key_limits: Count = key(50, "Domains, and networks, that one API key may be limited to.")
    session_hours: Count = key(168, "How long a sign-in lasts without use.")
    session_max_days: Count = key(90, "A sign-in ends after so many days even in use.")
    max_sessions: Count = key(50, "Sign-ins a member may have at once; the longest unused one ends first.")
    signups_an_address: Count = key(20, "Tries to make an account in an hour with one invite, and from one address (in IPv6: one /64) without a right one.")
    invite_days: Count = key(14, "How long an invite can be used.")
    second_factor_required: bool = key(False, "Whether every member must set up a second factor before anything else at /account.")
    password_link_hours: Count = key(48, "How long a set-password link can be used.")
    min_password_length: Count = key(10, "Shortest password.")
    verify_cache_seconds: Seconds = key(60.0, "A check of a domain is not repeated within this time.")
    first_look_seconds: Seconds = key(5.0, "How long enrolling waits to see what SPF and DMARC records stand at the domain already.")
    verify_batch: Count = key(25, "Pending domains checked by one call for all.")
    recheck_pending_seconds: Seconds = key(300.0, "First wait between checks of a pending domain; it doubles up to an hour.")
    recheck_pending_days: Count = key(30, "After so many days a pending domain is only checked on demand.")
    recheck_verified_hours: Seconds = key(24.0, "Wait between checks of a verified domain.")
    failed_rechecks: Count = key(3, "Failed checks in a row before a verified domain goes back to pending.")
    recheck_batch: Count = key(200, "Domains that one turn of the re-checking clock looks at.")
    recheck_concurrency: Count = key(10, "Domains looked up at once by the clock, or by one call for all.")
    recheck_poll_seconds: Seconds = key(15.0, "How often the clock asks which domains are due.")
    retiring_days: Seconds = key(7.0, "How long a rotated DKIM pair's records stay up after the last mail it signed, scheduled mail too, is due.")
    dns_host_cache_seconds: Seconds = key(3600.0, "How long a recognised DNS provider is believed.")
    forward_codes_an_hour: Count = key(5, "Confirmation codes for a forward-to mailbox that one member may have sent an hour.")
    test_sender: LocalPart = key("test", "Local part from which a domain's test message is sent.")
    login_failures: Count = key(10, "Failed sign-ins to one account from one network (/24, or /48 in IPv6), or of one known browser, in the window before a wait.")
    login_failures_a_network: Count = key(100, "Failed sign-ins from one network to any accounts in the window, before those from there too are checked one after another.")
    login_check_seconds: Seconds = key(1.0, "An account's passwords are checked one after another, and after a wrong one so much later, whatever network they come from.")
    login_waiting: Count = key(20, "Sign-ins to one account waiting for that.")
    login_wait_seconds: Seconds = key(10.0, "Longest wait for that, before one is told to come back.")
    device_days: Count = key(365, "So long after its last sign-in a browser is known, and not held up by what others try.")
    login_failure_window_seconds: Seconds = key(600.0, "The window in which failed sign-ins are counted.")
    password_threads: Count = key(2, "Password hashes computed at once (64 MiB each).")
    password_waiting: Count = key(50, "Sign-ins waiting for their turn before new ones are told to come back.")


class Signing(Section):
    """DKIM."""

    pool_domain: HostName = key("", "The relay's own domain: signs a third time, and sends the relay's own mail; empty: none.")
    pool_selector: Selector = key("posthouse", "Selector of the pool domain's key.")
    pool_key_file: str = key("", "PEM file of the pool domain's RSA key.")
    lifetime_days: Count = key(7, "x= of a signature, in days after the mail is due (t=, unless it is scheduled).")
    cached_keys: Count = key(1000, "Loaded key pairs kept in memory.")


class Tier(Section):
    """One warming tier."""

    name: str = key("established", "What refusals and pages call it.")
    until_day: int = key(0, "Applies while the domain is younger than so many days; 0: no end.")
    per_hour: int = key(50, "Recipients in any 60 minutes.")
    per_day: int = key(500, "Recipients in any 24 hours.")


DEFAULT_TIERS = [
    Tier(name="week 1", until_day=7, per_hour=5, per_day=20),
    Tier(name="week 2", until_day=14, per_hour=10, per_day=50),
    Tier(name="established", until_day=0, per_hour=50, per_day=500),
]


class Warming(Section):
    """How much a sending domain may send: by its age since it was first verified, then by what it does."""

    aggregate_from: Count = key(1000, "Tiers that allow at least so many an hour are counted by the minute, not by message.")
    grow_by: Annotated[float, Field(gt=1, le=10)] = key(1.5, "After its first weeks a domain's allowance a day grows by this factor after a clean day on which enough of it was used, and shrinks by it for each line of [standing] its bounces or complaints are over.")
    grow_use: Annotated[float, Field(gt=0, le=1)] = key(0.6, "So much of the allowance is enough.")
    ceiling: Count = key(50_000, "Most recipients a day to which an allowance grows by itself; the last tier's number a day: it doesn't grow.")
    tiers: list[Tier] = key(DEFAULT_TIERS, "In order of age; the last one has until_day = 0. A domain can be pinned to one, or set unlimited.")

    @model_validator(mode="after")
    def _ordered(self) -> Warming:
        days = [t.until_day for t in self.tiers]
        if not days or days[-1] != 0 or any(d <= 0 for d in days[:-1]) or days[:-1] != sorted(set(days[:-1])):
            raise ValueError("tiers: until_day must rise, and the last tier must have until_day = 0")
        if len({t.name for t in self.tiers}) != len(self.tiers):
            raise ValueError("tiers: names must differ")
        if any(t.per_hour < 1 or t.per_day < 1 for t in self.tiers):
            raise ValueError("tiers: per_hour and per_day must be at least 1")
        return self


class Inbound(Section):
    """Port 25: what comes back. The bounds on commands, messages and connections are those of [submission]."""

    listen: list[str] = key(["0.0.0.0:25"], "Addresses with STARTTLS (role inbound).")
    max_recipients: Count = key(20, "Most recipients a message.")
    max_message_bytes: Bytes = key(26_214_400, "Largest message (25 MiB); of a report only the first MiB is read.")
    max_connections: Count = key(500, "Open connections in all, a process.")
    max_connections_an_address: Count = key(20, "Open connections from one address (in IPv6: one /64).")
    forward_max_bytes: Bytes = key(26_214_400, "Largest message that is forwarded (25 MiB).")
    forwards_a_domain_an_hour: Count = key(1000, "Messages forwarded for one domain an hour, a process.")
    forwards_an_address_an_hour: Count = key(200, "Messages forwarded from one client address (in IPv6: one /64) an hour, a process.")
    forward_alarm_failures: Count = key(3, "So many failures in a row, and a domain's owner hears that its mailbox takes nothing.")
    forward_alarm_hours: Annotated[float, Field(ge=0)] = key(4.0, "Or a mailbox that could not be reached for so many hours.")
    authentication_seconds: Seconds = key(20.0, "Time for SPF, and for DKIM, of one message that is forwarded.")
    role_mail_an_hour: Count = key(100, "Messages to postmaster@, abuse@ and fbl@ passed on to the operator an hour, a process.")
    role_mail_a_network_an_hour: Count = key(20, "Of these, from one network (/24, or /48 in IPv6); what is more is asked to come later.")
    role_mail_max_bytes: Bytes = key(1_048_576, "Of a larger message only the beginning is passed on (1 MiB).")
    known_reporters: bool = key(
        True, "True takes the word of the feedback loops that the program knows: relay/base/config/reporters.py."
    )
    reporters: list[Reporter] = key(
        [],
        "Further feedback loops whose complaints and late bounces count for recipients at any domain: a domain, with "
        "all under it, or an address. Name only what nobody but the reporter can send from."
    )
    vouching_seconds: Seconds = key(
        8.0, "Time for SPF, DKIM and DNS of one report about one recipient; after it the report judges nobody."
    )
    vouching_remembered: Count = key(10_000, "Hosts whose answers are remembered for five minutes.")


class Suppression(Section):
    """Whom a member no longer mails."""

    hard_bounces: bool = key(True, "True puts an address that does not exist (5.1.x) on the member's list.")
    unsubscribe_mail: bool = key(True, "False leaves the mailto: form out of List-Unsubscribe, for a relay without port 25 inwards.")
    max_entries: Count = key(1_000_000, "Addresses on one member's list; who bounces, complains or unsubscribes always finds a place.")
    max_batch: Count = key(1000, "Addresses added by one request that names them.")
    max_import_bytes: Bytes = key(33_554_432, "Largest file of suppressions taken in (32 MiB).")
    import_rows: Count = key(1000, "Of its rows, so many are written by one transaction.")
    shown_refusals: Count = key(100, "Of the rows that are not taken, so many are named; all are counted.")


class Retention(Section):
    """How long things are kept after the last recipient is settled."""

    bodies_days: Annotated[float, Field(ge=0)] = key(0.0, "Message bytes; 0: removed within a minute.")
    log_days: Annotated[float, Field(ge=0)] = key(30.0, "The message log: recipients, attempts, events.")
    transmission_content_days: Annotated[float, Field(ge=0, le=30)] = key(0.0, "The HTML of a transmission (docs/wix.md), from when it was sent; 0: it reads <expired> at once.")
    audit_days: Annotated[float, Field(gt=0)] = key(365.0, "The audit log: who changed what on the operator's pages.")
    refusals_days: Annotated[float, Field(ge=0)] = key(7.0, "Pages /r/<id>.")
    refusals_an_hour: Count = key(200, "Refusals recorded an hour for one member or address; more are counted only.")
    sites_days: Annotated[float, Field(gt=0)] = key(7.0, "What was learnt of receiving sites, and whom they serve, after the last change.")
    purge_rows: Count = key(500, "Most rows removed by one transaction; fewer where that many take longer than some milliseconds.")
    purge_seconds: Seconds = key(20.0, "Wait between clean-ups.")


class Webhooks(Section):
    """Events posted to members' own addresses, signed by the Standard Webhooks rule."""

    max_endpoints: Count = key(20, "Endpoints a member may have.")
    poll_seconds: Seconds = key(1.0, "How often new events are looked for.")
    batch: Count = key(1000, "Events taken up by one transaction.")
    max_waiting: Count = key(1000, "Events waiting for one endpoint before further ones wait in the feed.")
    parallel: Annotated[int, Field(ge=2)] = key(50, "Endpoints spoken with at once; those that refused last time get half of the places.")
    parallel_an_endpoint: Count = key(4, "Requests to one endpoint at once; 1 keeps the order strictly while all is well.")
    timeout_seconds: Seconds = key(15.0, "Longest time a request may take, answer included.")
    max_answer_bytes: Bytes = key(65_536, "Bytes of an answer that are read.")
    retry_seconds: Waits = key(
        [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
        "Waits after the 1st, 2nd, … refused try; the last one repeats.",
    )
    give_up_seconds: Seconds = key(259_200.0, "After so long (3 days) an event is given up, and an endpoint that refused all the time is disabled.")
    alarm_seconds: Seconds = key(3600.0, "After so long of refusals only, an endpoint counts as failing and its owner is told.")
    rotation_seconds: Seconds = key(86_400.0, "How long a rotated secret still signs beside the new one.")
    max_replay: Count = key(10_000, "Most events that one replay sends again.")
    ports: list[Port] = key([], "Ports that events may be posted to, beside 443 and 80.")
    allow_private_networks: bool = key(False, "True allows http://, private addresses and ports from 1024 on (tests, the demo).")


class Sandbox(Section):
    """A catch-all mail exchanger for trying things out; it answers as the recipient address tells it."""

    enabled: bool = key(False, "True starts it with the role sandbox.")
    listen: str = key("127.0.0.1:2526", "Where it listens: on loopback only.")
    keep_messages: Count = key(500, "Messages kept for the page /sandbox.")
    keep_bytes: Bytes = key(67_108_864, "Bytes kept for the page (64 MiB).")
    answer_seconds: Annotated[float, Field(ge=0)] = key(
        1.0, "How long after a message what its recipient asks for comes back (late-bounce@, complain@, reply@ …)."
    )
    answer_port: Annotated[int, Field(ge=0, le=65535)] = key(
        0, "Port of this relay's exchangers, for what comes back; 0: that of the first inbound.listen."
    )
    answer_timeout_seconds: Seconds = key(30.0, "Longest conversation in which something is sent back.")
    answer_tries: Count = key(3, "How often a host that says 4xx is asked.")
    answers_a_minute: Count = key(120, "Most things sent back in a minute; more are not sent at all.")
    answers_waiting: Count = key(500, "Most things waiting to be sent back; more are not sent at all.")
    answers_at_once: Count = key(4, "Most things being sent back at once.")


class Log(Section):
    """The log: one JSON line an event, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = key("info", "Least severity written.")
    format: Literal["json", "console"] = key("json", "console is for people.")
    queue_bytes: Bytes = key(4_194_304, "Lines waiting for a reader that is slow or stuck (4 MiB); further ones are dropped, counted and said.")
    fold_seconds: Seconds = key(5.0, "The same line again within so long is counted instead of written.")
    close_seconds: Seconds = key(2.0, "Longest time that lines still waiting at the end may take.")
    shorten_addresses: bool = key(False, "True writes a***@example.org instead of whole addresses.")


class Metrics(Section):
    """Prometheus metrics at /metrics."""

    enabled: bool = key(True, "False answers 404.")
    networks: list[str] = key(["127.0.0.0/8", "::1/128"], "Networks that may read /metrics and /healthz?full.")


class Config(Section):
    """The whole file."""

    server: Server = Server()
    database: Database = Database()
    secrets: Secrets = Secrets()
    tls: Tls = Tls()
    submission: Submission = Submission()
    http: Http = Http()
    dns: Dns = Dns()
    enrollment: Enrollment = Enrollment()
    publishing: Publishing = Publishing()
    octeth: Octeth = Octeth()
    senders: Senders = Senders()
    identity: Identity = Identity()
    signing: Signing = Signing()
    warming: Warming = Warming()
    standing: Standing = Standing()
    reputation: Reputation = Reputation()
    delivery: Delivery = Delivery()
    mta_sts: MtaSts = MtaSts()
    tls_reports: TlsReports = TlsReports()
    inbound: Inbound = Inbound()
    aggregate_reports: AggregateReports = AggregateReports()
    suppression: Suppression = Suppression()
    tracking: Tracking = Tracking()
    retention: Retention = Retention()
    webhooks: Webhooks = Webhooks()
    sandbox: Sandbox = Sandbox()
    log: Log = Log()
    metrics: Metrics = Metrics()
    roles: list[Role] = key(
        ["submission", "inbound", "http", "delivery", "recheck", "webhooks"],
        "What this process does: submission, inbound, http, delivery, recheck, webhooks, dns, sandbox.",
    )

    @property
    def master_key_path(self) -> Path:
        """Absolute or data_dir-relative path of the master key."""
        return self.server.data_dir / self.secrets.master_key_file

    @property
    def previous_key_paths(self) -> list[Path]:
        """The same of the master keys that only read."""
        return [self.server.data_dir / one for one in self.secrets.previous_key_files]

    @property
    def spf_host(self) -> str:
        """The name members include in their SPF."""
        return self.dns.spf_host or f"spf.{self.server.hostname}"

    @property
    def bounce_host(self) -> str:
        """The domain of return paths."""
        return self.dns.bounce_host or f"bounce.{self.server.hostname}"

    @property
    def tracking_host(self) -> str:
        """The name tracking CNAMEs point at."""
        return self.dns.tracking_host or f"track.{self.server.hostname}"

    @property
    def mx_host(self) -> str:
        """The name reply-forwarding MX records point at."""
        return self.dns.mx_host or self.server.hostname

    @property
    def own_hosts(self) -> frozenset[str]:
        """The names, in lower case, under which the relay itself speaks and takes mail."""
        return frozenset(name.lower() for name in (self.server.hostname, self.mx_host, self.bounce_host))

    @property
    def delivery_networks(self) -> tuple[netguard.Network, ...]:
        """Networks that are not public to which mail is delivered."""
        if self.delivery.allow_private_networks:
            return netguard.EVERYWHERE
        return tuple(ipaddress.ip_network(one) for one in self.delivery.private_networks)

    @property
    def dns_networks(self) -> tuple[netguard.Network, ...]:
        """Networks that are not public in which authoritative servers are asked."""
        if self.delivery.allow_private_networks:
            return netguard.EVERYWHERE
        return tuple(ipaddress.ip_network(one) for one in self.dns.private_networks)

    @property
    def hosted_zone(self) -> str:
        """The zone of members' hosted records; "" for none."""
        return self.dns.hosted_zone

    @property
    def hosted_servers(self) -> list[str]:
        """The names of that zone's servers."""
        return self.dns.hosted_servers or [self.server.hostname]

    @property
    def report_host(self) -> str:
        """The domain at which aggregate reports come in; "" for none."""
        return (self.dns.hosted_zone or self.bounce_host) if self.aggregate_reports.enabled else ""

    @property
    def report_address(self) -> str:
        """The address for aggregate reports; "" for none."""
        return f"{self.aggregate_reports.local_part}@{self.report_host}" if self.report_host else ""

    @property
    def notice_from(self) -> str:
        """The sender of the relay's own mail."""
        return self.server.notice_from or f"postmaster@{self.signing.pool_domain or self.server.hostname}"
