"""Receivers' rules about SPF and alignment, by what DNS says of the return path and of our addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.intake.receivers import Rule, rules
from tests.kit.dns import make_zone
from tests.kit.dns import world as dns_world
from tests.kit.storage import make_config
from tests.kit.world import World

OURS = ["192.0.2.1", "192.0.2.2"]
ALLOWS = "v=spf1 ip4:192.0.2.0/24 -all"


async def held(tmp_path: Path, record: str, flags: dict[str, Any] | None = None, **options: Any) -> dict[str, Rule]:
    """The rules for a domain with a return path of its own, b.example.test, where this SPF record stands ("": none)."""
    fault = options.pop("fault", None)
    own = options.pop("own", True)
    zone = make_zone("example.test", [("b.example.test", "TXT", record)] if record else [])
    async with dns_world([zone, make_zone("relay.test", [("bounces.relay.test", "TXT", ALLOWS)])]) as dns:
        if fault:
            dns.faults.set("b.example.test", fault)
        config = make_config(
            tmp_path, delivery={"source_addresses": OURS} | options, dns={"bounce_host": "bounces.relay.test"}
        )
        world = await World.make(config, resolver=dns.resolver)
        try:
            member = await world.member()
            await world.domain(member)
            if own:
                await world.change("domains", 1, options={"return_path": True, "custom_subdomain": "b"},
                                   return_path_ok=True)
            if flags is not None:
                await world.change("domains", 1, flags=flags)
            await world.directory.refresh()
            entry = world.directory.domain_of_member(member.id, "example.test")
            assert entry is not None
            found = await rules("gmail", entry, "bulk", world.storage, config, world.clock, dns.resolver)
        finally:
            await world.close()
    return {rule.name: rule for rule in found}


@pytest.mark.parametrize(
    ("record", "more", "met", "words"),
    [
        (ALLOWS, {}, True, "allows 192.0.2.1, 192.0.2.2"),
        ("v=spf1 ip4:192.0.2.1 -all", {}, False, "does not let 192.0.2.2 pass (fail)"),
        ("v=spf1 ip4:192.0.2.1 ~all", {}, False, "does not let 192.0.2.2 pass (softfail)"),
        ("", {}, False, "does not let 192.0.2.1, 192.0.2.2 pass (none)"),
        (ALLOWS, {"fault": "servfail"}, None, "could not be asked"),
        (ALLOWS, {"smarthost": "smart.test:587"}, None, "smarthost"),
        ("v=spf1 -all", {"own": False}, True, "at bounces.relay.test, whose SPF record allows"),
    ],
)
async def test_spf_is_met_where_the_return_paths_record_lets_each_address_pass(
    tmp_path: Path, record: str, more: dict[str, Any], met: bool | None, words: str
) -> None:
    rule = (await held(tmp_path, record, **more))["spf"]
    assert (rule.met, words in rule.says) == (met, True), rule.says


SIGNED = {"dkim_rsa": True, "dkim_ed25519": True}
UNSIGNED = {"dkim_rsa": False, "dkim_ed25519": False}


@pytest.mark.parametrize(
    ("record", "flags", "more", "met", "words"),
    [
        (ALLOWS, SIGNED, {}, True, "DKIM and SPF both pass"),
        ("v=spf1 -all", SIGNED, {}, True, "SPF would too when SPF of its return path passes"),
        (ALLOWS, SIGNED, {"own": False}, True, "SPF would too with a return path of its own"),
        (ALLOWS, UNSIGNED, {}, True, "DKIM would too with its keys in DNS"),
        (ALLOWS, UNSIGNED, {"own": False}, False, "Neither DKIM nor SPF passes"),
        (ALLOWS, None, {"own": False}, None, "isn't known yet"),
        (ALLOWS, UNSIGNED, {"fault": "servfail"}, None, "isn't known yet"),
    ],
)
async def test_alignment_says_what_passes_and_what_would(
    tmp_path: Path, record: str, flags: dict[str, Any] | None, more: dict[str, Any], met: bool | None, words: str
) -> None:
    rule = (await held(tmp_path, record, flags, **more))["alignment"]
    assert (rule.met, words in rule.says) == (met, True), rule.says
