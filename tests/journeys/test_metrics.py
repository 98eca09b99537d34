"""What an operator watches: each alert fires when its cause happens and stays quiet otherwise, each query finds its
metric, each metric is described."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from posthouse.wiring import submission_server
from relay.base import metrics
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.log import configure, in_background
from relay.base.storage import Tx, incidents, webhooks
from relay.base.storage.tables import recipients
from relay.base.tls import MADE_CERT, MADE_DAYS, MADE_KEY, Certificate, make_self_signed
from relay.base.web import Listener, application
from relay.bounces.parse import Report
from relay.bounces.record import Records
from relay.monitor import Monitor, MonitorServices
from tests.kit.line import Line, line
from tests.kit.plain_log import plain_log
from tests.kit.smtp import Talk
from tests.kit.storage import make_config

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy" / "prometheus-alerts.yml"
Scrape = dict[str, float]
"""Series, as PromQL writes it → value."""


@asynccontextmanager
async def scraped(way: Line) -> AsyncIterator[Any]:
    """A function that reads /metrics as Prometheus would."""
    world = way.world
    monitor = Monitor(MonitorServices(world.config, world.clock, world.storage, count_seconds=0.0))
    app = application(world.config, world.clock, world.storage, routes=monitor.routes())
    listener = Listener(app, world.config, ["127.0.0.1:0"])
    await listener.start()

    async def scrape(accept: str = "") -> Scrape:
        async with ClientSession() as http, http.get(
            f"http://127.0.0.1:{listener.ports[0]}/metrics", headers={"Accept": accept}
        ) as answer:
            assert answer.status == 200
            text = await answer.text()
        got: Scrape = {}
        for family in text_string_to_metric_families(text):
            for s in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(s.labels.items()))
                got[f"{s.name}{{{labels}}}"] = s.value
        return got

    try:
        yield scrape
    finally:
        await listener.stop()


async def refused_for_a_full_disk(way: Line) -> None:
    world = way.world
    server = submission_server(world.core)
    server.config.submission.listen[:] = ["127.0.0.1:0"]
    server.config.submission.listen_tls[:] = []
    member = await world.member("full")
    await world.domain(member, "full.test")
    await server.start()
    try:
        world.intake.found_full(OSError("no space"))  # type: ignore[arg-type]
        async with await Talk.logged_in(server.ports[0], member.handle, member.key) as talk:
            assert (await talk.ask("MAIL FROM:<a@full.test>")).startswith("452")
    finally:
        await server.stop(0.0)
    world.intake._full_until = 0.0


async def delivered(way: Line, reply: str, *to: str) -> None:
    way.sink.on("RCPT", lambda _: reply)
    if way.task is None:
        way.start()
    await way.world.submit(way.world.alice, *to)  # type: ignore[attr-defined]
    await way.settle(len(to))


async def complained(way: Line) -> None:
    way.sink.on("RCPT", lambda _: "250 2.1.5 ok")
    if way.task is None:
        way.start()
    taken = await way.world.submit(way.world.alice, "angry@sink.test")  # type: ignore[attr-defined]
    await way.settle(1)
    [(_, recipient_id)] = taken.recipients
    records = Records(way.world.storage, way.world.vault, way.world.config, way.world.clock)
    done = await records.apply(recipient_id, Report("complaint", feedback="abuse"), vouched="sink.test")
    assert done == "complained"


async def waits_for_nobody(way: Line) -> None:
    await way.world.submit(way.world.alice, "waits@sink.test")  # type: ignore[attr-defined]

    async def due_long_ago(tx: Tx) -> None:
        await tx.execute(update(recipients).where(recipients.c.state == "queued").values(next_at=time.time() - 1000))

    await way.world.storage.write(due_long_ago)


async def guessed(way: Line) -> None:
    for n in range(70):
        way.world.directory.login("alice", f"ph_wrong{n}", "127.0.0.1")


async def blamed(way: Line) -> None:
    async def join(tx: Tx) -> None:
        await incidents.join(tx, "listed", seen_at=time.time(), count=1, examples=[], keep=1)

    await way.world.storage.write(join)


async def suspended(way: Line) -> None:
    bad = await way.world.member("bad")
    await way.world.change("members", bad.id, status="suspended", reason="complaints")


async def endpoint_away(way: Line) -> None:
    async def add(tx: Tx) -> None:
        await webhooks.add(
            tx, public_id="hook", member_id=way.world.alice.id, url="https://away.test/", types=[],  # type: ignore[attr-defined]
            description="", secret=b"x", now=time.time(), cursor=0,
        )
        endpoint = await webhooks.one(tx, way.world.alice.id, "hook")  # type: ignore[attr-defined]
        assert endpoint is not None
        await webhooks.mark_failing(tx, endpoint.id, time.time())

    await way.world.storage.write(add)


async def slow_disk(way: Line) -> None:
    async def slow(_: Tx) -> None:
        await asyncio.sleep(0.6)  # the cause itself

    await way.world.storage.write(slow)


async def old_certificate(way: Line) -> None:
    folder = way.world.config.server.data_dir
    cert, key = folder / "old.pem", folder / "old.key"
    make_self_signed(cert, key, "relay.test", time.time() - (MADE_DAYS - 7) * DAY)
    Certificate(cert, key, way.world.clock)


async def deferred(way: Line) -> None:
    await delivered(way, "450 4.2.1 busy", "a@sink.test", "b@sink.test")


async def bounced(way: Line) -> None:
    await delivered(way, "550 5.1.1 no such user", "c@sink.test")


async def database_away(way: Line) -> None:
    await way.stop()
    way.task = None
    path = way.world.config.server.data_dir / "posthouse.db"
    await way.world.storage._reader.dispose()
    path.rename(path.with_suffix(".gone"))
    path.mkdir()


CAUSES = {
    "PosthouseTurnsMailAway": refused_for_a_full_disk,
    "PosthouseDeliveriesDeferred": deferred,
    "PosthouseBounces": bounced,
    "PosthouseComplaints": complained,
    "PosthouseIncident": blamed,
    "PosthouseSuspension": suspended,
    "PosthouseLoginsRefused": guessed,
    "PosthouseCertificateExpires": old_certificate,
    "PosthouseWritesSlow": slow_disk,
    "PosthouseWebhooksFail": endpoint_away,
    "PosthouseQueueStands": waits_for_nobody,
    "PosthouseStorageDown": database_away,
}


def case(name: str, before: Scrape, after: Scrape) -> dict[str, Any]:
    """A case for promtool: an hour as it was, then an hour in which the cause happens each minute as it did once."""
    series = []
    for one, now in after.items():
        was = before.get(one, 0.0)
        counted = re.search(r"_(total|bucket|count|sum)\{", one)
        if one.startswith("posthouse_certificate"):
            # promtool's clock begins at 0.
            was, now = was - time.time(), now - time.time()
        then = f"{now}+{now - was}x60" if counted else f"{now}x60"
        series.append({"series": one, "values": f"{was}x60 {then}"})
    firing = [{"labels": "{}", "value": 1}]
    return {
        "interval": "1m", "input_series": series,
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": when,
                "exp_samples": firing if when != "50m" else [],
            }
            for when in ("50m", "80m" if name == "PosthouseSuspension" else "120m")
        ],
    }


def rules() -> list[str]:
    return [r["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]


async def dropped_lines(config: Config, scrape: Any) -> tuple[Scrape, Scrape]:
    """Before and after standard error stood still."""
    stderr = sys.stderr
    read, write = os.pipe()
    sys.stderr = stream = os.fdopen(write, "w")
    configure(config)
    try:
        with in_background(config):
            before = await scrape()
            log = structlog.get_logger()
            for n in range(3_000):
                log.info("x", n=n, filler="x" * 100)
            after = await scrape()
            os.close(read)
    finally:
        sys.stderr = stderr
        stream.close()
        plain_log()
    return before, after


async def test_each_alert_fires_when_its_cause_happens_and_not_before(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    config = make_config(tmp_path, log={"queue_bytes": 100_000, "close_seconds": 1})
    cases = []
    async with line(config) as way:
        way.world.alice = await way.world.member("alice")  # type: ignore[attr-defined]
        await way.world.domain(way.world.alice)  # type: ignore[attr-defined]
        folder = config.server.data_dir
        make_self_signed(folder / MADE_CERT, folder / MADE_KEY, "relay.test", time.time())
        Certificate(folder / MADE_CERT, folder / MADE_KEY, way.world.clock)
        async with scraped(way) as scrape:
            cases.append(case("PosthouseLogDropped", *await dropped_lines(config, scrape)))
            for name, happens in CAUSES.items():
                if name == "PosthouseQueueStands" and way.task is not None:
                    await way.stop()
                    way.task = None
                before = await scrape()
                await happens(way)
                after = await scrape()
                cases.append(case(name, before, after))
    # PostgreSQL's own: tests/storage/test_feed.py holds a transaction open and sees its age.
    held = {"posthouse_storage_open_transaction_seconds{}": 90.0}
    cases.append(case("PosthouseTransactionOpen", after | dict.fromkeys(held, 0.0), after | held))
    cases.append(case("PosthouseSilent", {}, {}))
    cases[-1]["promql_expr_test"] = cases[-1]["promql_expr_test"][1:]
    assert {*CAUSES, "PosthouseLogDropped", "PosthouseSilent", "PosthouseTransactionOpen"} == set(rules())
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    for command in (["check", "rules", RULES], ["test", "rules", tmp_path / "tests.yml"]):
        said = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_every_query_of_the_dashboard_and_the_rules_finds_its_metric() -> None:
    described = set(re.findall(r"`(posthouse_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    board = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    queries = [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    queries += [r["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for q in queries for name in re.findall(r"posthouse_\w+", q)}
    assert asked - described == set()
    assert described - asked == set(), "what nobody shows, nobody sees"


def test_the_page_about_metrics_is_the_truth() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert page == metrics.document(), "docs/metrics.md is generated: python -m relay.base.metrics > docs/metrics.md"
