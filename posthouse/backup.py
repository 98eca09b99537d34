"""One backup file, of either engine, for either engine.

A file is a compressed tar: `manifest.json`, one `tables/<name>.jsonl` a table, and, where a passphrase was given,
`master.key.sealed` and, while master keys change, `previous-<id>.key.sealed`. All rows come from one snapshot, so a
backup may be taken while mail flows. A master key never lies in the file in the clear: without a passphrase it stays
out, and the operator keeps a copy of it elsewhere, because without it sealed DKIM keys don't open and API keys don't
match.

Promises: the file appears whole (mode 0600) or not at all; a restore checks every byte before it touches the
database, writes in one transaction, and only into a database that nobody uses.

It is compressed by several threads: gzip members one after the other are one gzip file (RFC 1952 §2.2). The threads are
nice: what else runs on the machine goes first.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from posthouse.unlocking import refuse_other
from relay.base.clock import Clock, iso
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, archive

PIECE = 1 << 20
_LEVEL = 1  # most of a backup is base64, which higher levels make hardly smaller, and much later
_NICE = 10


class Packer:
    """Takes bytes by `write` and writes them, packed, to `out`. A context: its end writes what is left."""

    def __init__(self, out: IO[bytes], threads: int | None = None) -> None:
        """`threads`: as many as there are cores, if not given."""
        self._out = out
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="packing", initializer=_be_nice)
        self._piece = bytearray()
        self._packed: deque[Future[bytes]] = deque()

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._pack(bytes(self._piece))
                self._drain(0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, data: bytes) -> int:
        """Take `data`; what of it is packed already is written. Raises OSError."""
        self._piece += data
        while len(self._piece) >= PIECE:
            self._pack(bytes(self._piece[:PIECE]))
            del self._piece[:PIECE]
        return len(data)

    def _pack(self, piece: bytes) -> None:
        self._packed.append(self._pool.submit(gzip.compress, piece, _LEVEL, mtime=0))
        self._drain(2 * self._threads)

    def _drain(self, most: int) -> None:
        """Write what is first in line until at most so many pieces are in hand."""
        while len(self._packed) > most:
            self._out.write(self._packed.popleft().result())


def _be_nice() -> None:
    # On Linux each thread has a priority of its own; where it has none, there is none to change.
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


FORMAT = 1
MAX_LINE = 512 * 1024 * 1024
_SEALED = "master.key.sealed"
_OCTETS = b'{"b64":"%b"}'
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
_AAD = b"posthouse master key"
Progress = Callable[[str, int], None]
"""Told (table, rows so far) now and then."""


class BackupError(Exception):
    """The backup can't be made or used; the text is one clear line for the operator."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a backup, or what was restored."""

    path: Path
    made_at: str
    revision: str
    rows: dict[str, int]
    with_key: bool
    bytes: int
    previous_written: tuple[Path, ...] = ()
    """Where a restore put previous master keys that the configuration doesn't name."""
    previous_missing: tuple[str, ...] = ()
    """Ids of previous master keys of that time that are neither at hand nor in the backup."""


async def backup(
    config: Config, path: Path, clock: Clock, *, passphrase: str | None = None, overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Write a backup of everything in the database to `path`. Raises BackupError, StorageError, SecretsError."""
    if not overwrite:
        _must_be_new(path)
    vault = Vault.load(config.master_key_path, config.previous_key_paths)
    # A backup names the key that opens it.
    await refuse_other(config)
    storage = await Storage.open(config)
    partial = path.with_name(path.name + ".partial")
    try:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as out:
            with Packer(out) as packer, _stream(packer) as tar:
                manifest = await _write_tables(storage, tar, path.parent, progress)
                manifest |= {"format": FORMAT, "made_at": iso(clock.now()), "key_id": vault.key_id}
                manifest["previous_key_ids"] = [one.key_id for one in vault.previous]
                if passphrase is not None:
                    _add(tar, _SEALED, _seal(config.master_key_path.read_bytes(), passphrase))
                    for one, key_file in zip(vault.previous, config.previous_key_paths, strict=True):
                        _add(tar, _previous(one.key_id), _seal(key_file.read_bytes(), passphrase))
                _add(tar, "manifest.json", json.dumps(manifest, indent=1).encode())
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as e:
        raise BackupError(f"{path}: {e.strerror or e}") from None
    finally:
        partial.unlink(missing_ok=True)
        await storage.close()
    return _summary(path, manifest, passphrase is not None)


def _stream(packer: Packer) -> tarfile.TarFile:
    target: Any = packer  # of a stream tarfile wants `write` alone
    return tarfile.open(fileobj=target, mode="w|", bufsize=PIECE)


async def _write_tables(
    storage: Storage, tar: tarfile.TarFile, folder: Path, progress: Progress | None
) -> dict[str, Any]:
    tables = []
    async with storage.read() as tx:
        snapshot = await archive.begin(tx)
        for name, columns in snapshot.tables.items():
            with tempfile.TemporaryFile(dir=folder, buffering=PIECE) as spool:
                digest, count = hashlib.sha256(), 0
                async for row in archive.rows(tx, name):
                    line = _line(row)
                    digest.update(line)
                    spool.write(line)
                    count += 1
                    if progress is not None and count % 200 == 0:
                        progress(name, count)
                info = tarfile.TarInfo(f"tables/{name}.jsonl")
                info.size, info.mode = spool.tell(), 0o600
                spool.seek(0)
                tar.copybufsize = PIECE  # type: ignore[attr-defined]
                tar.addfile(info, spool)
            if progress is not None:
                progress(name, count)
            tables.append({"name": name, "columns": columns, "rows": count, "sha256": digest.hexdigest()})
    return {"revision": snapshot.revision, "counters": snapshot.counters, "tables": tables}


def _line(row: tuple[Any, ...]) -> bytes:
    """One row as JSON; octets as {"b64": …}, JSON columns as {"json": …}."""
    # Octets are most of it, and base64 needs no look for what JSON would escape.
    return b"[" + b",".join([_OCTETS % base64.b64encode(v) if isinstance(v, bytes) else _json(v) for v in row]) + b"]\n"


def _json(value: Any) -> bytes:
    wrapped = {"json": value} if isinstance(value, dict | list) else value
    return _ENCODER.encode(wrapped).encode()


def _row(line: bytes) -> tuple[Any, ...]:
    return tuple(
        (base64.b64decode(v["b64"]) if "b64" in v else v["json"]) if isinstance(v, dict) else v
        for v in json.loads(line)
    )


# -- restoring -------------------------------------------------------------------------------------------------


async def restore(
    config: Config, path: Path, *, passphrase: str | None = None, progress: Progress | None = None
) -> Summary:
    """Fill the empty database of `config` from `path`, and bring its schema up to date.

    The master key: the one at hand if it is the backup's (also as a previous one), else the one in the file, which
    `passphrase` opens and which is then written to its place; so also previous keys of that time.
    Raises BackupError, StorageError, SecretsError; nothing is changed then.
    """
    manifest, sealed = _verify(path)
    snapshot = archive.Snapshot(
        manifest["revision"], {t["name"]: t["columns"] for t in manifest["tables"]}, manifest["counters"]
    )
    keys, missing = _keys_for(config, manifest, sealed, passphrase)
    written: list[Path] = []

    async with contextlib.AsyncExitStack() as stack:
        undo = stack.enter_context(contextlib.ExitStack())
        for key_file, key, key_id in keys:
            _write_key(key_file, key, key_id)
            undo.callback(key_file.unlink)
            written.append(key_file)
        storage = await Storage.open(config)
        stack.push_async_callback(storage.close)

        async def fill(tx: Tx) -> dict[str, int]:
            counts = await archive.load(tx, snapshot, _rows(path, snapshot, progress))
            if counts != {t["name"]: t["rows"] for t in manifest["tables"]}:
                raise BackupError(f"{path}: the number of rows is not the manifest's")
            return counts

        await storage.write(fill)
        undo.pop_all()
    known = {config.master_key_path, *config.previous_key_paths}
    return replace(
        _summary(path, manifest, _SEALED in sealed), previous_missing=tuple(missing),
        previous_written=tuple(one for one in written if one not in known),
    )


def _verify(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the sealed keys by their names, after every table has the digest that the manifest says."""
    digests: dict[str, str] = {}
    sealed: dict[str, bytes] = {}
    raw = b""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            for info in tar:
                f = tar.extractfile(info)
                if f is None:
                    continue
                if info.name == "manifest.json":
                    raw = f.read(16 * 1024 * 1024)
                elif info.name.endswith(".key.sealed"):
                    sealed[info.name] = f.read(65536)
                else:
                    digests[info.name] = hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]
        manifest = json.loads(raw)
        if manifest["format"] > FORMAT:
            raise BackupError(f"{path}: made by a newer Posthouse (format {manifest['format']})")
        for t in manifest["tables"]:
            if digests.get(f"tables/{t['name']}.jsonl") != t["sha256"]:
                raise BackupError(f"{path}: damaged (table {t['name']})")
        return manifest, sealed
    except OSError as e:
        raise BackupError(f"{path}: {e.strerror or 'not a backup file'}") from None
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError):
        raise BackupError(f"{path}: not a whole backup file") from None


def _rows(
    path: Path, snapshot: archive.Snapshot, progress: Progress | None
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    with tarfile.open(path, mode="r:gz") as tar:
        for name in snapshot.tables:
            f: IO[bytes] | None = tar.extractfile(f"tables/{name}.jsonl")
            if f is None:
                raise BackupError(f"{path}: table {name} is missing")
            count = 0
            for count, line in enumerate(iter(lambda f=f: f.readline(MAX_LINE), b""), 1):  # type: ignore[misc]
                yield name, _row(line)
                if progress is not None and count % 200 == 0:
                    progress(name, count)
            if progress is not None:
                progress(name, count)


# -- the master key --------------------------------------------------------------------------------------------


def _previous(key_id: str) -> str:
    return f"previous-{key_id}.key.sealed"


def _keys_for(
    config: Config, manifest: dict[str, Any], sealed: dict[str, bytes], passphrase: str | None
) -> tuple[list[tuple[Path, bytes, str]], list[str]]:
    """The keys to write (file, bytes, id), and the ids of previous keys that nobody has here."""
    at_hand = {Vault.load(one).key_id for one in config.previous_key_paths if one.exists()}
    key = _key_for(config, manifest["key_id"], at_hand, sealed.get(_SEALED), passphrase)
    found = [] if key is None else [(config.master_key_path, key, manifest["key_id"])]
    if config.master_key_path.exists():
        at_hand.add(Vault.load(config.master_key_path).key_id)
    free, missing = [one for one in config.previous_key_paths if not one.exists()], []
    for key_id in manifest.get("previous_key_ids", ()):
        if key_id in at_hand:
            continue
        content = sealed.get(_previous(key_id))
        if content is None or passphrase is None:
            missing.append(key_id)
            continue
        place = free.pop(0) if free else config.server.data_dir / f"previous-{key_id}.key"
        if not free and place.exists() and Vault.load(place).key_id == key_id:
            continue
        found.append((place, _unseal(content, passphrase), key_id))
    return found, missing


def _key_for(
    config: Config, wanted: str, previous: set[str], sealed: bytes | None, passphrase: str | None
) -> bytes | None:
    """None: the right key is in its place, or a later one that knows it as `previous`. Else the bytes to put there."""
    path = config.master_key_path
    if path.exists():
        if wanted in {Vault.load(path).key_id, *previous}:
            return None
        raise BackupError(f"master key {path}: not the one of this backup; put the backup's key there, or move it away")
    if sealed is None:
        raise BackupError(f"master key {path}: missing, and the backup holds none; put the key of that time there")
    if passphrase is None:
        raise BackupError(f"master key {path}: missing; the backup holds it sealed: give --passphrase-file")
    return _unseal(sealed, passphrase)


def _stretch(passphrase: str, salt: bytes) -> bytes:
    # RFC 7914 §2: N = 2^15, r = 8, p = 1 take 32 MiB and a tenth of a second.
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase.encode())


def _seal(key: bytes, passphrase: str) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(12)
    return salt + nonce + AESGCM(_stretch(passphrase, salt)).encrypt(nonce, key, _AAD)


def _unseal(sealed: bytes, passphrase: str) -> bytes:
    try:
        return AESGCM(_stretch(passphrase, sealed[:16])).decrypt(sealed[16:28], sealed[28:], _AAD)
    except (InvalidTag, ValueError):
        raise BackupError("the passphrase doesn't open the backup's master key") from None


def _write_key(path: Path, key: bytes, wanted: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(f"master key {path}: is there already, and is another key; move it away") from None
    with os.fdopen(descriptor, "wb") as f:
        f.write(key)
        f.flush()
        os.fsync(f.fileno())
    if Vault.load(path).key_id != wanted:
        path.unlink()
        raise BackupError("the master key in the backup is not the one its rows were sealed with")


# -- files -----------------------------------------------------------------------------------------------------


def _must_be_new(path: Path) -> None:
    if os.path.lexists(path):
        raise BackupError(f"{path}: is there already (choose another name, or --force)")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _summary(path: Path, manifest: dict[str, Any], with_key: bool) -> Summary:
    return Summary(
        path, manifest["made_at"], manifest["revision"], {t["name"]: t["rows"] for t in manifest["tables"]},
        with_key, path.stat().st_size,
    )
