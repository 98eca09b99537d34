"""What holds the house together: import floors, one home for each thing, true documents."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay import replies
from relay.base.config import Config, example, load
from relay.base.storage.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(p for module in ("relay", "enroll", "posthouse") for p in (ROOT / module).rglob("*.py"))
STORAGE = ROOT / "relay" / "base" / "storage"
MIGRATIONS = STORAGE / "migrations"
BANNED_NAMES = {"utils", "common", "helpers", "manager", "misc"}
# What may write a table: one module (or one folder) each.
WRITES = re.compile(r"\b(?:insert|update|delete|upsert|Upsert)\(\s*(?:tx,\s*)?(\w+)[,)]")


def modules_of_storage() -> list[Path]:
    return [p for p in STORAGE.rglob("*.py") if MIGRATIONS not in p.parents]


def test_the_import_floors_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_is_clean() -> None:
    """Types are checked by .ci/run, once: mypy alone takes as long as a tenth of all tests."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^\.venv/bin/mypy$", ci, re.MULTILINE), "and nobody else does"


def test_every_module_says_what_it_is() -> None:
    silent = [p for p in CODE if not (ast.get_docstring(ast.parse(p.read_text("utf-8"))) or "").strip()]
    assert silent == []


def test_no_file_is_too_long_and_none_has_a_name_that_says_nothing() -> None:
    long = [p for p in CODE if MIGRATIONS not in p.parents and p.read_text("utf-8").count("\n") > 700]
    assert long == [], "is that one thing?"
    assert [p for p in CODE if p.stem in BANNED_NAMES] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{p.relative_to(ROOT)}:{node.lineno} {node.name}"
        for p in CODE
        if MIGRATIONS not in p.parents
        for node in ast.walk(ast.parse(p.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_each_table_has_one_writing_module() -> None:
    writers: dict[str, set[str]] = {}
    for path in modules_of_storage():
        if path.stem in ("archive", "engine"):  # restoring a backup writes every table
            continue
        module = path.relative_to(STORAGE).parts[0].removesuffix(".py")
        for name in WRITES.findall(path.read_text("utf-8")):
            if name in metadata.tables:
                writers.setdefault(name, set()).add(module)
    shared = {table: modules for table, modules in writers.items() if len(modules) > 1}
    assert shared == {}
    unwritten = set(metadata.tables) - set(writers)
    assert unwritten == set(), "a table that nobody writes"


def test_no_sql_and_no_engine_name_outside_storage() -> None:
    sql = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM)\b")
    engine = re.compile(r"""dialect\.name|["']postgresql["']|["']sqlite["']|aiosqlite|asyncpg""")
    found = []
    for path in CODE:
        if STORAGE in path.parents:
            continue
        text = path.read_text("utf-8")
        if sql.search(text) or engine.search(text):
            found.append(path)
    assert found == []


def test_storage_modules_do_not_know_each_other() -> None:
    plumbing = {"engine", "errors", "tables", "versions", "values", "migrate", "sqlite_driver", "prepared", "pinned"}
    found = []
    for path in modules_of_storage():
        if path.stem in ("__init__", "archive", "migrate", "engine"):
            continue
        own = path.relative_to(STORAGE).parts[0].removesuffix(".py")
        for module in re.findall(r"from relay\.base\.storage(?:\.([\w.]+))? import ([\w, ]+)", path.read_text("utf-8")):
            names = [module[0].split(".")[0]] if module[0] else [n.strip() for n in module[1].split(",")]
            found += [(path.name, n) for n in names if n not in plumbing and n != own and n[:1].islower()]
    assert found == []


def test_only_what_is_ours_is_read_by_the_letter() -> None:
    # Addresses of others, and whatever a table holds, are read by `address`: by the strict reader mail would be lost.
    strict = {
        "relay/base/names/mailbox.py", "relay/base/config/kinds.py", "relay/policy.py", "relay/submission/session.py",
        "relay/sendapi/raw.py", "enroll/senders/model.py", "enroll/domains/test_message.py",
    }
    reader = re.compile(r"\bown_address\b")
    found = {str(p.relative_to(ROOT)) for p in CODE if reader.search(p.read_text("utf-8"))}
    assert found - {f"relay/base/names/{name}.py" for name in ("__init__", "addresses")} == strict


def test_every_reply_is_used_and_documented() -> None:
    text = "\n".join(p.read_text("utf-8") for p in CODE if p.name != "replies.py")
    names = {name for name, value in vars(replies).items() if isinstance(value, replies.Reply)}
    assert sorted(names - set(re.findall(r"\w+", text))) == []
    page = (ROOT / "docs" / "replies.md").read_text("utf-8")
    assert page == replies.document(), "docs/replies.md is generated: python -m relay.replies > docs/replies.md"


def test_the_example_config_is_the_truth() -> None:
    assert (ROOT / "config.example.toml").read_text("utf-8") == example()
    assert load(ROOT / "config.example.toml", {}) == Config()


def test_every_rfc_in_the_code_is_in_the_list_of_standards() -> None:
    listed = set(re.findall(r"RFC (\d{3,5})", (ROOT / "docs" / "standards.md").read_text("utf-8")))
    cited = {n for p in CODE for n in re.findall(r"RFC (\d{3,5})", p.read_text("utf-8"))}
    assert sorted(cited - listed) == []


@pytest.mark.parametrize("library", ["aiosmtplib", "jinja2", "argon2", "aiohttp"])
def test_no_test_double_and_no_stray_import_of(library: str) -> None:
    """Libraries stay within the modules that docs/house.md names."""
    allowed = {
        "aiosmtplib": ("posthouse/",), "jinja2": ("enroll/pages/", "posthouse/demo/"), "argon2": ("enroll/",),
        "aiohttp": (
            "relay/base/web", "relay/base/http_client.py", "relay/sendapi/", "relay/monitor", "relay/unsubscribe",
            "relay/tracking/", "enroll/", "posthouse/",
        ),
    }
    strays = [
        str(p.relative_to(ROOT))
        for p in CODE
        if re.search(rf"^\s*(?:from|import) {library}\b", p.read_text("utf-8"), re.MULTILINE)
        and not str(p.relative_to(ROOT)).startswith(allowed[library])
    ]
    assert strays == []


def test_whoever_asks_other_hosts_by_http_does_so_by_the_guarded_client() -> None:
    """Where a request may go, how long and how much, is decided there. The demo asks itself, as a client would."""
    client = re.compile(r"\bClientSession\(|^\s*(?:from|import) (?:http\.client|urllib\.request)\b", re.MULTILINE)
    asking = {str(p.relative_to(ROOT)) for p in CODE if client.search(p.read_text("utf-8"))}
    assert {path for path in asking if not path.startswith("posthouse/demo/")} == {"relay/base/http_client.py"}
