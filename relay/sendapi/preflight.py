"""POST /v1/preflight: the body of send, every check's answer, nothing sent.

The checks are made by the same calls as sending; one that refuses doesn't hide what can be said of the others.
"""

from __future__ import annotations

from pydantic import Field

from relay.base.web.models import Query
from relay.intake import RECEIVERS, Check, Receiver, Receivers
from relay.replies import DOMAIN_RESTS, FROM_MISMATCH, NO_RECIPIENTS, Refused, Verdict
from relay.sendapi.authenticate import Caller
from relay.sendapi.models import CheckAnswer
from relay.sendapi.send import Sender


class PreflightQuery(Query):
    """What POST /v1/preflight checks besides."""

    receivers: list[Receiver] = Field(
        default_factory=list, alias="for", max_length=len(RECEIVERS),
        description="The published rules of these receivers too, each a check `receiver` that never refuses.",
    )


async def ask_all(sender: Sender, caller: Caller, value: object, query: PreflightQuery) -> list[CheckAnswer]:
    """Every check, in the order in which a message meets them. Raises Refused for bad requests."""
    services, login = sender.services, caller.login
    public_url = services.config.server.public_url
    stopped = services.directory.recheck(login)
    checks = [Check("login", stopped, {"handle": login.handle, "did": login.did, "scopes": sorted(login.scopes)})]
    try:
        draft = await sender.draft(caller, value)
    except Refused as e:
        if e.verdict.reply not in (FROM_MISMATCH, DOMAIN_RESTS):
            raise
        checks.append(Check("from" if e.verdict.reply is FROM_MISMATCH else "sender", e.verdict))
        return [_of(check, public_url) for check in checks]
    checks += [Check("recipient", verdict, {"recipient": text}) for text, verdict in draft.rejected]
    wanted = Receivers(tuple(dict.fromkeys(query.receivers)), services.resolver) if query.receivers else None
    checks += await services.intake.preflight(draft.submission, wanted)
    named = [check for check in checks if check.name == "recipient"]
    if named and all(check.verdict is not None for check in named):
        checks.append(Check("recipients", Verdict(NO_RECIPIENTS), {"recipients": len(named)}))
    return [_of(check, public_url) for check in checks]


def _of(check: Check, public_url: str) -> CheckAnswer:
    """`passed`, `advice` or `refused`, what the check looked at, and the refusal that sending would get."""
    verdict = check.verdict
    answer: CheckAnswer = {
        "gate": check.name, "verdict": "refused" if verdict else ("advice" if check.advice else "passed"),
        "evidence": check.evidence,
    }
    if check.advice:
        answer["advice"] = check.advice
    if verdict is not None:
        said = verdict.json(public_url)
        answer |= {"error": said["error"], "code": said["code"], "detail": said["detail"], "status": verdict.reply.http}
    return answer
