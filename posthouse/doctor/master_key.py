"""The master key: whether all that is sealed opens, and what still needs a previous key."""

from __future__ import annotations

from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from posthouse.resealing import left
from posthouse.unlocking import look
from relay.base.secrets import SecretsError, Vault

NAME = "master key"


async def master_key(patient: Patient) -> list[Finding]:
    """Every sealed row is tried, so that a key taken out too early, or a wrong one, is seen at once."""
    config = patient.config
    path = config.master_key_path
    try:
        if patient.storage is not None:
            async with patient.storage.read() as tx:
                await look(config)(tx)
        if not path.exists() and not config.previous_key_paths:
            return [Finding(NAME, WARN, f"{path} is not there yet", "posthouse serve makes it at the first start")]
        vault = Vault.load(path, config.previous_key_paths)
    except SecretsError as e:
        return [Finding(NAME, FAIL, str(e), "fix [secrets] in the configuration: docs/operations.md, Master key")]
    if patient.storage is None:
        return []
    found = await left(patient.storage, vault, patient.clock.now())
    out = []
    if found.unreadable:
        some = "; ".join(found.unreadable[:3]) + ("; …" if len(found.unreadable) > 3 else "")
        out.append(Finding(
            NAME, FAIL, f"{len(found.unreadable)} sealed rows open with no key at hand: {some}",
            "name the file of the key that was in use before in secrets.previous_key_files",
        ))
    if not vault.previous:
        if found.api_keys:
            out.append(Finding(
                NAME, WARN, f"{found.api_keys} API keys were made with another master key and don't work",
                "name its file in secrets.previous_key_files until they have been used, or issue new keys",
            ))
        return out or [Finding(NAME, OK, f"{vault.key_id} opens everything")]
    if rows := found.pairs + found.webhooks:
        saw = f"{found.pairs} DKIM pairs and {found.webhooks} webhooks need a previous key"
        out.append(Finding(NAME, WARN, f"{saw} ({rows} rows)", "posthouse master-key reseal"))
    if keys := found.api_keys + found.api_keys_unknown:
        out.append(Finding(
            NAME, WARN, f"{keys} API keys have not been used since the change and need a previous key",
            "use them once, or issue new ones, before secrets.previous_key_files is emptied",
        ))
    return out or [Finding(
        NAME, OK, f"{vault.key_id} opens everything; previous keys only read tokens that are out "
        f"(links up to {config.tracking.links_days} days after the change)",
    )]
