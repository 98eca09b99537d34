"""POST /v1/preflight: the body of send, every gate's answer, nothing sent.

The gates are asked through the same calls as sending; one that refuses doesn't hide what can be said of the others.
"""

from __future__ import annotations

from relay.intake import Gate
from relay.replies import DOMAIN_RESTS, FROM_MISMATCH, NO_RECIPIENTS, Refused, Verdict
from relay.sendapi.authenticate import Caller
from relay.sendapi.responses import GateSaid
from relay.sendapi.send import Sender


async def ask_all(sender: Sender, caller: Caller, value: object) -> list[GateSaid]:
    """Every gate, in the order in which a message meets them. Raises Refused for what has no gates: bad requests."""
    services, login = sender.services, caller.login
    public_url = services.config.server.public_url
    stopped = services.directory.recheck(login)
    gates = [Gate("login", stopped, {"handle": login.handle, "did": login.did, "scopes": sorted(login.scopes)})]
    try:
        draft = await sender.draft(caller, value)
    except Refused as e:
        if e.verdict.reply not in (FROM_MISMATCH, DOMAIN_RESTS):
            raise
        gates.append(Gate("from" if e.verdict.reply is FROM_MISMATCH else "sender", e.verdict))
        return [_of(gate, public_url) for gate in gates]
    gates += [Gate("recipient", verdict, {"recipient": text}) for text, verdict in draft.rejected]
    gates += await services.intake.preflight(draft.submission)
    named = [gate for gate in gates if gate.name == "recipient"]
    if named and all(gate.verdict is not None for gate in named):
        gates.append(Gate("recipients", Verdict(NO_RECIPIENTS), {"recipients": len(named)}))
    return [_of(gate, public_url) for gate in gates]


def _of(gate: Gate, public_url: str) -> GateSaid:
    """`passed`, `advice` or `refused`, what the gate looked at, and the refusal that sending would get."""
    verdict = gate.verdict
    told: GateSaid = {
        "gate": gate.name, "verdict": "refused" if verdict else ("advice" if gate.advice else "passed"),
        "evidence": gate.evidence,
    }
    if gate.advice:
        told["advice"] = gate.advice
    if verdict is not None:
        said = verdict.json(public_url)
        told |= {"error": said["error"], "code": said["code"], "detail": said["detail"], "status": verdict.reply.http}
    return told
