"""master-key new, show, reseal, adopt: changing the key that everything is sealed with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.shell import FAILED, OK, Failure, Shell, command


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="The master key, and changing it (see docs/operations.md).")
    app.add_typer(group, name="master-key")
    command(group, "new")(new)
    command(group, "show")(show)
    command(group, "reseal")(reseal)
    command(group, "adopt")(adopt)


def new(
    shell: Shell,
    file: Annotated[Path, typer.Argument(help="A new file; a relative name stands in data_dir.")],
) -> int:
    """Create a new master key beside the one in use. Nothing uses it before the configuration names it."""
    from relay.base.secrets import Vault

    config = shell.config()
    vault = Vault.make(config.server.data_dir / file)
    if os.geteuid() == 0:
        # The service's user must be able to read it, as it reads the one in use.
        owner = (config.master_key_path if config.master_key_path.exists() else config.server.data_dir).stat()
        os.chown(config.server.data_dir / file, owner.st_uid, owner.st_gid)
    old = [config.secrets.master_key_file, *config.secrets.previous_key_files]
    names = ", ".join(f'"{one}"' for one in old)
    shell.answer(
        {"file": str(config.server.data_dir / file), "key_id": vault.key_id},
        f"{config.server.data_dir / file}: a new master key (id {vault.key_id}). Keep a copy of it in another place.\n"
        f"On a single process: set in the configuration, then restart and run `posthouse master-key reseal`:\n\n"
        f'[secrets]\nmaster_key_file = "{file}"\nprevious_key_files = [{names}]\n\n'
        "With more processes or machines, first let all of them read with the new key: docs/operations.md.",
    )
    return OK


async def show(shell: Shell) -> int:
    """Show which master keys are in use, and what still needs a previous one."""
    from posthouse.resealing import left

    async with shell.core() as core:
        vault = core.vault
        found = await left(core.storage, vault, core.clock.now())
    keys = found.api_keys + (found.api_keys_unknown if vault.previous else 0)
    answer = {
        "key_id": vault.key_id, "previous_key_ids": [one.key_id for one in vault.previous],
        "dkim_pairs": found.pairs, "webhooks": found.webhooks, "second_factors": found.factors,
        "api_keys": keys, "unreadable": found.unreadable,
    }
    shell.answer(answer, lambda: shell.pairs({
        "In use": vault.key_id, "Only reading": ", ".join(one.key_id for one in vault.previous) or "none",
        "DKIM pairs to seal anew": found.pairs, "Webhooks to seal anew": found.webhooks,
        "Second factors to seal anew": found.factors,
        "API keys not used since": keys, "Opened by no key": "; ".join(found.unreadable[:5]) or "none",
    }))
    return OK


async def reseal(shell: Shell) -> int:
    """Re-encrypt what a previous master key has sealed. Every running process must know both keys. May be run again."""
    from posthouse.resealing import left
    from posthouse.resealing import reseal as seal

    async with shell.core() as core:
        if not core.vault.previous:
            raise Failure(FAILED, "secrets.previous_key_files is empty: there is no previous master key to do without")
        done, unreadable = await seal(core.storage, core.vault, core.clock.now())
        found = await left(core.storage, core.vault, core.clock.now())
    keys, remaining = found.api_keys + found.api_keys_unknown, found.pairs + found.webhooks + found.factors
    data = {"resealed": done, "remaining": remaining, "api_keys": keys, "unreadable": unreadable}
    if unreadable:
        raise Failure(FAILED, f"no key at hand opens {'; '.join(unreadable[:5])} ({len(unreadable)} in all)", data=data)
    if remaining:
        raise Failure(FAILED, f"{remaining} rows were changed meanwhile: run it again", data=data)
    text = f"{done} rows sealed anew; no row needs a previous master key."
    if keys:
        text += f"\n{keys} API keys have not been used since the change: the first use moves each, or issue new ones."
    shell.answer(data, text)
    return OK


async def adopt(
    shell: Shell,
    lost: Annotated[
        str, typer.Argument(help="Id of the lost key, as the refusal names it; `unknown` where it names none.")
    ],
) -> int:
    """The database's master key is lost for good: go on with the one in the configuration (`master-key new` makes it).
    What the lost one made ends: API keys, DKIM keys, webhook secrets, sign-ins, links."""
    from posthouse.unlocking import adopt as take
    from relay.base.clock import Clock
    from relay.base.secrets import Vault
    from relay.base.storage import Storage
    from relay.base.storage import migrate as bring_up

    config = shell.config()
    vault = Vault.load(config.master_key_path, config.previous_key_paths)
    await bring_up(config)
    storage = await Storage.open(config)
    try:
        was = await take(storage, vault, lost, Clock().now())
    finally:
        await storage.close()
    shell.answer(
        {"key_id": vault.key_id, "lost": was},
        f"The database belongs to the master key {vault.key_id} now. New API keys: posthouse key new; new DKIM keys: "
        "posthouse domain rotate; each webhook needs a new secret. posthouse doctor names what no key opens.",
    )
    return OK
