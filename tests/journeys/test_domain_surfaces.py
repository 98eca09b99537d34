"""Every option of a domain can be seen and set wherever options can: one declaration makes all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from pydantic.alias_generators import to_camel
from typer.testing import CliRunner

from posthouse.cli import app
from relay.base import domain_options
from relay.base.config import Config
from relay.base.domain_options import OPTIONS, Option, Options
from tests.kit.hosting import hosting_config
from tests.kit.plain_log import plain_log
from tests.kit.whole import whole
from tests.pages.site import Site

ROOT = Path(__file__).parents[2]
NEW = '    brand_new: bool = option("switch", False, "What nobody has thought of so far.", label="A new thing")\n\n'
LABEL, MAILBOX = "zz9", "me@inbox.test"


def other(o: Option) -> Any:
    """A value that isn't the default."""
    if o.kind == "switch":
        return not o.default
    return {"label": LABEL, "mailbox": MAILBOX}.get(o.kind) or next(w for w in o.choices if w != o.default)


def properties(document: Any, shape: Any) -> dict[str, Any]:
    """The properties of a schema of the document."""
    while "$ref" in shape:
        shape = document["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    if "anyOf" in shape:
        return properties(document, next(one for one in shape["anyOf"] if one.get("type") != "null"))
    found: dict[str, Any] = shape["properties"]
    return found


async def test_every_option_is_in_the_document_the_api_and_the_page(sqlite_config: Config) -> None:
    aliases = {o.alias: o for o in OPTIONS.values()}
    async with whole(hosting_config(sqlite_config)) as made, ClientSession(made.url) as http:
        site = Site(made.env, made.url)
        alice = await site.member("alice")
        document = await (await http.get("/openapi.json")).json()
        one = document["paths"]["/v1/domains/{id}"]
        for operation in (document["paths"]["/v1/domains"]["post"], one["patch"]):
            taken = properties(document, operation["requestBody"]["content"]["application/json"]["schema"])
            assert aliases.keys() <= taken.keys()
            assert properties(document, taken["options"]).keys() == aliases.keys()
            assert all(taken[o.alias]["description"] == o.says for o in OPTIONS.values())
        given = properties(document, one["get"]["responses"]["200"]["content"]["application/json"]["schema"])
        assert properties(document, given["options"]).keys() == aliases.keys()

        headers = {"Authorization": f"Bearer {alice.key}"}
        new = await (await http.post("/v1/domains", json={"name": "a.test"}, headers=headers)).json()
        at = f"/v1/domains/{new['domain']['id']}"
        assert new["domain"]["options"] == {o.alias: o.default for o in OPTIONS.values()}

        visit = await site.signed_in()
        page = f"/account/domains/{new['domain']['id']}"
        text = (await visit.get(page))[1]
        for o in OPTIONS.values():
            assert f'name="{o.name}"' in text
            assert o.label in text
        form = {o.name: "on" if o.kind == "switch" else other(o) for o in OPTIONS.values() if o.kind != "mailbox"}
        status, text, _ = await visit.send(page, f"{page}/options", form)
        assert status == 303, text
        shown = await (await http.get(at, headers=headers)).json()
        expected = {o.alias: o.default if o.kind == "mailbox" else other(o) for o in OPTIONS.values()}
        assert shown["options"] == expected
        text = (await visit.get(page))[1]
        assert all(f'name="{o.name}" checked>' in text for o in OPTIONS.values() if o.kind == "switch")

        for o in OPTIONS.values():
            value = MAILBOX if o.kind == "mailbox" else o.default
            async with http.patch(at, json={o.alias: value}, headers=headers) as response:
                assert response.status == 200, await response.text()
                body = await response.json()
            assert (body["forwardPending"] if o.kind == "mailbox" else body["options"][o.alias]) == value
        assert body["options"] == new["domain"]["options"]
        for visited in site.visits:
            await visited.client.close()


def test_every_option_is_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "posthouse.toml"
    file.write_text(f'[server]\ndata_dir = "{tmp_path}/data"\n[dns]\nhosted_zone = "hosted.relay.test"\n')

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["--config", str(file), *words])
        plain_log()
        assert result.exit_code == code, result.output
        return result.output

    run("member", "add", "alice")
    run("domain", "add", "alice", "a.test", "--set", "link_tracking=on")
    for o in OPTIONS.values():
        shown = json.loads(run("domain", "set", "a.test", f"{o.name}={o.show(other(o))}", "--json"))["options"]
        assert shown[to_camel(o.name)] == (o.default if o.kind == "mailbox" else other(o))
    people = run("domain", "show", "a.test")
    for o in OPTIONS.values():
        assert f"{o.name}:" in people
        assert f"{o.name}={o.values}" in run("domain", "set", "a.test", "nonsense=1", code=2)
    for wrong in ("tracking=maybe", "tracking", "track_prefix=-", "report_to=nobody", "approved=on"):
        assert wrong in run("domain", "set", "a.test", "open_tracking=off", wrong, code=2)
    assert json.loads(run("domain", "show", "a.test", "--json"))["options"]["openTracking"] is True
    back = [f"{o.alias}={o.show(o.default)}" for o in OPTIONS.values()]
    assert json.loads(run("domain", "set", "a.test", *back, "--json"))["options"] == {
        to_camel(name): value for name, value in Options().stored().items()
    }


def test_a_new_option_is_entered_in_one_place(tmp_path: Path) -> None:
    for package in ("relay", "enroll", "posthouse", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "relay/base/domain_options.py"
    head, mark, rest = file.read_text().partition("    @classmethod\n    def read(")
    file.write_text(head.rstrip("\n") + "\n" + NEW + mark + rest)
    env = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    say = [sys.executable, "-c", "import relay.base.domain_options as d; print(d.__file__, d.document())"]
    reported = subprocess.run(say, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert str(tmp_path) in reported.stdout
    assert "| `brand_new` | `brandNew` | on, off | `off` |" in reported.stdout
    tried = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "every_option",
         "tests/journeys/test_domain_surfaces.py"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300,
    )
    assert tried.returncode == 0, tried.stdout[-4000:]
    assert "2 passed" in tried.stdout


def test_the_documentation_is_made_from_the_declaration() -> None:
    assert (ROOT / "docs/domain-options.md").read_text() == domain_options.document()
