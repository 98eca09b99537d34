"""POST /v1/send/batch: many messages in one request, a result for each in order; one's fault is not another's.

With an Idempotency-Key the whole batch is one transaction, so that its answer and its messages exist together or not
at all. Where nothing was accepted and some result asks to try again, the answer is not kept: the key is free at once.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from relay.base.storage import Tx
from relay.base.web import dumps, reject
from relay.base.web.models import read
from relay.intake import Accepted
from relay.intake.submission import Built
from relay.replies import Refused, Verdict
from relay.sendapi.answers import Answer, nothing_accepted, refused, tightest
from relay.sendapi.authenticate import Caller
from relay.sendapi.idempotency import Slot
from relay.sendapi.models import BatchRequest
from relay.sendapi.send import Draft, Sender

_AT_ONCE = 8


@dataclass(slots=True)
class _Item:
    """One message on its way: `answer` once it is known."""

    draft: Draft | None = None
    built: Built | None = None
    answer: Answer | None = None


async def send_batch(sender: Sender, caller: Caller, value: object, slot: Slot | None) -> Answer:
    """The answer to a batch; with `slot`, all of it is one transaction. Raises Refused."""
    values, batch = _messages(sender, value), _Batch(sender, caller)
    return await (batch.apart(values) if slot is None else batch.together(values, slot))


def _messages(sender: Sender, value: object) -> list[Any]:
    """The messages of `{"messages": […]}` or of a bare array."""
    messages = value if isinstance(value, list) else read(BatchRequest, value).messages
    limit = sender.services.config.http.max_batch
    if not 0 < len(messages) <= limit:
        reject(f"messages: 1 to {limit} are taken at once", field="messages")
    return messages


class _Batch:
    def __init__(self, sender: Sender, caller: Caller) -> None:
        self._sender, self._caller = sender, caller
        self._services = sender.services

    async def apart(self, values: list[Any]) -> Answer:
        """Each message by itself, some at once; they share commits with everybody else."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(value: Any) -> Answer:
            async with turns:
                try:
                    return await self._sender.send(self._caller, value)
                except Refused as e:
                    return self._refused(e)

        return _results(await asyncio.gather(*(one(value) for value in values)))

    async def together(self, values: list[Any], slot: Slot) -> Answer:
        """All messages and the kept answer in one transaction."""
        items = [await self._drafted(value) for value in values]
        await self._services.intake.keep_pace([i.draft.submission for i in items if i.draft and i.answer is None])
        for item in items:
            await self._prepare(item)

        async def do(tx: Tx) -> Answer:
            written = iter(await self._services.intake.write_all(tx, [item.built for item in items if item.built]))
            answers = [item.answer or await self._answered(item, next(written)) for item in items]
            answer = _results(answers)
            if answer.final and any(item.built for item in items):
                await slot.keep(tx, answer)
            return answer

        answer = await self._services.storage.write(do)
        self._services.intake.wake()
        return answer

    async def _drafted(self, value: Any) -> _Item:
        item = _Item()
        try:
            item.draft = await self._sender.draft(self._caller, value)
        except Refused as e:
            item.answer = self._refused(e)
            return item
        if not item.draft.submission.recipients:
            item.answer = nothing_accepted(item.draft.rejected, self._services.config.server.public_url)
        return item

    async def _prepare(self, item: _Item) -> None:
        if item.draft is None or item.answer is not None:
            return
        built = await self._services.intake.prepare(item.draft.submission)
        if isinstance(built, Verdict):
            item.answer = await self._not_accepted(item.draft, built)
        else:
            item.built = built

    async def _answered(self, item: _Item, result: Accepted | Verdict) -> Answer:
        assert item.draft is not None
        if isinstance(result, Accepted):
            return self._sender.accepted(self._caller, item.draft, result)
        return await self._not_accepted(item.draft, result)

    async def _not_accepted(self, draft: Draft, verdict: Verdict) -> Answer:
        try:
            return await self._sender.not_accepted(self._caller, draft, verdict)
        except Refused as e:
            return self._refused(e)

    def _refused(self, error: Refused) -> Answer:
        return refused(error, self._services.config, self._services.clock)


def _results(answers: list[Answer]) -> Answer:
    """One 200 with every answer's status and body."""
    results = [{"status": a.status, **json.loads(a.text)} for a in answers]
    nothing = not any(result.get("accepted") for result in results)
    again = nothing and not all(a.final for a in answers)
    return Answer(200, dumps({"results": results}), tightest(answers), again)
