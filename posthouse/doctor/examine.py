"""All examinations, side by side, each with its own time; none can stop another."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Collection, Mapping

from posthouse.doctor import host, network, state, tls
from posthouse.doctor.finding import WARN, Finding, Limits, Patient
from posthouse.wiring import resolver_of
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import Storage, StorageError
from relay.base.storage.location import place

Examination = Callable[[Patient], Awaitable[list[Finding]]]
EXAMINATIONS: Mapping[str, Examination] = {
    "versions": host.versions,
    "secrets": host.secrets,
    "master key": state.master_key,
    "operator": host.operator,
    "disk": host.disk,
    "clock": host.clock,
    "tls": tls.tls,
    "database": state.database,
    "queue": state.queue,
    "workers": state.workers,
    "incidents": state.incidents,
    "sites": state.sites,
    "resolver": network.resolver,
    "dnssec": tls.dnssec,
    "names": network.own_names,
    "ptr": network.reverse_names,
    "spf": network.spf_records,
    "blocklists": network.blocklists,
    "inbound tls": tls.own_tls,
    "hosted zone": network.hosted_zone,
    "dmarc reports": network.report_address,
    "port 25 out": network.port_25,
}


async def examine(
    config: Config, *, only: Collection[str] = (), limits: Limits | None = None, clock: Clock | None = None,
    storage: Storage | None = None, resolver: Resolver | None = None, tasks: Mapping[str, str] | None = None,
) -> list[Finding]:
    """The findings, in the order of `EXAMINATIONS`; `only` names some of them.

    What is handed in is used and left open; what isn't is opened and closed here. Raises ValueError for an unknown
    name in `only`.
    """
    unknown = set(only) - set(EXAMINATIONS)
    if unknown:
        raise ValueError(f"no check {min(unknown)!r}: {', '.join(EXAMINATIONS)}")
    limits, clock = limits or Limits(), clock or Clock()
    async with contextlib.AsyncExitStack() as stack:
        if resolver is None:
            resolver = resolver_of(config)
            stack.push_async_callback(resolver.close)
        trouble = ""
        if storage is None:
            storage, trouble = await _opened(config)
            if storage is not None:
                stack.push_async_callback(storage.close)
        patient = Patient(config, clock, limits, resolver, storage, trouble, tasks or {})
        chosen = [(n, e) for n, e in EXAMINATIONS.items() if not only or n in only]
        found = await asyncio.gather(*(_one(name, examination, patient) for name, examination in chosen))
    return [finding for part in found for finding in part]


async def _opened(config: Config) -> tuple[Storage | None, str]:
    file = place(config).file
    if file is not None and not os.path.exists(file):  # noqa: ASYNC240 (one look)
        return None, f"{file} is not there yet"
    try:
        return await Storage.open(config), ""
    except (StorageError, OSError) as e:
        return None, str(e).partition("\n")[0][:200]


async def _one(name: str, examination: Examination, patient: Patient) -> list[Finding]:
    try:
        async with asyncio.timeout(patient.limits.seconds):
            return await examination(patient)
    except TimeoutError:
        saw = f"not done within {patient.limits.seconds:g} s"
        return [Finding(name, WARN, saw, f"posthouse doctor --only '{name}'")]
    except Exception as e:
        return [Finding(name, WARN, f"could not be checked ({type(e).__name__})", "see the log")]
