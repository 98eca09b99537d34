"""The benchmark's own parts: what it compiles counts right, its ratios divide right, what is unsigned is noticed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench import dns, meter, report, returns, run, signatures, tools
from bench.tools import BenchError, Work
from bench.work import Result
from relay.base.netguard import EVERYWHERE
from relay.base.resolver import Answer, Resolver
from relay.bounces.parse import parse
from relay.bounces.record import judge

RESULT = Result(
    accept_rate=400.0, through_rate=390.0, cpu_ms=2.0, p50_ms=40.0, p99_ms=80.0, max_ms=90.0, open_p50_ms=5.0,
    memory_mb=100.0, largest_mb=100.0, processes=1, refused=0, lost=0, speed=1300.0, stolen_seconds=0.0,
    client_cpu_ms=0.1, fault="",
)  # fmt: skip


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
async def test_every_message_of_the_load_client_is_counted_by_the_sink(tmp_path: Path) -> None:
    try:
        programs = await tools.build(tmp_path)
    except BenchError as e:
        pytest.skip(str(e))
    async with tools.sink(programs, every=10) as sink:
        command = [str(programs.load), "-P", "-p", str(sink.port), "-c", "3", "-s", "2000", "-r", "2", "-H", "X-Dot: ."]
        many = json.loads(await tools.call([*command, "-n", "50"]))
        assert (many["accepted"], many["refused"], many["broken"]) == (50, 0, 0)
        assert 1 <= many["sessions"] <= 3  # the others may be done before the last one has begun
        assert await sink.arrived(50, seconds=5)
        assert 0 < many["p50_ms"] <= many["p99_ms"] <= many["max_ms"]
        one_each = json.loads(await tools.call([*command, "-n", "7", "-m", "1"]))
        assert (one_each["accepted"], one_each["sessions"]) == (7, 7)
        assert sink.messages == 57
        kept = sink.samples()
        assert len(kept) == 6
        assert b"X-Dot: .\r\n\r\n" in kept[0]
        assert len(kept[0].partition(b"\r\n\r\n")[2]) >= 2000
        # What the exchanger puts off is not accepted, and the client gives up.
        later = json.loads(await tools.call([*command, "-n", "1", "-d", "later.test", "-w", "0.2"], ok=(1,)))
        assert later["accepted"] == 0
        assert "451" in later["fault"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
async def test_a_rate_is_kept_and_the_sink_tells_who_wrote_to_whom(tmp_path: Path) -> None:
    try:
        programs = await tools.build(tmp_path)
    except BenchError as e:
        pytest.skip(str(e))
    async with tools.sink(programs, envelopes=True) as sink:
        command = [str(programs.load), "-P", "-p", str(sink.port), "-c", "4", "-n", "20", "-R", "100", "-d", "a.test"]
        said = json.loads(await tools.call(command))
        assert said["accepted"] == 20
        assert said["seconds"] >= 0.19  # the last of twenty is due then
        lines = sink.envelopes.read_text().splitlines()
        assert sorted(lines) == sorted(f"sender@example.test user{n}.0@a.test" for n in range(20))


@pytest.mark.parametrize("form", {f.name: f for f in returns.MIX}.values(), ids=lambda f: f.name)
def test_the_reports_of_the_benchmark_are_read_for_what_they_are(form: returns.Form) -> None:
    raw = returns.stuffed(form, 7, "b-abc@bounce.relay.test", "bob@far.test")
    report_ = parse(raw.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."))
    fate = report_.fate_of("bob@far.test")
    said = {"complaint": "complained", "auto_reply": "", "bounce": ""}[report_.kind]
    if fate is not None:
        said = "bounced" if judge(fate)[0] else "deferred"
    assert said == form.changes


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine was half as fast in the second round: the ratio of the medians would be another number.
    ours = [replace(RESULT, cpu_ms=2.0), replace(RESULT, cpu_ms=4.0), replace(RESULT, cpu_ms=2.2)]
    theirs = [replace(RESULT, cpu_ms=4.0), replace(RESULT, cpu_ms=8.0), replace(RESULT, cpu_ms=4.0)]
    data = report.summary({("sub-n", "a"): ours, ("sub-n", "b"): theirs}, {}, ["a"], ["b"])
    assert [row["median"]["cpu_ms"] for row in data["results"]] == [2.2, 4.0]
    [ratio] = data["ratios"]
    assert ratio["cpu_ms"] == 0.5
    assert ratio["accept_rate"] == 1.0
    text = report.table(data)
    assert "×0.50" in text
    assert "2.00 4.00 2.20" in text


def test_a_message_without_its_signatures_ends_the_run() -> None:
    with pytest.raises(BenchError, match="not \\['rsa-sha256'\\]"):
        signatures.check([b"From: a@b.test\r\n\r\nHi\r\n"], {}, ["rsa-sha256"])
    with pytest.raises(BenchError, match="no message"):
        signatures.check([], {}, [])


async def test_cpu_of_a_child_that_has_ended_still_counts() -> None:
    group = meter.Group("test")
    process = await asyncio.create_subprocess_exec(
        *group.enter(["/bin/sh", "-c", "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; read line"]),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    group.root(process.pid)
    assert process.stdin is not None
    try:
        async with asyncio.timeout(20):
            # The kernel tells nobody when a process has used some CPU.
            while group.cpu() < 0.02:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert process.pid in group.pids()
        assert meter.anonymous(process.pid) > 0
    finally:
        process.stdin.close()
        await process.wait()
        group.remove()


def test_memory_of_a_process_that_is_gone_is_none() -> None:
    assert meter.anonymous(2**22 + 1) == 0
    assert meter.anonymous(os.getpid()) > 1


async def test_the_benchmarks_dns_says_where_the_sink_is_and_what_was_published() -> None:
    async with dns.names() as names:
        names.publish("member.test", [("x.member.test", "TXT", "hello")])
        where = [f"127.0.0.1:{names.port}"]
        async with Resolver(where, authoritative_port=names.port, private_servers=EVERYWHERE) as resolver:
            found, text = await resolver.mx("sink.test"), await resolver.txt("x.member.test")
    assert isinstance(found, Answer)
    assert isinstance(text, Answer)
    assert found.exchanges() == ((10, "mx.sink.test"),)
    assert text.texts() == ("hello",)


@pytest.mark.parametrize(
    "wrong", [["--work", "nothing"], ["--peer", "exim"], ["--rounds", "0"], ["--processes", "x"], ["--messages", "1"]]
)
def test_an_option_out_of_bounds_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        run.arguments(wrong)
    assert e.value.code == 2
    assert "bench.run: error" in capsys.readouterr().err


def test_quick_is_one_small_round() -> None:
    a = run.arguments(["--quick"])
    assert (a.rounds, a.messages) == (1, 400)
    assert Work("x", 1).connections == 20
