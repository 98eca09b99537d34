"""`python -m tests.interop`: every client and every verifier once, a line each; exit 0 when all of them did well.

The same walk as the tests', for people who want to see who understands whom.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.interop import verifiers
from tests.interop.clients import CLIENTS
from tests.interop.stage import Stage, find, stage

VERIFIERS: dict[str, tuple[tuple[str, ...], Callable[[Stage, bytes], dict[str, str]]]] = {
    "Mail::DKIM": (("perl",), verifiers.mail_dkim),
    "mailauth": (("node", "npm"), verifiers.mailauth),
    "dkimpy": ((), verifiers.dkimpy),
}


def main() -> int:
    """Walk, and say what happened."""
    if missing := [p for p in ("nsd", "smtp-sink") if find(p) is None]:
        sys.stderr.write(f"missing: {', '.join(missing)}\n")
        return 1
    good = True
    arrived: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="posthouse-interop-") as folder, stage(Path(folder)) as world:
        no_node = "no npm" if find("npm") is None else verifiers.npm_install(world.folder / "node", verifiers.PACKAGES)
        for client in CLIENTS:
            why = _cannot(client.needs, no_node if client.node else "")
            if not why:
                try:
                    client.send(world, client.name)
                    arrived[client.name] = world.arrived(client.name)
                except (AssertionError, OSError) as e:
                    good, why = False, f"FAILED: {e}"
            _say("submits", client.name, why or "arrived")
        for name, (needs, verify) in VERIFIERS.items():
            why = _cannot(needs, no_node if "npm" in needs else "")
            for client_name, message in arrived.items():
                if why:
                    break
                found = verify(world, message)
                good = good and found.get(verifiers.RSA) == "pass"
                _say("verifies", f"{name} ({client_name})", ", ".join(f"{a} {r}" for a, r in found.items()))
            if why:
                _say("verifies", name, why)
    return 0 if good else 1


def _cannot(needs: tuple[str, ...], more: str) -> str:
    missing = [p for p in needs if find(p) is None]
    return f"not tried: no {', '.join(missing)}" if missing else f"not tried: {more}" if more else ""


def _say(*columns: str) -> None:
    sys.stdout.write(f"{columns[0]:10}{columns[1]:32}{columns[2]}\n")


if __name__ == "__main__":
    sys.exit(main())
