"""What is shipped for operators is true: the deploy files set keys that exist, the manual names commands that exist."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from posthouse.cli import app
from relay.base.config import load
from relay.base.web.client import in_networks

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ["compose.sqlite.yaml", "compose.postgresql.yaml"]


def services(name: str) -> dict[str, Any]:
    text = (ROOT / "deploy" / name).read_text()
    # What the operator sets is "x" here.
    text = re.sub(r"\$\{OPERATOR_EMAIL[^}]*\}", "you@example.org", text)
    return yaml.safe_load(re.sub(r"\$\{[A-Z_]+(:\?[^}]*)?\}", "x", text))["services"]


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_set_keys_that_exist(name: str) -> None:
    relays = {k: v for k, v in services(name).items() if "build" in v}
    assert relays
    for relay in relays.values():
        config = load(None, relay["environment"])
        assert config.server.production
        assert relay["restart"] == "unless-stopped"
        assert "POSTHOUSE_SERVER__OPERATOR_EMAIL" in relay["environment"]
        # A neighbour in the containers' network reads the metrics, the proxy's clients don't.
        assert in_networks("172.18.0.7", config.metrics.networks)
        assert (ROOT / "deploy" / relay["build"]["context"] / relay["build"]["dockerfile"]).is_file()
        assert any(port.endswith(":587") for port in relay["ports"])


def test_two_nodes_share_a_database_and_a_key() -> None:
    relays = [v for v in services("compose.postgresql.yaml").values() if "build" in v]
    assert len(relays) == 2
    assert len({r["environment"]["POSTHOUSE_DATABASE__URL"] for r in relays}) == 1
    assert relays[0]["volumes"] == relays[1]["volumes"]


def test_the_image_sets_keys_that_exist() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    found = dict(re.findall(r"(POSTHOUSE_[A-Z_]+)=(\S+)", text))
    assert load(None, {k: v.strip("'") for k, v in found.items()}).http.listen == ["0.0.0.0:8080"]


def commands(group: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*path, name))
        if not hasattr(command, "commands") or command.invoke_without_command:
            found.add((*path, name))
    return found


def test_the_manual_and_the_unit_name_commands_that_exist() -> None:
    known = commands(typer.main.get_command(app))
    texts = [(ROOT / "docs" / "operations.md").read_text(), (ROOT / "deploy" / "posthouse.service").read_text()]
    texts += [(ROOT / "deploy" / name).read_text() for name in COMPOSE]
    line = re.compile(r"(?:`|^\s*|bin/|exec relay )posthouse ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", re.MULTILINE)
    named = {tuple(words.split()) for text in texts for words in line.findall(text)}
    assert len(named) > 20
    for words in named:
        assert words[:1] in known or words[:2] in known, words


def test_the_manual_s_exit_codes_are_the_program_s() -> None:
    from posthouse.cli.shell import EXIT_CODES

    text = (ROOT / "docs" / "operations.md").read_text()
    assert {int(n) for n in re.findall(r"^\| (\d) \|", text, re.M)} == set(EXIT_CODES)


def test_the_unit_gives_time_to_stop_and_does_not_restart_a_bad_configuration() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(ROOT / "deploy" / "posthouse.service")
    assert float(unit["Service"]["TimeoutStopSec"]) > load(None, {}).server.shutdown_seconds
    assert unit["Service"]["RestartPreventExitStatus"] == "3"
    assert unit["Service"]["User"] == "posthouse"
