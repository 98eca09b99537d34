"""What this process counts, for Prometheus: every counter and histogram in one table, with its sentence.

One registry a process, as the client library has it: who does a thing counts it, without handing a counter through
all that stands between. Labels take few values, never one that a client can invent. Gauges of what is kept (queue,
members, webhooks) are measured when somebody asks, by `relay.monitor`. `docs/metrics.md` is made from these lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily

from relay.base.log import lines_dropped

REGISTRY = CollectorRegistry()

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TRY = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_WAY = (0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 432000.0)


class _Counter(Counter):
    """A counter that finds the child of its labels by one look: the library's own way takes a lock and makes text."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._known: dict[tuple[Any, ...], Self] = {}
        super().__init__(*args, **more)

    def labels(self, *values: Any, **named: Any) -> Self:
        """As the library's; quick by position."""
        if named:
            return super().labels(*values, **named)
        child = self._known.get(values)
        if child is None:
            child = self._known[values] = super().labels(*values)
        return child


def _counter(name: str, says: str, *labels: str) -> Counter:
    return _Counter(f"posthouse_{name}", says, labels, registry=REGISTRY)


def _gauge(name: str, says: str, *labels: str) -> Gauge:
    return Gauge(f"posthouse_{name}", says, labels, registry=REGISTRY)


def _histogram(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"posthouse_{name}", says, labels, registry=REGISTRY, buckets=buckets)


BUILD = Info("posthouse_build", "The version that runs, its Python and its database.", registry=REGISTRY)

# In.
ACCEPTED = _counter("messages_accepted", "Messages on disk and acknowledged, by way in.", "door")
TAKEN = _counter("recipients_accepted", "Recipients of accepted messages, by way in.", "door")
REPEATED = _counter("messages_repeated", "Messages that came again, of which nothing was new.")
REFUSED = _counter("refusals", "Refusals, by listener and by name in docs/replies.md.", "listener", "reply")
LOGINS = _counter(
    "logins", 'Logins, by credential (key, password) and result: "ok", or the refusal by its name or code in '
    "docs/replies.md.", "credential", "result",
)  # fmt: skip
SESSIONS = _counter("sessions", "SMTP sessions begun.", "listener")
SESSIONS_OPEN = _gauge("sessions_open", "SMTP sessions open now.", "listener")
REQUESTS = _counter("http_requests", "HTTP requests.", "method", "route", "status")
REQUEST_SECONDS = _histogram("http_seconds", "Duration of HTTP requests.", _FAST, "route")

# Out.
QUEUE = _gauge("queue_recipients", "Recipients waiting.", "state")
OLDEST_DUE = _gauge("queue_oldest_due_seconds", "How long the oldest due recipient has been due.")
DELIVERIES = _counter("deliveries", "Settled tries, each of one recipient, by what became of it.", "state")
SITES = _gauge("sites", "Receiving sites that are paused or slowed.", "state")
SITE_LANES = _gauge(
    "site_lanes", 'Lanes of a receiving site, by name; those without one together as "other": "limit" as it is now, '
    '"used" given out, "waiting" wanted besides.', "site", "lanes",
)  # fmt: skip
SITE_PAUSED = _gauge(
    "site_paused_until_seconds", "Until when a receiving site is paused, Unix time; +Inf: by the operator.", "site"
)
TRY_SECONDS = _histogram("delivery_seconds", "Duration of one try.", _TRY)
TLS_SESSIONS = _counter(
    "tls_sessions", "TLS sessions with mail exchangers, by the policy that held and the result.", "policy", "result"
)
WAY_SECONDS = _histogram(
    "acceptance_to_delivery_seconds", "From our acceptance of a message to a host's acceptance for one recipient.", _WAY
)

# What comes of it.
BOUNCES = _counter(
    "bounces", 'Recipients that bounced, by class and by when: "at once" in the session, or "late" by a report.',
    "class", "when",
)  # fmt: skip
COMPLAINTS = _counter("complaints", "Complaints read, by whether somebody vouches for them.", "vouched")
MEMBERS = _gauge("members", "Members by status; a suspended one sends nothing.", "status")
DOMAINS = _gauge("domains", "Domains by state.", "state")
INCIDENTS = _gauge("incidents_open", "Faults of the relay itself, as other hosts told it, that are open.")
DNS_CHECKS = _counter(
    "dns_checks", "Records of members' domains looked up, by kind of record and by what was found.", "record", "result"
)
WEBHOOKS = _counter("webhook_posts", "Posts to members' webhooks, by class of status.", "result")
WEBHOOKS_WAITING = _gauge("webhooks_waiting", "Events that wait to be posted.")
WEBHOOKS_FAILING = _gauge("webhooks_failing", "Endpoints that refused or did not answer last time, or are disabled.")

# The process and its database.
CERTIFICATE_EXPIRES = _gauge("certificate_expires_seconds", "When the certificate in use expires, Unix time.")
STORAGE_UP = _gauge("storage_up", "1 when storage answers.")
STORAGE_OPEN = _gauge("storage_open_transaction_seconds", "Age of the oldest transaction that writes (PostgreSQL).")
BACKLOG = _gauge("storage_backlog", "Writes waiting for a transaction.")
WRITE_SECONDS = _histogram("storage_write_seconds", "From asking for a write to its commit on disk.", _FAST)


class _Dropped:
    """What the log's own thread counts."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        """As the registry asks."""
        says = "Lines of the log that were dropped because nobody read it."
        yield CounterMetricFamily("posthouse_log_dropped_lines", says, value=lines_dropped())


def document() -> str:
    """docs/metrics.md: every metric, for people."""
    rows = []
    for family in REGISTRY.collect():
        if family.name.startswith("posthouse_"):
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            rows.append((name, family.type, ", ".join(_labels(family.name)), family.documentation))
    lines = [
        "# Metrics", "",
        "Made from `relay/base/metrics.py`; do not edit. `python -m relay.base.metrics > docs/metrics.md` writes it "
        "again.", "",
        "`GET /metrics` answers to `metrics.networks` in Prometheus' text format, or as OpenMetrics to who asks for "
        "it. Counters and histograms are those of one process: scrape every process that has the role `http`, and "
        "sum. Gauges of what is kept in the database (queue, members, domains, webhooks, incidents) are the same at "
        "each: take the largest. Beside these stand the client library's `process_` and `python_gc_` metrics.", "",
        "`deploy/grafana-dashboard.json` shows them, `deploy/prometheus-alerts.yml` holds rules for alerts; both "
        "expect nothing but these names.", "",
        "| metric | type | labels | meaning |", "|---|---|---|---|",
        *(f"| `{name}` | {kind} | {labels} | {says} |" for name, kind, labels, says in sorted(rows)),
    ]
    return "\n".join(lines) + "\n"


def _labels(name: str) -> tuple[str, ...]:
    found = REGISTRY._names_to_collectors.get(name)
    return tuple(getattr(found, "_labelnames", ()))


REGISTRY.register(_Dropped())
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

if __name__ == "__main__":
    sys.stdout.write(document())
