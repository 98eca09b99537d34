"""The log: what an operator finds in a line, and what nobody finds there."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from relay.base.log import configure
from tests.kit.plain_log import plain_log
from tests.kit.storage import make_config

KEY = "ph_abcdefghijkl_" + "A" * 43


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, mail_level = root.handlers[:], root.level, logging.getLogger("mail.log").level
    yield
    plain_log()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("mail.log").setLevel(mail_level)


def lines(tmp_path: Path, **settings: object) -> tuple[io.StringIO, structlog.BoundLogger]:
    out = io.StringIO()
    configure(make_config(tmp_path, log=settings), out)
    return out, structlog.get_logger()


def test_an_event_is_one_json_line(tmp_path: Path) -> None:
    out, log = lines(tmp_path)
    log.info("message.accepted", queue_id="q1", subject="a\r\nEvil: b", ehlo="x\x7f\x85\u2028\u202ey")
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.isascii()
    assert "\x7f" not in text
    line = json.loads(text)
    assert (line["event"], line["level"], line["queue_id"]) == ("message.accepted", "info", "q1")
    assert line["subject"] == "a\r\nEvil: b"


def test_no_secret_is_written(tmp_path: Path) -> None:
    out, log = lines(tmp_path)
    log.warning(
        "x", password="hunter2", nested={"api_key": "s3cret", "fine": 1}, said=f"AUTH with {KEY}",
        header="Authorization: Bearer abcdefghijklmnopqrstuvwxyz", url="postgresql://mail:pw123@db/posthouse",
    )
    text = out.getvalue()
    for secret in ("hunter2", "s3cret", KEY, "abcdefghijklmnopqrstuvwxyz", "pw123"):
        assert secret not in text
    assert json.loads(text)["nested"]["fine"] == 1


def test_an_exception_shows_its_place_and_not_the_statement_s_values(tmp_path: Path) -> None:
    out, log = lines(tmp_path)
    try:
        try:
            raise OSError("disk")
        except OSError as e:
            raise RuntimeError("no\n[SQL: INSERT INTO x]\n[parameters: ('top secret body',)]") from e
    except RuntimeError:
        log.exception("storage.failed")
    line = json.loads(out.getvalue())
    assert line["exception"] == ["RuntimeError: no", "OSError: disk"]
    assert "test_log.py" in line["frames"][-1]
    assert "top secret body" not in out.getvalue()


def test_addresses_are_shortened_where_configured(tmp_path: Path) -> None:
    out, log = lines(tmp_path, shorten_addresses=True)
    log.info("x", to="alice.smith@example.org", many=["Bob <bob@b.example>"])
    line = json.loads(out.getvalue())
    assert line["to"] == "a***@example.org"
    assert line["many"] == ["Bob <b***@b.example>"]


def test_libraries_speak_the_same_way(tmp_path: Path) -> None:
    out, _ = lines(tmp_path)
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if type(h).__module__ == "relay.base.log"]
    logging.getLogger("aiohttp.server").error("bad %s", "thing\n")
    logging.getLogger("mail.log").warning("client said %s", "secret words")
    logging.getLogger("some").error("broken %d", "not a number")
    first, second = (json.loads(x) for x in out.getvalue().splitlines())
    assert (first["event"], first["message"]) == ("aiohttp.server", "bad thing\n")
    assert second["event"] == "log.failed"


def test_level_and_console(tmp_path: Path) -> None:
    out, log = lines(tmp_path, level="warning", format="console")
    log.info("quiet")
    log.warning("loud", said="a\nb\x1b[31m")
    assert out.getvalue().count("\n") == 1
    assert "loud" in out.getvalue()
    assert "\\x1b[31m" in out.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    out, log = lines(tmp_path)
    out.close()
    log.error("still here")
