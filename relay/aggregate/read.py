"""A file that came by mail → a report of DMARC or TLS, or `BadReport` with what is wrong with it. Pure.

Promises: memory bounded by `Bounds.size`, however it is packed; no document type and so no entity is ever read; a
report is taken whole or not at all. Names are A-labels, addresses in their one form, counts not negative.
"""

from __future__ import annotations

import io
import ipaddress
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.parsers import expat

from relay.base import names
from relay.base.clock import DAY
from relay.base.web.body import json_value
from relay.replies import Refused

_CHUNK = 65_536
_MEMBERS = 20
_TEXT = 1000
_ELEMENTS = 500
_LONGEST_DAYS = 8  # of what one report is about
_MOST = 10**10
_BOM = b"\xef\xbb\xbf"
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class BadReport(Exception):
    """It can't be read as a report: `args[0]` says why, for the log."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Octets unpacked, growth, nesting and rows of one report at most."""

    size: int
    ratio: int
    depth: int
    rows: int


@dataclass(frozen=True, slots=True)
class DmarcRow:
    """What one address sent. `dkim`, `spf`: whether it passed in alignment; `signed_by`: the domain that DKIM, else
    SPF, proved, "" for none."""

    address: str
    count: int
    disposition: str
    dkim: bool
    spf: bool
    signed_by: str = ""


@dataclass(frozen=True, slots=True)
class TlsRow:
    """Sessions under one policy with one result: `success`, or the kind of failure. `host`: the exchanger, or ""."""

    policy: str
    result: str
    host: str
    count: int


@dataclass(frozen=True, slots=True)
class DmarcReport:
    """A receiver's day. `domain` is the one whose policy applied; times in Unix seconds."""

    organization: str
    report_id: str
    domain: str
    begins_at: float
    ends_at: float
    rows: tuple[DmarcRow, ...]


@dataclass(frozen=True, slots=True)
class TlsReport:
    """A sender's day of connections to `domain`'s exchangers. Times in Unix seconds."""

    organization: str
    report_id: str
    domain: str
    begins_at: float
    ends_at: float
    rows: tuple[TlsRow, ...]


def read(octets: bytes, bounds: Bounds) -> list[DmarcReport | TlsReport]:
    """The reports in a file: one of DMARC, or one of TLS for each domain that it tells of. Raises BadReport."""
    text = _unpacked(octets, bounds).removeprefix(_BOM).strip()
    if text[:1] == b"{":
        return list(_tls(text, bounds))
    if text[:1] == b"<" or text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [_dmarc(text, bounds)]
    raise BadReport("neither XML nor JSON")


# -- unpacking ------------------------------------------------------------------------------------------------------


def _unpacked(octets: bytes, bounds: Bounds) -> bytes:
    if octets[:2] == b"\x1f\x8b":
        return _gunzipped(octets, bounds)
    if octets[:4] == b"PK\x03\x04":
        return _unzipped(octets, bounds)
    if len(octets) > bounds.size:
        raise BadReport(f"larger than {bounds.size} octets")
    return octets


def _limit(packed: int, bounds: Bounds) -> int:
    return min(bounds.size, packed * bounds.ratio)


def _gunzipped(octets: bytes, bounds: Bounds) -> bytes:
    limit, out, rest = _limit(len(octets), bounds), bytearray(), octets
    try:
        # RFC 1952 §2.2: a file may have several members.
        while rest[:2] == b"\x1f\x8b":
            packed = zlib.decompressobj(wbits=31)
            out += packed.decompress(rest, limit + 1 - len(out))
            if len(out) > limit:
                raise BadReport(f"unpacks to more than {limit} octets")
            if not packed.eof:
                raise BadReport("the gzip file is cut short")
            rest = packed.unused_data
    except zlib.error:
        raise BadReport("a broken gzip file") from None
    return bytes(out)


def _unzipped(octets: bytes, bounds: Bounds) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if not 0 < len(members) <= _MEMBERS:
                raise BadReport(f"a zip file of {len(members)} files")
            chosen = next((m for m in members if m.filename.lower().endswith((".xml", ".json"))), members[0])
            if chosen.flag_bits & 1 or chosen.compress_type not in _UNPACKED:
                raise BadReport("a zip file that is encrypted or packed in another way")
            # What the directory says of its size may be a lie.
            limit, out = _limit(min(len(octets), max(1, chosen.compress_size)), bounds), bytearray()
            with archive.open(chosen) as member:
                while chunk := member.read(_CHUNK):
                    out += chunk
                    if len(out) > limit:
                        raise BadReport(f"unpacks to more than {limit} octets")
            return bytes(out)
    except BadReport:
        raise
    except Exception as e:
        # zipfile raises whatever its helpers do: BadZipFile, EOFError, zlib.error, struct.error, OSError, ValueError.
        raise BadReport(f"a broken zip file ({type(e).__name__})") from None


# -- DMARC ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """An element that has begun: its text, and the elements within it."""

    name: str
    text: list[str] = field(default_factory=list)
    size: int = 0
    children: list[_Node] = field(default_factory=list)

    def first(self, *path: str) -> _Node | None:
        """The first element at a path below it."""
        node: _Node | None = self
        for name in path:
            node = next((c for c in node.children if c.name == name), None) if node else None
        return node

    def words(self, *path: str) -> str:
        """The text of the first element at a path below it, "" without one."""
        found = self.first(*path)
        return "".join(found.text).strip() if found else ""


class _Reader:
    """Reads a report with expat, within bounds: `rows` of its records, and the tree of all else."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._open: list[_Node] = []
        self._elements = 0  # in this record, or beside the records
        self.rows: list[DmarcRow] = []
        self.root: _Node | None = None

    def parse(self, text: bytes) -> _Node:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        # Entities are declared in a document type, and reports have none: with it falls every trick that needs them.
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.buffer_text = True
        try:
            parser.Parse(text, True)
        except expat.ExpatError as e:
            raise BadReport(f"not well-formed XML (line {e.lineno})") from None
        except (ValueError, LookupError):
            raise BadReport("XML in an encoding that can't be read") from None
        assert self.root is not None
        return self.root

    def _doctype(self, *_: Any) -> None:
        raise BadReport("XML with a document type")

    def _start(self, name: str, _: dict[str, str]) -> None:
        # Reports of RFC 9990 have a namespace, older ones none; some have a prefix.
        node = _Node(name.rpartition(":")[2].lower())
        self._elements += 1
        if len(self._open) >= self._bounds.depth:
            raise BadReport(f"XML nested deeper than {self._bounds.depth}")
        if self._elements > _ELEMENTS:
            raise BadReport(f"more than {_ELEMENTS} elements in a row, or beside the rows")
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def _end(self, _: str) -> None:
        node = self._open.pop()
        if node.name == "record" and len(self._open) == 1:
            if len(self.rows) >= self._bounds.rows:
                raise BadReport(f"more than {self._bounds.rows} rows")
            self.rows.append(_dmarc_row(node))
            # What has been read is not held any longer: a report may have many.
            self._open[-1].children.pop()
            self._elements = 0

    def _data(self, text: str) -> None:
        node = self._open[-1]
        if node.size < _TEXT:
            node.text.append(text[:_TEXT])
            node.size += len(text)


def _dmarc(text: bytes, bounds: Bounds) -> DmarcReport:
    reader = _Reader(bounds)
    root = reader.parse(text)
    if root.name != "feedback":
        raise BadReport("XML that is no report")
    begins, ends = (_number(root.words("report_metadata", "date_range", name)) for name in ("begin", "end"))
    if not reader.rows:
        raise BadReport("a report without rows")
    return DmarcReport(
        _line(root.words("report_metadata", "org_name")), _report_id(root.words("report_metadata", "report_id")),
        _domain(root.words("policy_published", "domain")), *_span(begins, ends), tuple(reader.rows),
    )


def _dmarc_row(record: _Node) -> DmarcRow:
    row = record.first("row") or _Node("")
    passed = {name: row.words("policy_evaluated", name).lower() == "pass" for name in ("dkim", "spf")}
    proved = [
        _line(result.words("domain")).lower()
        for kind in ("dkim", "spf")
        for result in (record.first("auth_results") or _Node("")).children
        if result.name == kind and result.words("result").lower() == "pass"
    ]
    disposition = row.words("policy_evaluated", "disposition").lower() or "none"
    return DmarcRow(
        _address(row.words("source_ip")), _number(row.words("count")),
        disposition if disposition in ("none", "pass", "quarantine", "reject") else "other",
        passed["dkim"], passed["spf"], next((one[:253] for one in proved if one), ""),
    )


# -- TLS ------------------------------------------------------------------------------------------------------------


def _tls(text: bytes, bounds: Bounds) -> list[TlsReport]:
    try:
        # Some two dozen values a policy and a failure.
        value = json_value(text, depth=bounds.depth, values=40 * bounds.rows)
        span = value["date-range"]
        begins, ends = (_moment(span[name]) for name in ("start-datetime", "end-datetime"))
        organization, report_id = _line(str(value.get("organization-name", ""))), _report_id(str(value["report-id"]))
        found: dict[str, list[TlsRow]] = {}
        for one in value["policies"]:
            policy = one["policy"]
            rows = found.setdefault(_domain(str(policy["policy-domain"])), [])
            rows += _tls_rows(_word(str(policy["policy-type"])), one)
    except Refused:
        raise BadReport("not the JSON of a report, or too much of it") from None
    except (KeyError, TypeError, AttributeError):
        raise BadReport("JSON that is no report") from None
    if sum(map(len, found.values())) > bounds.rows:
        raise BadReport(f"more than {bounds.rows} rows")
    return [
        TlsReport(organization, report_id, domain, *_span(begins, ends), tuple(rows)) for domain, rows in found.items()
    ]


def _tls_rows(policy: str, one: dict[str, Any]) -> list[TlsRow]:
    summary = one["summary"]
    rows = [TlsRow(policy, "success", "", _number(str(summary["total-successful-session-count"])))]
    failed = _number(str(summary["total-failure-session-count"]))
    for detail in one.get("failure-details") or ():
        count = _number(str(detail.get("failed-session-count", 0)))
        host = _line(str(detail.get("receiving-mx-hostname") or "")).lower()[:253]
        rows.append(TlsRow(policy, _word(str(detail["result-type"])), host, count))
        failed -= count
    if failed > 0:
        rows.append(TlsRow(policy, "unspecified", "", failed))
    return [row for row in rows if row.count]


# -- values ---------------------------------------------------------------------------------------------------------


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) <= _MOST):
        raise BadReport("a number that is none")
    return int(text)


def _moment(text: Any) -> int:
    try:
        at = datetime.fromisoformat(str(text))
        if at.tzinfo is None:
            raise BadReport("a time without an offset")
        return max(0, int(at.timestamp()))
    except (ValueError, OverflowError):
        raise BadReport("a time that is none") from None


def _span(begins: int, ends: int) -> tuple[float, float]:
    if not 0 <= ends - begins <= _LONGEST_DAYS * DAY:
        raise BadReport("a range of time that is none")
    return float(begins), float(ends)


def _domain(text: str) -> str:
    try:
        return names.domain(text.strip().rstrip("."))
    except names.BadName:
        raise BadReport("a domain that is none") from None


def _address(text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise BadReport("an address that is none") from None
    return str(getattr(found, "ipv4_mapped", None) or found)


def _word(text: str) -> str:
    word = text.strip().lower()
    return word if _WORD.fullmatch(word) else "other"


def _report_id(text: str) -> str:
    found = _line(text)
    if not found:
        raise BadReport("a report without an id")
    return found


def _line(text: str) -> str:
    """A text of theirs on one line, free of controls and cut: it is shown to people."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_TEXT]).split())[:255]
