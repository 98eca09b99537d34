"""The table `[dns]` of the settings: where names are asked, the relay's own names, and its authoritative server."""

from __future__ import annotations

from typing import Literal

from relay.base.config.kinds import Count, HostName, Mailbox, NameServer, Network, Port, Seconds, Section, key


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
