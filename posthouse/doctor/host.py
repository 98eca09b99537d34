"""The machine: Python, files, disk, clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import ssl
import stat
import sys

from posthouse.check_config import GROUP_MAY_READ, NOBODY_ELSE
from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from relay.base.clock import iso
from relay.base.storage import StorageError, operator_queries
from relay.base.storage.location import place

# Two fixes of the email package (encoded words that end a header line) are in these; Posthouse doesn't meet the fault.
PYTHON_WANTED = {11: (3, 11, 10), 12: (3, 12, 5)}
_TIME_ERROR = 5
_TIMEX_BYTES = 256


async def versions(patient: Patient) -> list[Finding]:
    """Python and OpenSSL."""
    wanted = PYTHON_WANTED.get(sys.version_info[1])
    running = ".".join(map(str, sys.version_info[:3]))
    if wanted and sys.version_info[:3] < wanted:
        fix = f"upgrade to Python {'.'.join(map(str, wanted))} or later at the next opportunity"
        return [Finding("python", WARN, f"Python {running} has CVE-2024-6923 in its email package", fix)]
    return [Finding("python", OK, f"Python {running}, {ssl.OPENSSL_VERSION}")]


async def secrets(patient: Patient) -> list[Finding]:
    """The files that must be nobody else's."""
    config = patient.config
    key = config.master_key_path
    if not key.exists():
        return []  # `master key` says so
    found = []
    database = place(config).file
    for name, path, mask in (
        ("master key", key, NOBODY_ELSE), ("database file", database, NOBODY_ELSE),
        ("tls key", config.tls.key_file or None, GROUP_MAY_READ),
    ):
        mode = _mode(path) if path is not None else 0
        if mode & mask:
            found.append(Finding(name, FAIL, f"{path} is readable by others (mode {mode:04o})", f"chmod 600 {path}"))
    return found or [Finding("secrets", OK, "keys and database are readable by this user only")]


def _mode(path: str | os.PathLike[str]) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0


async def operator(patient: Patient) -> list[Finding]:
    """Whether somebody reads what is written to the relay itself."""
    server, roles = patient.config.server, patient.config.roles
    if not server.operator_email:
        inbound = "mail for postmaster@ and abuse@ is refused, and " if "inbound" in roles else ""
        fix = 'set operator_email = "you@example.org" under [server], a mailbox that is not behind this relay'
        says = f"server.operator_email is empty: {inbound}alerts go only to the log"
        return [Finding("operator mailbox", WARN, says, fix)]
    return [Finding("operator mailbox", OK, server.operator_email)]


async def disk(patient: Patient) -> list[Finding]:
    """Room for the database and for what is being accepted."""
    where = place(patient.config).file
    folder = where.parent if where is not None else patient.config.server.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    saw = f"{usage.free / 1024**3:.1f} GiB free at {folder}"
    limits = patient.limits
    fix = f"free up space at {folder}, or shorten retention.log_days and retention.bodies_days"
    if usage.free < limits.free_bytes_fail:
        return [Finding("disk", FAIL, saw, fix)]
    if usage.free < limits.free_bytes_warn and usage.free < usage.total * limits.free_share_warn:
        return [Finding("disk", WARN, saw, fix)]
    return [Finding("disk", OK, saw)]


async def clock(patient: Patient) -> list[Finding]:
    """Signatures, certificates and retries all live by it."""
    found = []
    now = patient.clock.now()
    newest = None
    if patient.storage is not None:
        try:
            async with patient.storage.read() as tx:
                newest = (await operator_queries.health(tx, now)).newest_at
        except StorageError:
            newest = None
    if newest is not None and newest > now + patient.limits.future_seconds:
        saw = f"it is {iso(now)}, but the newest message is from {iso(newest)}"
        found.append(Finding("clock", FAIL, saw, "set the clock: timedatectl set-ntp true"))
    synchronised = _synchronised()
    if synchronised is False:
        saw = "the kernel reports that the clock is not synchronised"
        found.append(Finding("clock synchronisation", WARN, saw, "timedatectl set-ntp true"))
    return found or [Finding("clock", OK, f"{iso(now)}{', synchronised' if synchronised else ''}")]


def _synchronised() -> bool | None:
    """What the kernel says of its clock (adjtimex(2)); None where it can't be asked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)
