"""What the configuration needs of this machine: ports, files, certificates, and no defaults in production.

`mistakes(config)` returns one clear line each, in the order of the file; nothing is changed and nothing is left
listening. `warnings(config)` says what keeps nobody from serving. What the file says about itself (unknown keys,
types) is `relay.base.config`'s. `serve` asks here before it opens anything, so both say the same.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from posthouse.fitting import misfit
from relay.base import names
from relay.base.clock import Clock, iso
from relay.base.config import Config
from relay.base.config.delivery import ROLL_UPS
from relay.base.runtime import most_descriptors
from relay.base.secrets import SecretsError, Vault
from relay.base.storage.location import place

# What examples and compose files tend to hold; in production each of them lets anybody in.
DEFAULT_SECRETS = frozenset({
    "", "admin", "changeme", "change-me", "change_me", "default", "example", "password", "posthouse", "root",
    "secret", "test",
})

NOBODY_ELSE = 0o077
# Keys that other programs bring are often kept for a group, such as ssl-cert.
GROUP_MAY_READ = 0o027

# RFC 1035 §2.3.4: 253 octets a name, of which the longest label pair, `_domainkey` and a uuid take their part.
MOST_ZONE_OCTETS = 253 - 64 - 11 - 37 - 1


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to fix: the key it concerns and what to do, in one line."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def mistakes(config: Config, clock: Clock, *, path: Path | None = None, ports: bool = True) -> list[Mistake]:
    """Everything wrong. `path` is the configuration file itself; `ports=False` leaves the ports alone."""
    found = [
        *_server(config), *_names(config), *_database(config), *_master_key(config), *_certificate(config, clock),
        *_addresses(config), *_sites(config), *_sandbox(config), *_hosted_zone(config), *_authorities(config),
        *_signing(config), *_repeats(config),
        *_file(config, path),
    ]
    if text := misfit(config, most_descriptors()):
        found.append(Mistake("limits", text))
    if config.server.production:
        found += _production(config)
    if ports and not found:
        found += _ports(config)
    return found


def warnings(config: Config) -> list[Mistake]:
    """What works, and yet should be otherwise in production: it is said, and keeps nobody from serving."""
    found: list[Mistake] = []
    if config.server.production and "inbound" in config.roles and not config.server.operator_email:
        # RFC 5321 §4.5.1: whoever takes mail in can be reached at postmaster@.
        text = "empty: mail for postmaster@ and abuse@ is refused; name a mailbox"
        found.append(Mistake("server.operator_email", text))
    far = [one for one in config.dns.resolvers if not (_is_loopback(one) or _on_loopback(one))]
    if config.dns.dnssec == "trust-ad" and far:
        # RFC 7672 §2.2: what says that an answer is validated must not be changed on its way.
        text = f"trust-ad, and {far[0]} is not on this machine: run a validating resolver here, such as unbound"
        found.append(Mistake("dns.dnssec", text))
    return found


def listeners(config: Config) -> list[tuple[str, str, bool]]:
    """(config key, HOST:PORT, also UDP) of everything the roles of this process listen on."""
    roles = set(config.roles)
    wanted: list[tuple[str, str, bool]] = []
    if "submission" in roles:
        wanted += [("submission.listen", a, False) for a in config.submission.listen]
        wanted += [("submission.listen_tls", a, False) for a in config.submission.listen_tls]
    if "inbound" in roles:
        wanted += [("inbound.listen", a, False) for a in config.inbound.listen]
    if "http" in roles:
        wanted += [("http.listen", a, False) for a in config.http.listen]
    if "dns" in roles:
        wanted += [("dns.listen", a, True) for a in config.dns.listen]
    if "sandbox" in roles and config.sandbox.enabled:
        wanted.append(("sandbox.listen", config.sandbox.listen, False))
    return wanted


def _sites(config: Config) -> Iterable[Mistake]:
    """An entry that changes a site has the name of one: of the table, or of an exchanger."""
    known = {site.name for site in ROLL_UPS}
    for entry in config.delivery.sites:
        if not (entry.exchangers or entry.domains or entry.name in known or "." in entry.name):
            text = f"{entry.name!r} is no site: name its exchangers or domains, or one of {', '.join(sorted(known))}"
            yield Mistake("delivery.sites", text)


def _sandbox(config: Config) -> Iterable[Mistake]:
    """It takes mail for everybody from everybody, so nobody from outside may reach it."""
    if not config.sandbox.enabled:
        return
    try:
        host = split(config.sandbox.listen)[0]
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return  # named where addresses are looked at
    if not loopback:
        yield Mistake("sandbox.listen", f"{host or 'every address'} is not on loopback; take 127.0.0.1:2526")


def split(address: str) -> tuple[str, int]:
    """HOST:PORT (IPv6 in brackets) as its halves. Raises ValueError with a reason."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{address!r}: {host!r} is not an IP address") from None
    return host, int(port)


# -- the file's own words --------------------------------------------------------------------------------------


def _server(config: Config) -> Iterable[Mistake]:
    s = config.server
    try:
        url = urlsplit(s.public_url)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not s.public_url.endswith("/")
    except ValueError:
        good = False
    if not good:
        yield Mistake("server.public_url", f"{s.public_url!r} is not http(s)://HOST without a slash at the end")
    for network in [*s.trusted_proxies, *config.metrics.networks]:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield Mistake("server.trusted_proxies, metrics.networks", f"{network!r} is not an address or network")
    if s.production and not s.data_dir.is_dir():
        # A wrong name would begin with an empty database, and nobody would miss the other one at first.
        text = f"{s.data_dir} is not there: correct it, or make it for the service's user (install -d -m 700 -o USER)"
        yield Mistake("server.data_dir", text)
    yield from _writable("server.data_dir", s.data_dir)


def _names(config: Config) -> Iterable[Mistake]:
    """Host names; those of the hosted zone are looked at with it."""
    d, helo = config.dns, config.delivery.helo
    wanted = [("server.hostname", config.server.hostname)]
    wanted += [(f"dns.{key}", getattr(d, key)) for key in ("spf_host", "bounce_host", "tracking_host", "mx_host")]
    # RFC 5321 §4.1.3: EHLO may also name an address, in brackets.
    wanted += [("signing.pool_domain", config.signing.pool_domain), ("delivery.helo", "" if helo[:1] == "[" else helo)]
    for key, name in wanted:
        try:
            if name or key == "server.hostname":
                names.domain(name)
        except names.BadName as e:
            yield Mistake(key, f"{name!r} is not a host name ({e.reason})")


def _writable(key: str, folder: Path) -> Iterable[Mistake]:
    """A folder that is missing will be made: then its nearest parent that is there must let us."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        yield Mistake(key, f"{there} is not a folder")
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Mistake(key, f"{there} can't be written by user {os.geteuid()}: chown it to the service's user")
    else:
        # To root every folder looks writable, also in a file system that takes no files.
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as e:
            yield Mistake(key, f"{there} can't be written ({(e.strerror or str(e)).lower()})")


def _database(config: Config) -> Iterable[Mistake]:
    where = place(config)
    if where.fault:
        yield Mistake("database.url", where.fault)
    elif where.file is not None:
        if where.file.parent != config.server.data_dir:
            yield from _writable("database.url", where.file.parent)
        if where.file.exists():
            if not os.access(where.file, os.R_OK | os.W_OK):
                yield Mistake("database.url", f"{where.file} can't be written by user {os.geteuid()}")
            yield from _private("database.url", where.file)


def _private(key: str, file: Path, mask: int = NOBODY_ELSE) -> Iterable[Mistake]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & mask:
        yield Mistake(key, f"{file} is readable by others (mode {mode:04o}): chmod 600 {file}")


def _master_key(config: Config) -> Iterable[Mistake]:
    path = config.master_key_path
    if path.exists():
        yield from _private("secrets.master_key_file", path)
    else:
        yield from _writable("secrets.master_key_file", path.parent)
    missing = [one for one in config.previous_key_paths if not one.exists()]
    for one in missing:
        yield Mistake("secrets.previous_key_files", f"{one}: no such file")
    if config.previous_key_paths and not missing:
        try:
            Vault.load(path, config.previous_key_paths)
        except SecretsError as e:
            yield Mistake("secrets", str(e))


def _signing(config: Config) -> Iterable[Mistake]:
    s = config.signing
    if bool(s.pool_domain) != bool(s.pool_key_file):
        yield Mistake("signing.pool_domain, signing.pool_key_file", "set both or neither")
    elif s.pool_key_file:
        path = Path(s.pool_key_file)
        if not path.is_file():
            yield Mistake("signing.pool_key_file", f"{path}: no such file")
        else:
            yield from _private("signing.pool_key_file", path, GROUP_MAY_READ)


def _repeats(config: Config) -> Iterable[Mistake]:
    """A message is known again by its row in the log."""
    hours, days = config.submission.idempotency_hours, config.retention.log_days
    if hours > days * 24:
        text = f"{hours:g} hours are more than retention.log_days ({days:g}) keeps: set {days * 24:g} at most"
        yield Mistake("submission.idempotency_hours", text)


def _authorities(config: Config) -> Iterable[Mistake]:
    """Whom mail servers' certificates are verified by."""
    path = config.delivery.ca_file
    if not path:
        return
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError):
        found = []
    if not found:
        yield Mistake("delivery.ca_file", f"{path}: no PEM file of certificates that can be read")


def _hosted_zone(config: Config) -> Iterable[Mistake]:
    zone = config.hosted_zone
    if not zone:
        return
    for key, name in (("dns.hosted_zone", zone), *(("dns.hosted_servers", one) for one in config.hosted_servers)):
        try:
            names.domain(name)
        except names.BadName as e:
            yield Mistake(key, f"{name!r} is not a host name ({e.reason})")
            continue
        if name != zone and f".{name}".endswith(f".{zone}"):
            yield Mistake(key, f"{name!r} stands in the zone itself, which has no addresses: name servers outside it")
    if len(zone) > MOST_ZONE_OCTETS:
        yield Mistake("dns.hosted_zone", f"{zone!r} is too long for names below it: at most {MOST_ZONE_OCTETS} letters")
    if f".{config.server.hostname}".endswith(f".{zone}"):
        yield Mistake("dns.hosted_zone", f"holds server.hostname: take a zone of its own, such as hosted.{zone}")


def _file(config: Config, path: Path | None) -> Iterable[Mistake]:
    """The configuration itself, where it holds a password."""
    holds = place(config).password or config.delivery.smarthost_password.get_secret_value()
    if path is not None and holds and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o007:
        yield Mistake(str(path), f"holds a password and is readable by everybody: chmod o= {path}")


# -- certificates ----------------------------------------------------------------------------------------------


def _certificate(config: Config, clock: Clock) -> Iterable[Mistake]:
    t = config.tls
    if bool(t.cert_file) != bool(t.key_file):
        yield Mistake("tls.cert_file, tls.key_file", "set both or neither")
        return
    if not t.cert_file:
        return
    cert, key = Path(t.cert_file), Path(t.key_file)
    missing = [Mistake(k, f"{p}: no such file") for k, p in (("tls.cert_file", cert), ("tls.key_file", key))
               if not p.is_file()]
    if missing:
        yield from missing
        return
    yield from _private("tls.key_file", key, GROUP_MAY_READ)
    try:
        chain = x509.load_pem_x509_certificates(cert.read_bytes())
    except (OSError, ValueError):
        yield Mistake("tls.cert_file", f"{cert}: not a readable PEM certificate")
        return
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        yield Mistake("tls.key_file", f"{key}: not a readable PEM private key without a passphrase")
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        yield Mistake("tls.key_file", f"{key} does not belong to the first certificate in {cert}")
    now = clock.now()
    if chain[0].not_valid_after_utc.timestamp() <= now:
        yield Mistake("tls.cert_file", f"{cert} expired at {iso(chain[0].not_valid_after_utc.timestamp())}: renew it")
    elif chain[0].not_valid_before_utc.timestamp() > now:
        yield Mistake("tls.cert_file", f"{cert} is not valid before {iso(chain[0].not_valid_before_utc.timestamp())}")
    if not covers(chain[0], config.server.hostname):
        yield Mistake("tls.cert_file", f"{cert} is not for {config.server.hostname} (server.hostname)")


def covers(certificate: x509.Certificate, host: str) -> bool:
    """RFC 9525 §6.3: the name itself, or a wildcard for its whole first label."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    allowed = {n.lower() for n in extension.value.get_values_for_type(x509.DNSName)}
    host = host.lower()
    return host in allowed or f"*.{host.partition('.')[2]}" in allowed


# -- ports -----------------------------------------------------------------------------------------------------


def _addresses(config: Config) -> Iterable[Mistake]:
    seen: set[tuple[str, int]] = set()
    for key, address, _ in listeners(config):
        try:
            place = split(address)
        except ValueError as e:
            yield Mistake(key, str(e))
            continue
        if place in seen and place[1] != 0:
            yield Mistake(key, f"{address} is named twice")
        seen.add(place)
    if "dns" in config.roles and not config.dns.listen:
        yield Mistake("dns.listen", "the role dns needs an address")
    if not config.roles:
        yield Mistake("roles", "name at least one: a process without a role does nothing")


def _ports(config: Config) -> Iterable[Mistake]:
    for key, address, udp in listeners(config):
        host, port = split(address)
        for kind in (socket.SOCK_STREAM, *([socket.SOCK_DGRAM] if udp else [])):
            fault = _fault(host, port, kind)
            if fault:
                yield Mistake(key, fault)
                break
    if "delivery" in config.roles:
        for ip in config.delivery.source_addresses:
            if _fault(ip, 0, socket.SOCK_STREAM):
                yield Mistake("delivery.source_addresses", f"{ip} is no address of this machine")


def _fault(host: str, port: int, kind: socket.SocketKind) -> str:
    """Why this address can't be listened on, or "". Another process of this relay that shares it is no fault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as s:
        if kind == socket.SOCK_STREAM:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            s.bind((host, port))
        except OSError as e:
            return cannot_listen(f"{host}:{port}", e)
    return ""


def cannot_listen(address: str, error: OSError) -> str:
    """Why an address can't be listened on, with what helps."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            user = os.geteuid()
            return f"user {user} may not listen on {address}: grant CAP_NET_BIND_SERVICE (docs/operations.md)"
        case errno.EADDRINUSE:
            return f"{address} can't be listened on (address already in use): is another program using it?"
        case errno.EADDRNOTAVAIL:
            return f"{address} can't be listened on: it is no address of this machine"
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"{address} can't be listened on ({why})"


# -- production ------------------------------------------------------------------------------------------------


def _production(config: Config) -> Iterable[Mistake]:
    s = config.server
    if "." not in s.hostname or s.hostname.split(".")[-1] in ("localhost", "localdomain", "local", "test", "example"):
        yield Mistake("server.hostname", f"{s.hostname!r} is not a public name: set the relay's own")
    if not s.public_url.startswith("https://"):
        yield Mistake("server.public_url", f"{s.public_url!r} must begin with https:// in production")
    if {"submission", "inbound"} & set(config.roles) and not config.tls.cert_file:
        yield Mistake("tls.cert_file", "production needs a certificate")
    if "http" in config.roles and not s.trusted_proxies and any(map(_on_loopback, config.http.listen)):
        text = 'HTTP on loopback has a proxy in front, and without this every client counts as the proxy: write under '
        yield Mistake("server.trusted_proxies", text + '[server] trusted_proxies = ["127.0.0.1", "::1"]')
    if config.delivery.allow_private_networks:
        text = "must be false in production: name the networks in delivery.private_networks (and dns.private_networks)"
        yield Mistake("delivery.allow_private_networks", text)
    for key, named in (("delivery", config.delivery.private_networks), ("dns", config.dns.private_networks)):
        for one in named:
            # 0.0.0.0/0 is all of them again.
            if ipaddress.ip_network(one).is_global:
                yield Mistake(f"{key}.private_networks", f"{one} holds public addresses: name the private ones only")
    if config.webhooks.allow_private_networks:
        yield Mistake("webhooks.allow_private_networks", "must be false in production")
    password = place(config).password
    if password is not None and _is_default(password):
        yield Mistake("database.url", "the password is a default one: set another")
    d = config.delivery
    if d.smarthost_user and _is_default(d.smarthost_password.get_secret_value()):
        yield Mistake("delivery.smarthost_password", "empty or a default one: set the real one")


def _on_loopback(address: str) -> bool:
    try:
        return _is_loopback(split(address)[0])
    except ValueError:
        return False


def _is_loopback(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False


def _is_default(secret: str) -> bool:
    return secret.lower() in DEFAULT_SECRETS
