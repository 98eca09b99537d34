"""Keeping what reports say, by day: where they are about a domain of a member, and once each.

Whoever sends a report may write into it what he likes. `Reported.proved` is the domain that its mail proved to come
from, by DKIM or SPF in alignment with its From; rows of reports that proved none are kept apart from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from relay.aggregate.read import BadReport, Bounds, DmarcReport, TlsReport, read
from relay.base.clock import DAY, Clock, utc_day
from relay.base.config import Config
from relay.base.storage import Storage, Tx, aggregate

log = structlog.get_logger("aggregate")
_INLINE_BYTES = 4096
_AHEAD = DAY  # clocks differ, and days begin earlier elsewhere


@dataclass(frozen=True, slots=True)
class Reported:
    """A mail with reports: the octets of its parts, and the domain that it proved to come from, "" for none."""

    parts: Sequence[bytes]
    proved: str
    client: str


class AggregateRecords:
    """Reads and keeps."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        a = config.aggregate_reports
        self._bounds = Bounds(a.max_bytes, a.max_ratio, a.max_depth, a.max_rows)

    async def take(self, reported: Reported) -> int:
        """Keep the reports of one mail; returns how many were new and about a member's domain. Raises StorageError."""
        kept = 0
        for part in reported.parts:
            try:
                found = read(part, self._bounds) if len(part) < _INLINE_BYTES else await asyncio.to_thread(
                    read, part, self._bounds
                )
            except BadReport as e:
                log.info("aggregate.unreadable", client=reported.client, proved=reported.proved, cause=str(e))
                continue
            for report in found:
                kept += await self._keep(report, reported)
        return kept

    async def _keep(self, report: DmarcReport | TlsReport, reported: Reported) -> bool:
        now = self._clock.now()
        oldest = now - self._config.retention.log_days * DAY
        facts = {
            "client": reported.client, "proved": reported.proved, "domain": report.domain, "report": report.report_id,
        }
        if not oldest <= report.begins_at <= now + _AHEAD:
            log.info("aggregate.not_kept", cause="of another time", **facts)
            return False

        async def write(tx: Tx) -> str:
            domain_id = await aggregate.whose(tx, report.domain)
            if domain_id is None:
                return "no domain of a member"
            head = aggregate.Head(
                domain_id, "dmarc" if isinstance(report, DmarcReport) else "tls", reported.proved,
                reported.proved or report.organization, report.report_id, utc_day(report.begins_at), now,
            )
            if not await aggregate.begin(tx, head):
                return "came before"
            cut = await aggregate.keep(tx, head, _rows(report), self._config.aggregate_reports.max_rows_a_day)
            return f"{cut} rows too many" if cut else ""

        said = await self._storage.write(write)
        log.info("aggregate.not_kept" if said else "aggregate.kept", cause=said, **facts)
        return not said


def _rows(report: DmarcReport | TlsReport) -> list[dict[str, Any]]:
    """As the tables have them, equal ones added up."""
    summed: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in report.rows:
        if isinstance(report, DmarcReport):
            key: tuple[Any, ...] = (row.address, row.dkim, row.spf, row.disposition)  # type: ignore[union-attr]
            values = {
                "address": row.address, "dkim": row.dkim, "spf": row.spf,  # type: ignore[union-attr]
                "disposition": row.disposition, "signed_by": row.signed_by,  # type: ignore[union-attr]
            }
        else:
            key = (row.policy, row.result, row.host)  # type: ignore[union-attr]
            values = {"policy": row.policy, "result": row.result, "host": row.host}  # type: ignore[union-attr]
        one = summed.setdefault(key, {**values, "n": 0})
        one["n"] += row.count
    return list(summed.values())
