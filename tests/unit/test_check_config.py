"""check-config: each mistake an operator can make gets one line that says what to do; a good file gets none."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import BaseModel

from posthouse.check_config import mistakes, warnings
from relay.base.clock import Clock
from relay.base.config import Config, ConfigError, load
from relay.base.netguard import may_be_reached
from relay.base.resolver import Resolver
from relay.base.storage.engine import database_url
from relay.delivery.courier import route_settings
from tests.kit.clock import HandClock
from tests.kit.storage import make_config

NOW = 1_780_000_000.0


def certificate(folder: Path, *names: str, days: int = 30, mode: int = 0o600) -> dict[str, str]:
    """A certificate for `names` in two files, as the section [tls]."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    end = datetime.datetime.fromtimestamp(NOW, datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(end - datetime.timedelta(days=90)).not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        .sign(key, SHA256())
    )
    cert, private = folder / f"{names[0]}.crt", folder / f"{names[0]}.key"
    cert.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(mode)
    return {"cert_file": str(cert), "key_file": str(private)}


def said(folder: Path, **sections: dict) -> list[str]:
    return [str(m) for m in mistakes(make_config(folder, **sections), HandClock(NOW), ports=False)]


def production(folder: Path) -> dict[str, dict]:
    return {
        "server": {
            "hostname": "mail.posthouse.dev", "public_url": "https://mail.posthouse.dev", "production": True,
            "trusted_proxies": ["127.0.0.1"],
        },
        "tls": certificate(folder, "mail.posthouse.dev"),
    }


def test_the_defaults_are_fine_for_trying_out_and_a_full_file_for_production(tmp_path: Path) -> None:
    assert said(tmp_path) == []
    assert said(tmp_path, **production(tmp_path)) == []


def test_an_entry_that_changes_no_site_is_named(tmp_path: Path) -> None:
    sites = [{"name": "gogle", "lanes": 2}, {"name": "google", "lanes": 2}, {"name": "mx.far.test", "rate": 1.0}]
    [line] = said(tmp_path, delivery={"sites": sites})
    assert line.startswith("delivery.sites: 'gogle' is no site")


def test_production_refuses_what_is_only_good_for_trying_out(tmp_path: Path) -> None:
    found = said(tmp_path, server={"production": True}, delivery={"allow_private_networks": True})
    assert [line.partition(":")[0] for line in found] == [
        "server.hostname", "server.public_url", "tls.cert_file", "server.trusted_proxies",
        "delivery.allow_private_networks",
    ]


@pytest.mark.parametrize("url", ["postgresql://u:changeme@db/posthouse", "postgresql://u:PassWord@db/posthouse"])
def test_production_refuses_a_default_secret(tmp_path: Path, url: str) -> None:
    sections = production(tmp_path) | {"database": {"url": url}}
    assert said(tmp_path, **sections) == ["database.url: the password is a default one: set another"]
    sections["database"] = {"url": "postgresql://u:0s9df87sdf@db/posthouse"}
    sections["delivery"] = {"smarthost": "out.example.org:587", "smarthost_user": "relay"}
    assert said(tmp_path, **sections) == ["delivery.smarthost_password: empty or a default one: set the real one"]


def test_certificates(tmp_path: Path) -> None:
    server = {"hostname": "mail.posthouse.dev"}
    good = certificate(tmp_path, "mail.posthouse.dev")
    assert said(tmp_path, server=dict(server), tls=good) == []
    (tmp_path / "w").mkdir()
    wild = certificate(tmp_path / "w", "*.posthouse.dev")
    assert said(tmp_path, server=dict(server), tls=wild) == []

    def one(tls: dict[str, str]) -> str:
        (line,) = said(tmp_path, server=dict(server), tls=tls)
        return line

    assert "set both or neither" in one({"cert_file": good["cert_file"]})
    assert "no such file" in one(good | {"key_file": str(tmp_path / "none.key")})
    assert "does not belong to" in one(good | {"key_file": wild["key_file"]})
    assert "is not for mail.posthouse.dev" in one(certificate(tmp_path, "other.posthouse.dev"))
    (tmp_path / "old").mkdir()
    expired = one(certificate(tmp_path / "old", "mail.posthouse.dev", days=-1))
    assert "expired at 2026-05-" in expired
    assert "renew it" in expired
    (tmp_path / "soon").mkdir()
    assert "not valid before" in one(certificate(tmp_path / "soon", "mail.posthouse.dev", days=100))
    (tmp_path / "open").mkdir()
    world_readable = one(certificate(tmp_path / "open", "mail.posthouse.dev", mode=0o644))
    assert "readable by others (mode 0644): chmod 600" in world_readable
    Path(good["cert_file"]).write_text("nonsense")
    assert "not a readable PEM certificate" in one(good)


def test_keys_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("x")
    (tmp_path / "master.key").chmod(0o640)
    (line,) = said(tmp_path)
    assert line.startswith("secrets.master_key_file: ")
    assert "chmod 600" in line


def test_a_file_with_a_password_that_everybody_can_read(tmp_path: Path) -> None:
    file = tmp_path / "posthouse.toml"
    file.write_text("")
    file.chmod(0o644)
    config = make_config(tmp_path, delivery={"smarthost_password": "s3cret"})
    (found,) = mistakes(config, Clock(), path=file, ports=False)
    assert "holds a password" in str(found)
    file.chmod(0o640)
    assert mistakes(config, Clock(), path=file, ports=False) == []


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = said(tmp_path / "file" / "data")
    assert any("server.data_dir" in line and "is not a folder" in line for line in found)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s.getsockname()[1]


def only_http(folder: Path, *addresses: str) -> Config:
    return make_config(folder, http={"listen": list(addresses)}, roles=["http"])


def test_a_taken_port(tmp_path: Path, taken: int) -> None:
    (found,) = mistakes(only_http(tmp_path, f"127.0.0.1:{taken}"), Clock())
    assert str(found) == (
        f"http.listen: 127.0.0.1:{taken} can't be listened on (address already in use): is another program using it?"
    )
    assert mistakes(only_http(tmp_path, "127.0.0.1:0"), Clock()) == []
    # No other program is in the way of an address that isn't here.
    (found,) = mistakes(only_http(tmp_path, "192.0.2.77:8080"), Clock())
    assert str(found) == "http.listen: 192.0.2.77:8080 can't be listened on: it is no address of this machine"


def test_a_port_shared_with_a_process_of_this_relay(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert mistakes(only_http(tmp_path, f"127.0.0.1:{s.getsockname()[1]}"), Clock()) == []


def test_addresses_that_are_none(tmp_path: Path) -> None:
    found = [str(m) for m in mistakes(only_http(tmp_path, "8080", "localhost:80", "[::1]:8080", "[::1]:8080"), Clock())]
    assert found == [
        "http.listen: '8080' is not HOST:PORT",
        "http.listen: 'localhost:80': 'localhost' is not an IP address",
        "http.listen: [::1]:8080 is named twice",
    ]


def test_the_file_s_own_mistakes_are_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "posthouse.toml"
    file.write_text('[submision]\nx = 1\n[submission]\nmax_recipients = "many"\nmax_recipient = 3\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert len(caught.value.lines) == 3
    assert "submision: unknown key: did you mean submission?" in caught.value.lines
    assert "submission.max_recipient: unknown key: did you mean submission.max_recipients?" in caught.value.lines
    assert all("\n" not in line for line in caught.value.lines)


def test_a_file_system_that_takes_no_files_is_named(tmp_path: Path) -> None:
    config = load(None, {"POSTHOUSE_SERVER__DATA_DIR": "/proc/posthouse"})
    assert "/proc can't be written" in " ".join(str(m) for m in mistakes(config, Clock(), ports=False))


def test_a_zone_for_members_records_that_can_not_work(tmp_path: Path) -> None:
    def said(**dns: object) -> list[str]:
        config = make_config(tmp_path, server={"hostname": "mail.relay.org"}, dns=dns)
        return [str(m) for m in mistakes(config, HandClock(NOW), ports=False)]

    good = {"hosted_zone": "hosted.relay.org", "hosted_servers": ["ns1.relay.org", "ns2.relay.org"]}
    assert said(**good) == []
    assert said(hosted_zone="hosted.relay.org") == [], "its server is the relay itself, if no other is named"
    (inside,) = said(hosted_zone="hosted.relay.org", hosted_servers=["ns.hosted.relay.org"])
    assert inside.startswith("dns.hosted_servers: 'ns.hosted.relay.org' stands in the zone itself")
    assert any("take a zone of its own" in line for line in said(hosted_zone="relay.org", hosted_servers=["ns.x.org"]))
    (bad,) = said(hosted_zone="hosted..relay.org")
    assert bad.startswith("dns.hosted_zone: 'hosted..relay.org' is not a host name")


def test_host_names_have_one_form_however_they_are_written(tmp_path: Path) -> None:
    config = make_config(
        tmp_path,
        server={"hostname": "Mail.Bücher.Example."},
        dns={"bounce_host": "Back.Relay.ORG", "mx_host": "MX.relay.org.", "hosted_servers": ["NS1.relay.org."]},
        signing={"pool_domain": "Relay.ORG."},
        delivery={"smarthost_domains": {"Sink.TEST": "out.relay.org:25"}},
    )
    assert (config.spf_host, config.tracking_host) == tuple(f"{n}.mail.xn--bcher-kva.example" for n in ("spf", "track"))
    assert (config.bounce_host, config.mx_host, config.hosted_servers) == (
        "back.relay.org", "mx.relay.org", ["ns1.relay.org"]
    )
    assert config.notice_from == "postmaster@relay.org"
    assert list(config.delivery.smarthost_domains) == ["sink.test"]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ('delivery.smarthost = "mail.example"',
         "delivery.smarthost: 'mail.example' is not HOST:PORT, such as mail.example.org:587"),
        ('delivery.smarthost = "mail.example:smtp"', "'mail.example:smtp' is not HOST:PORT"),
        ('delivery.smarthost = "mail.example:0"', "'mail.example:0' is not HOST:PORT"),
        ('delivery.smarthost = "2001:db8::1:25"', "'2001:db8::1:25' is not HOST:PORT"),
        ('delivery.smarthost = "mail_er:25"', "'mail_er:25': 'mail_er' is not a host name"),
        ('delivery.smarthost_domains = {"sink.test" = "out"}', "smarthost_domains.sink.test: 'out' is not HOST:PORT"),
        ('delivery.smarthost_domains = {"sink.test" = ""}', "delivery.smarthost_domains.sink.test: "),
        ('delivery.source_addresses = ["nonsense"]', "delivery.source_addresses.0: 'nonsense' is not an IP address"),
        ("delivery.port = 99999", "delivery.port: "),
        ("delivery.port = 0", "delivery.port: "),
        ("delivery.jitter = 3.0", "delivery.jitter: "),
        ("delivery.jitter = 1.0", "delivery.jitter: "),
        ("delivery.jitter = -0.1", "delivery.jitter: "),
        ("delivery.schedule_seconds = []", "delivery.schedule_seconds: "),
        ("delivery.schedule_seconds = [60, 0]", "delivery.schedule_seconds.1: "),
        ("delivery.max_age_seconds = inf", "delivery.max_age_seconds: "),
        ("webhooks.retry_seconds = []", "webhooks.retry_seconds: "),
        ("webhooks.retry_seconds = [-5]", "webhooks.retry_seconds.0: "),
        ('dns.resolvers = ["nonsense"]', "dns.resolvers.0: 'nonsense' is not IP or IP:PORT"),
        ('dns.resolvers = ["192.0.2.53:0"]', "'192.0.2.53:0' is not IP or IP:PORT"),
        ('dns.resolvers = ["ns.example.org:53"]', "'ns.example.org:53' is not IP or IP:PORT"),
        ("dns.authoritative_port = 70000", "dns.authoritative_port: "),
        ('dns.dmarc_report_to = "nobody"', "dns.dmarc_report_to: 'nobody' is not an address of mail"),
        ('server.operator_email = "root"', "server.operator_email: 'root' is not an address of mail"),
        ('server.notice_from = "the relay"', "server.notice_from: 'the relay' is not an address of mail"),
        ('signing.pool_selector = "a b"', "signing.pool_selector: "),
        ('enrollment.test_sender = "a b"', "enrollment.test_sender: "),
        ("retention.log_days = -1", "retention.log_days: "),
    ],
)
def test_values_that_can_not_work_are_one_clear_line_each(tmp_path: Path, setting: str, line: str) -> None:
    file = tmp_path / "posthouse.toml"
    file.write_text(setting + "\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    (said,) = caught.value.lines
    assert line in said
    assert "\n" not in said


def test_repeats_are_known_for_no_longer_than_the_log_is_kept(tmp_path: Path) -> None:
    config = make_config(tmp_path, retention={"log_days": 0.5})
    said = [str(m) for m in mistakes(config, Clock(), ports=False)]
    assert any(line.startswith("submission.idempotency_hours: 24 hours") and "set 12 at most" in line for line in said)
    config = make_config(tmp_path, retention={"log_days": 0}, submission={"idempotency_hours": 0})
    assert not any("idempotency" in str(m) for m in mistakes(config, Clock(), ports=False))


def test_values_of_these_kinds_that_work(tmp_path: Path) -> None:
    config = make_config(
        tmp_path,
        delivery={
            "smarthost": "Out.Relay.ORG:587", "smarthost_domains": {"sink.test": "[2001:db8::1]:25"},
            "source_addresses": ["127.0.0.1", "::1"], "jitter": 0, "schedule_seconds": [1], "helo": "[192.0.2.1]",
        },
        dns={"resolvers": ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:53"]},
        server={"operator_email": "root@relay.org"},
        retention={"bodies_days": 0},
    )
    Resolver(config.dns.resolvers)
    found = route_settings(config).smarthosts
    assert {k: (h.host, h.port) for k, h in found.items()} == {
        "*": ("out.relay.org", 587), "sink.test": ("2001:db8::1", 25)
    }
    assert [str(m) for m in mistakes(config, HandClock(NOW), ports=False)] == []


def test_every_number_has_a_bound() -> None:
    for name, section in Config.model_fields.items():
        if isinstance(section.default, BaseModel):
            for key, field in type(section.default).model_fields.items():
                if field.annotation in (int, float):
                    assert any(hasattr(m, "ge") or hasattr(m, "gt") for m in field.metadata), f"{name}.{key}"


def test_names_that_are_none(tmp_path: Path) -> None:
    found = said(
        tmp_path, server={"hostname": "mail host", "public_url": "https://relay.org:99999"},
        dns={"bounce_host": "back_er.relay.org", "mx_host": "192.0.2.1"}, delivery={"helo": "-relay.org"},
    )
    assert [line.partition(":")[0] for line in found] == [
        "server.public_url", "server.hostname", "dns.bounce_host", "dns.mx_host", "delivery.helo"
    ]
    assert said(tmp_path, roles=[]) == ["roles: name at least one: a process without a role does nothing"]


def test_a_source_address_of_another_machine(tmp_path: Path) -> None:
    def found(ip: str) -> list[str]:
        config = make_config(tmp_path, delivery={"source_addresses": [ip]}, roles=["delivery"])
        return [str(m) for m in mistakes(config, Clock())]

    assert found("127.0.0.1") == []
    assert found("192.0.2.77") == ["delivery.source_addresses: 192.0.2.77 is no address of this machine"]


def test_an_operator_nobody_can_write_to_is_a_warning(tmp_path: Path) -> None:
    def warned(**server: object) -> list[str]:
        config = make_config(tmp_path, roles=["inbound"], server={"production": True, **server})
        return [str(m) for m in warnings(config)]

    assert warned() == ["server.operator_email: empty: mail for postmaster@ and abuse@ is refused; name a mailbox"]
    assert warned(operator_email="root@relay.org") == []
    assert warned(production=False) == []


@pytest.mark.parametrize(
    ("resolvers", "fine"),
    [(["127.0.0.1"], True), (["127.0.0.1:5353", "::1", "[::1]:53"], True), (["192.0.2.53"], False),
     (["127.0.0.1", "[2001:db8::53]:53"], False), ([], True)],
)  # fmt: skip
def test_a_resolver_that_is_trusted_from_afar_is_a_warning(tmp_path: Path, resolvers: list[str], fine: bool) -> None:
    found = warnings(make_config(tmp_path, dns={"resolvers": resolvers, "dnssec": "trust-ad"}))
    assert [m.key for m in found] == ([] if fine else ["dns.dnssec"])
    assert warnings(make_config(tmp_path, dns={"resolvers": resolvers})) == []


def test_authorities_that_can_t_be_read_are_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    assert [line.partition(":")[0] for line in said(tmp_path, delivery={"ca_file": str(file)})] == ["delivery.ca_file"]
    trustme.CA().cert_pem.write_to_path(str(file))
    assert said(tmp_path, delivery={"ca_file": str(file)}) == []


@pytest.mark.parametrize(
    ("listen", "fine"),
    [("127.0.0.1:2526", True), ("[::1]:2526", True), ("localhost:2526", True), ("0.0.0.0:2526", False),
     ("[::]:2526", False), ("192.0.2.1:2526", False)],
)  # fmt: skip
def test_the_sandbox_listens_on_loopback_only(tmp_path: Path, listen: str, fine: bool) -> None:
    found = said(tmp_path, sandbox={"enabled": True, "listen": listen})
    assert [line.partition(":")[0] for line in found] == ([] if fine else ["sandbox.listen"])


@pytest.mark.parametrize(
    ("listen", "refused"),
    [(["127.0.0.1:8080"], True), (["[::1]:8080"], True), (["0.0.0.0:8080", "127.0.0.1:81"], True),
     (["0.0.0.0:8080"], False)],
)
def test_production_behind_a_proxy_names_it(tmp_path: Path, listen: list[str], refused: bool) -> None:
    sections = production(tmp_path)
    sections["server"]["trusted_proxies"] = []
    found = said(tmp_path, **sections, http={"listen": listen})
    assert [line.partition(":")[0] for line in found] == ["server.trusted_proxies"] * refused
    assert all('[server] trusted_proxies = ["127.0.0.1", "::1"]' in line for line in found)
    assert said(tmp_path, **sections, http={"listen": listen}, roles=["delivery"]) == []


def test_production_begins_no_empty_database_under_a_wrong_name(tmp_path: Path) -> None:
    sections = production(tmp_path)
    sections["server"]["data_dir"] = tmp_path / "posthuose"
    (found,) = said(tmp_path, **sections)
    assert found.startswith(f"server.data_dir: {tmp_path / 'posthuose'} is not there")
    assert not (tmp_path / "posthuose").exists()


def test_the_manuals_least_configuration_is_one_that_starts(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    for name in ("README.md", "docs/operations.md"):
        text = next(part for part in (root / name).read_text().split("```toml") if "production = true" in part)
        plain = "\n".join(line.strip() for line in text.partition("```")[0].splitlines())
        file = tmp_path / "posthouse.toml"
        file.write_text(plain)
        config = load(file, {})
        tls = config.tls.model_validate(certificate(tmp_path, config.server.hostname))
        hostname = config.server.model_copy(update={"data_dir": tmp_path})
        found = mistakes(config.model_copy(update={"server": hostname, "tls": tls}), HandClock(NOW), ports=False)
        # What only the reader's own name can fix.
        assert [m.key for m in found if m.key != "server.hostname"] == []


@pytest.mark.parametrize("url", [
    "postgresql://u:p@ss@db/posthouse", "postgresql://u:p@ss:w/rd@db:5433/posthouse", "postgresql://u:a/b@db/posthouse",
])
def test_a_password_that_a_url_can_not_hold_as_it_is_is_caught(tmp_path: Path, url: str) -> None:
    [line] = said(tmp_path, database={"url": url})
    assert line.startswith("database.url: the password holds signs")
    assert "database.password" in line


def test_a_password_in_a_key_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    given = {"url": "postgresql://u@db:5433/posthouse", "password": "p@s:s/w%41rd"}
    config = make_config(tmp_path, database=given)
    assert said(tmp_path, database=given) == []
    url = database_url(config)
    assert (url.username, url.password, url.host, url.port) == ("u", "p@s:s/w%41rd", "db", 5433)
    assert "p@s:s" not in repr(config)
    assert said(tmp_path, database=given | {"url": "postgresql://u:other@db/posthouse"}) == [
        "database.url: has a password, and so has database.password: take it out of the url"
    ]
    assert said(tmp_path, database={"url": "postgresql://u:p%40ss%3Aw@db/posthouse"}) == []


def test_private_networks_are_named_and_the_old_switch_means_all_of_them(tmp_path: Path) -> None:
    config = make_config(tmp_path, delivery={"private_networks": ["10.1.2.3/8", "fd00::/8"]})
    assert config.delivery.private_networks == ["10.0.0.0/8", "fd00::/8"]
    reached = [ip for ip in ("10.9.9.9", "fd12::1", "::ffff:10.0.0.1", "127.0.0.1", "192.168.0.1", "8.8.8.8")
               if may_be_reached(ip, config.delivery_networks)]  # fmt: skip
    assert reached == ["10.9.9.9", "fd12::1", "::ffff:10.0.0.1", "8.8.8.8"]
    assert config.dns_networks == ()
    old = make_config(tmp_path, delivery={"allow_private_networks": True})
    assert all(may_be_reached(ip, old.delivery_networks + old.dns_networks) for ip in ("127.0.0.1", "::1", "10.0.0.1"))
    named = {"delivery": {"private_networks": ["10.0.0.0/8"]}, "dns": {"private_networks": ["100.64.0.0/10"]}}
    assert said(tmp_path, **production(tmp_path), **named) == []
    [line] = said(tmp_path, **production(tmp_path), delivery={"private_networks": ["0.0.0.0/0"]})
    assert line.startswith("delivery.private_networks: 0.0.0.0/0 holds public addresses")


@pytest.mark.parametrize(("text", "meant"), [
    ("[sever]\n", "sever: unknown key: did you mean server?"),
    ("[server]\nhostnam = 'x'\n", "server.hostnam: unknown key: did you mean server.hostname?"),
    ("hostname = 'x'\n", "hostname: unknown key: did you mean server.hostname?"),
    ("[delivery]\nresolvers = []\n", "delivery.resolvers: unknown key: did you mean dns.resolvers?"),
    ("[server]\nzzzzqqq = 1\n", "server.zzzzqqq: unknown key"),
])
def test_an_unknown_key_says_which_one_was_meant(tmp_path: Path, text: str, meant: str) -> None:
    (tmp_path / "posthouse.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "posthouse.toml", {})
    assert refused.value.lines == [meant]


def test_so_does_one_of_the_environment() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {"POSTHOUSE_SERVER__HOSTNAM": "x", "POSTHOUSE_SEVER__HOSTNAME": "x"})
    assert refused.value.lines == [
        "POSTHOUSE_SERVER__HOSTNAM: unknown key server.hostnam: did you mean server.hostname?",
        "POSTHOUSE_SEVER__HOSTNAME: unknown section sever: did you mean server?",
    ]
