"""The tables, once, for both engines. Times are Unix seconds (UTC) as doubles; ids rise and are never used twice.

One storage module writes each table. The shape in the database is made by `migrations/`; a test holds the two
together.
"""

from relay.base.storage.tables.aggregate import aggregate_reports, dmarc_days, tls_days
from relay.base.storage.tables.delivery import destinations, site_shares, sites
from relay.base.storage.tables.enrolled import api_keys, dkim_keys, domains, invites, members, sessions
from relay.base.storage.tables.ground import FINISHED, HAPPENED_AFTERWARDS, HAS_BYTES, OPEN, Id, metadata
from relay.base.storage.tables.mailed import (
    allowances,
    attempts,
    bodies,
    daily_pending,
    daily_stats,
    heads,
    idempotency,
    key_use,
    messages,
    recipients,
    refusals,
    suppressions,
)
from relay.base.storage.tables.outbound_tls import sts_policies, tls_reports, tls_sessions, tls_totals
from relay.base.storage.tables.senders import (
    sender_codes,
    sender_details,
    sender_emails,
    transmission_contents,
    transmission_recipients,
    transmissions,
)
from relay.base.storage.tables.shared import (
    beside,
    directory_changes,
    duties,
    events,
    master_key,
    versions,
    webhook_deliveries,
    webhooks,
)
from relay.base.storage.tables.standing import (
    conduct_days,
    incidents,
    standing_counts,
    standing_cursor,
    standing_failures,
    standings,
)  # fmt: skip

__all__ = [
    "FINISHED",
    "HAPPENED_AFTERWARDS",
    "HAS_BYTES",
    "OPEN",
    "Id",
    "aggregate_reports",
    "allowances",
    "api_keys",
    "attempts",
    "beside",
    "bodies",
    "conduct_days",
    "daily_pending",
    "daily_stats",
    "destinations",
    "directory_changes",
    "dkim_keys",
    "dmarc_days",
    "domains",
    "duties",
    "events",
    "heads",
    "idempotency",
    "incidents",
    "invites",
    "key_use",
    "master_key",
    "members",
    "messages",
    "metadata",
    "recipients",
    "refusals",
    "sender_codes",
    "sender_details",
    "sender_emails",
    "sessions",
    "site_shares",
    "sites",
    "standing_counts",
    "standing_cursor",
    "standing_failures",
    "standings",
    "sts_policies",
    "suppressions",
    "tls_days",
    "tls_reports",
    "tls_sessions",
    "tls_totals",
    "transmission_contents",
    "transmission_recipients",
    "transmissions",
    "versions",
    "webhook_deliveries",
    "webhooks",
]
