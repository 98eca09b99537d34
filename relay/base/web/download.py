"""A file to keep, written as it is made: nothing of it is held but the part on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import hdrs, web


async def download(request: web.Request, parts: AsyncIterator[str], *, kind: str, name: str) -> web.StreamResponse:
    """The parts as one UTF-8 file; `kind` is its media type, `name` one of ours: plain ASCII without quotes.

    The first two parts are made before the answer begins: what fails at once still gets an answer of its own.
    """
    first = [part async for part in _some(parts, 2)]
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: f"{kind}; charset=utf-8", hdrs.CACHE_CONTROL: "no-store",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
        }
    )
    await response.prepare(request)
    for part in first:
        await response.write(part.encode())
    async for part in parts:
        await response.write(part.encode())
    await response.write_eof()
    return response


async def _some(parts: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        try:
            yield await anext(parts)
        except StopAsyncIteration:
            return
