"""Settings of identities: DIDs that members bring, and handles that this relay answers for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from relay.base.config.kinds import Bytes, HostName, Port, Seconds, Section, key


def _directory(text: str) -> str:
    if not text.startswith(("https://", "http://")) or text.endswith("/"):
        raise ValueError("https:// and a host are needed, without a slash at the end")
    return text


class Identity(Section):
    """DIDs that members bring, and handles that this relay answers for."""

    plc_directory: Annotated[str, AfterValidator(_directory)] = key("https://plc.directory", "Where the documents of did:plc are asked for, without a slash at the end.")
    handle_domain: HostName | Annotated[str, Field(max_length=0)] = key("", "Members' handles end in this name where other programs ask for them; empty: the host of public_url.")
    timeout_seconds: Seconds = key(5.0, "Longest time for one question about a DID or a handle.")
    max_document_bytes: Bytes = key(65_536, "Most read of a DID document.")
    web_port: Port = key(443, "Port on which the hosts of handles and of did:web are asked; only tests change it.")
