"""What the documents say is there: files, settings, commands, and the line that CI runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from posthouse.cli import app
from relay.base.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")]
NAMED = re.compile(r"`((?:relay|enroll|posthouse|tests|bench|deploy|docs)/[\w./-]*)`")


def blocks(text: str) -> list[list[str]]:
    """The lines of each code block."""
    return [part.splitlines()[1:] for part in text.split("```")[1::2]]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    assert [path for path in NAMED.findall(text) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    found = re.findall(rf"`({'|'.join(sections)})\.(\w+)`", page.read_text("utf-8"))
    files = {"py", "md", "toml", "key"}
    unknown = [
        (s, k) for s, k in found if k not in files and k not in getattr(sections[s], "model_fields", {})
    ]
    assert unknown == []


def test_the_readme_has_both_lines_that_set_everything_up() -> None:
    lines = [line for block in blocks((ROOT / "README.md").read_text("utf-8")) for line in block]
    starts = [line for line in lines if line.endswith("posthouse demo")]
    tests = [line for line in lines if "pytest" in line]
    assert len(starts) == 1
    assert len(tests) == 1
    # Each does everything by itself, in one line.
    assert all(line.startswith("python3 -m venv .venv && ") for line in starts + tests)


def test_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    lines = [line for block in blocks(text) for line in block if line.startswith("posthouse ")]
    assert lines
    groups = {g.name: {c.name for c in g.typer_instance.registered_commands} for g in app.registered_groups}
    single = {c.name for c in app.registered_commands}
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[2] in groups[words[1]] if words[1] in groups else words[1] in single, line
