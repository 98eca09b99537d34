"""Rules that keep each fact in one place: no code that nobody calls, no table that only grows, no library unused."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from relay import replies
from relay.base.web.schema import shared

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = ROOT / "relay" / "base" / "storage" / "migrations"
CODE = [
    p
    for room in ("relay", "enroll", "posthouse")
    for p in sorted((ROOT / room).rglob("*.py"))
    if MIGRATIONS not in p.parents
]
# What a framework calls by its name: asyncio's protocols, logging, aiosmtpd's hooks.
CALLED_BY_NAME = re.compile(
    r"(data|datagram|eof|error)_received|(pause|resume)_writing|connection_(made|lost)|emit|handle_\w+|smtp_\w+"
)
# Named to an engine or a server by a string, never imported by us.
NAMED_TO_AN_ENGINE = {"aiosqlite", "asyncpg"}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in CODE:
        yield path, tree_of(path)


def test_no_function_is_called_by_tests_only() -> None:
    words: Counter[str] = Counter()
    for path in [*CODE, *(ROOT / "enroll").rglob("*.html"), *(ROOT / "posthouse").rglob("*.html")]:
        words.update(re.findall(r"\w+", path.read_text("utf-8")))
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                decorated = [d for d in node.decorator_list if ast.unparse(d) not in ("staticmethod", "property")]
                if not decorated and not node.name.startswith("__") and not CALLED_BY_NAME.fullmatch(node.name):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    uncalled = [place for name, found in places.items() if words[name] <= len(found) for place in found]
    assert uncalled == [], "nothing in the program names it"


def test_nothing_is_made_of_a_row_of_values_without_names() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) > 8
        # SQLAlchemy's lists of columns are lists.
        and ast.unparse(node.func).rpartition(".")[2] not in ("select", "returning", "Table")
    ]
    assert found == [], "more than 8 arguments by position"


# Who somebody is, is found out here; every face, page and port asks these.
JUDGES = {
    "directory.login": {"relay/sendapi/authenticate.py", "relay/submission/session.py"},
    "verify_password": {"enroll/accounts/sign_in.py"},
    "prove": {"enroll/sessions/authenticator.py"},
    "sessions.find": {"enroll/sessions/authenticator.py"},
    "sessions.open": {"enroll/sessions/authenticator.py"},
    "set_cookie": {"enroll/sessions/authenticator.py", "enroll/sessions/browser.py", "enroll/pages/guard.py"},
}


def test_who_somebody_is_is_found_out_in_one_place() -> None:
    """A key by SMTP and by HTTP, a password, a sign-in: judged in one place each, so that no way in is weaker."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path, tree in trees():
        where = str(path.relative_to(ROOT))
        for node in ast.walk(tree):
            # The directory's `login`, however the directory is called there; a module of storage has functions only.
            if isinstance(node, ast.Call) and where != "enroll/sessions/service.py":
                called = re.sub(r"\b_", "", ast.unparse(node.func))
                for name in JUDGES:
                    if called == name or called.endswith("." + name):
                        found[name].add(where)
    assert dict(found) == JUDGES


RECORDS = {f"relay/verify/{name}_record.py" for name in ("spf", "dmarc", "key")}
# Each grammar of others has one reader. What looks for another reader of it, and where the one may stand.
READERS = {
    # SPF, DMARC, DKIM keys: by their versions, by their tags.
    r"""(?:startswith|removeprefix|match|search|sub|compile|==|\bin)\W{1,4}[rbf]{0,2}["'](?:\^|\\b)?v\W{0,4}=\W{0,4}"""
    r"(?:spf1|dmarc1|dkim1)": RECORDS,
    r"""partition\("="\)""": {
        "relay/verify/dmarc_record.py", "relay/verify/key_record.py", "relay/verify/tls_records.py",
        "posthouse/cli/domains.py", "relay/base/web/client.py",  # an argument of ours; Forwarded (RFC 7239)
    },
    # MIME fields. `mime` counts what any reader might take for a part; it reads nothing for use.
    r"""content-type\[|\]boundary\[|r["\'];\\s\*\(\[""": {"relay/message/mime.py", "relay/base/content_type.py"},
    r"""^\s*(?:from|import) email(?:\.parser|\.header|\.headerregistry|\._header\w+|$)|message_from_\w+""": {
        "relay/base/web/form.py",  # forms (RFC 7578), not mail
    },
    # Addresses: those that find some in words that others wrote, and hand them to `names`; everybody else has fields.
    r"""\b(?:parseaddr|getaddresses)\b|re\.compile\([^\n]*@""": {
        "relay/base/names/addresses.py", "relay/base/charsets.py", "relay/base/log.py", "relay/sendapi/compose.py",
        "relay/message/rules.py", "relay/inbound/vouching.py",
        "relay/suppression/import_file.py", "relay/verify/dmarc_record.py", "relay/verify/results.py",
        "relay/bounces/classify/matcher.py", "relay/bounces/classify/named.py", "relay/bounces/parse/automatic.py",
        "relay/bounces/parse/feedback.py", "relay/bounces/parse/prose.py", "relay/bounces/parse/status.py",
    },
}


@pytest.mark.parametrize("sign", READERS)
def test_each_grammar_has_one_reader(sign: str) -> None:
    wanted = re.compile(sign, re.IGNORECASE | re.MULTILINE)
    found = {str(path.relative_to(ROOT)) for path in CODE if wanted.search(path.read_text("utf-8"))}
    assert sorted(found - READERS[sign]) == [], "there is a reader for this already"


RAISED = {"EnrollError", "Refused", "Verdict"}


def test_every_code_that_is_raised_is_in_the_table_and_told() -> None:
    """A refusal is a reply of the table, never a status and a word made up where it is raised."""
    table = {name: v for name, v in vars(replies).items() if isinstance(v, replies.Reply)}
    raised, strange = set(), []
    for path, tree in trees():
        ours = re.search(r"from relay\.(replies|verdict) import [^\n]*\bReply\b", path.read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called, first = ast.unparse(node.func).rpartition(".")[2], node.args[0]
            if called == "Reply" and ours and path.name != "replies.py":
                strange.append(f"{path.relative_to(ROOT)}:{node.lineno} makes a reply of its own")
            if called in RAISED and isinstance(first, ast.Constant | ast.JoinedStr):
                strange.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(first)}")
            if called in RAISED and ast.unparse(first).rpartition(".")[2] in table:
                raised.add(ast.unparse(first).rpartition(".")[2])
    assert strange == []
    assert len(raised) > 60
    shown, reported = shared()["responses"], replies.document()
    for name in sorted(raised):
        reply = table[name]
        assert not reply.code or f"`{reply.code}`" in reported, name
        says = [one["description"] for one in shown.values() if one["description"].startswith(_phrase(reply.http))]
        assert reply.http < 400 or any(f"`{reply.code}`" in one for one in says), f"OpenAPI doesn't tell of {name}"


def test_who_handles_a_refusal_handles_every_kind_of_it() -> None:
    """A service passes on what the rooms below it refuse, such as a notice that can't be taken just now: whoever caught
    enrollment's own refusals alone would let that one through."""
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            caught = node.type if isinstance(node, ast.ExceptHandler) else None
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
                caught = ast.Tuple(node.args)
            names = {ast.unparse(one) for one in getattr(caught, "elts", [caught]) if one is not None}
            if "EnrollError" in names and "Refused" not in names:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == [], "catch Refused"


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status else ""


def test_every_dependency_is_used() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[\[<>=!~ ;]", line, maxsplit=1)[0].lower() for line in declared}
    imported = {
        (node.module or "").partition(".")[0] if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } | {"alembic", "sqlalchemy"}
    distributions = packages_distributions()
    used = {d.lower().replace("_", "-") for module in imported for d in distributions.get(module, [])}
    assert names - used - NAMED_TO_AN_ENGINE == set()
    code = "\n".join(p.read_text("utf-8") for p in CODE)
    assert [name for name in NAMED_TO_AN_ENGINE if name not in code] == []
    assert sys.stdlib_module_names  # what isn't a distribution of its own


def test_every_table_says_what_purges_it_or_why_it_stays() -> None:
    from relay.base.storage.tables import metadata

    text = (ROOT / "relay/retention.py").read_text("utf-8")
    jobs = {one or other for one, other in re.findall(r'"(\w+)": _(?:simply|onwards)|jobs\["(\w+)"\]', text)}
    wrong = []
    for name, table in metadata.tables.items():
        kept, _, how = str(table.info.get("kept", "")).partition(": ")
        if not (how in jobs if kept == "purged" else how and kept == "stays"):
            wrong.append(f"{name}: {kept}: {how}")
    assert wrong == [], "info={'kept': 'purged: <a job of retention>'} or 'stays: <why>'"


# Words of an earlier vocabulary, and the modules that bore them: each has a name that people who run mail use.
EARLIER = frozenset(
    re.findall(
        r"\w+",
        "arrivals deaf doors gate gates guest guests house ill mend mended mends rested resting rests rooms shelf told "
        "wish wishes",
    )
)
EARLIER_MODULES = EARLIER | frozenset(
    re.findall(
        r"\w+",
        "answering asking describe describing door elsewhere faults inline judging kept loading looking observe "
        "operate origins outward overview pairs place reading security shapes states trial turns unwanted wire words",
    )
)
# Names that others keep: columns, what rows and programs call it, and two replies that refusals are recorded by.
KEPT_NAMES = {
    "delay_told", "told_at", "forward_told", "gate", "gates", "DOMAIN_RESTS", "HEADER_RESTS",
}


@functools.cache
def _earlier(name: str) -> bool:
    return any(word.lower() in EARLIER for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))


def test_names_are_those_of_people_who_run_mail() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    named = set()
    for path in [*CODE, *tests]:
        # Prose may have these words; only what looks like a name with one of them is worth a walk.
        suspects = {name for name in re.findall(r"[^\W\d]\w*", path.read_text("utf-8")) if _earlier(name)}
        if not suspects:
            continue
        for node in ast.walk(tree_of(path)):
            for name in (getattr(node, part, None) for part in ("id", "attr", "arg", "name", "asname")):
                if name in suspects and not name.startswith("test_") and name not in KEPT_NAMES:
                    named.add(f"{path.relative_to(ROOT)}: {name}")
    assert sorted(named) == []
    modules = [str(p.relative_to(ROOT)) for p in CODE if EARLIER_MODULES & {p.stem, p.parent.name}]
    assert modules == []
