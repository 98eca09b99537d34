"""The bounds on connections, fitted to what the process may open.

Each bound alone is a number that an operator can choose; together they must leave descriptors for storage, DNS and the
log. Defaults shrink to what fits. What the operator has written stays as it is, and is refused when it doesn't fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.config import Config

_LEAST = 10  # a default shrinks no further


@dataclass(frozen=True, slots=True)
class _Bound:
    """A key that bounds connections: how many descriptors one of them takes, and whose work it is."""

    section: str
    key: str
    role: str
    each: int

    def value(self, config: Config) -> int:
        found: int = getattr(getattr(config, self.section), self.key)
        return found

    def written(self, config: Config) -> bool:
        return self.key in getattr(config, self.section).model_fields_set

    def __str__(self) -> str:
        return f"{self.section}.{self.key}"


def _bounds(config: Config) -> list[_Bound]:
    every = [
        _Bound("submission", "max_connections", "submission", 1),
        _Bound("inbound", "max_connections", "inbound", 1),
        _Bound("http", "max_connections", "http", 1),
        _Bound("dns", "max_connections", "dns", 1),
        # A conversation, and a connection kept for the next one.
        _Bound("delivery", "workers", "delivery", 2),
        _Bound("webhooks", "parallel", "webhooks", config.webhooks.parallel_an_endpoint),
    ]
    return [one for one in every if one.role in config.roles]


def fitted(config: Config, most: int) -> Config:
    """The configuration with its defaults shrunk to `most` descriptors; itself where they fit."""
    bounds = _bounds(config)
    free = [one for one in bounds if not one.written(config)]
    taken = sum(one.each * one.value(config) for one in bounds if one not in free)
    left = most - config.server.spare_descriptors - taken
    wanted = sum(one.each * one.value(config) for one in free)
    if wanted <= left:
        return config
    least = sum(one.each * _least(one, config) for one in free)
    share = max(0.0, (left - least) / (wanted - least)) if wanted > least else 0.0
    changed: dict[str, dict[str, int]] = {}
    for one in free:
        low = _least(one, config)
        changed.setdefault(one.section, {})[one.key] = low + int((one.value(config) - low) * share)
    sections = {name: getattr(config, name).model_copy(update=keys) for name, keys in changed.items()}
    return config.model_copy(update=sections)


def shrunk(before: Config, after: Config) -> dict[str, int]:
    """What `fitted` changed: key and new value."""
    return {str(one): one.value(after) for one in _bounds(after) if one.value(after) != one.value(before)}


def misfit(config: Config, most: int) -> str:
    """Why the bounds don't fit into `most` descriptors although the defaults have shrunk, for the operator; or ""."""
    fits = fitted(config, most)
    bounds = _bounds(fits)
    spare = config.server.spare_descriptors
    wanted = spare + sum(one.each * one.value(fits) for one in bounds)
    if wanted <= most:
        return ""
    parts = [f"{one} = {one.value(config)}" for one in bounds if one.written(config)]
    if config.server.spare_descriptors and "spare_descriptors" in config.server.model_fields_set:
        parts.append(f"server.spare_descriptors = {spare}")
    which = f"{', '.join(parts)}: " if parts else ""
    return (
        f"{which}at least {wanted} files and sockets are needed together, and this process may open {most}: raise the "
        "limit (LimitNOFILE= in the unit, ulimit -Hn)" + (", or lower what you have written" if parts else "")
    )


def _least(one: _Bound, config: Config) -> int:
    return min(_LEAST, one.value(config))
