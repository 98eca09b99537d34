"""From rounds to figures: medians, ratios of runs that stood side by side, a table for people, a file for programs.

A ratio is the median of the rounds' own ratios: within a round both servers had the same machine, while between
rounds its speed may have changed by half.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.work import Result

Rounds = Mapping[tuple[str, str], Sequence[Result]]
"""(work, server) → its result of each round."""

# Column, its title, whether more is better (None: neither).
SHOWN: list[tuple[str, str, bool | None]] = [
    ("accept_rate", "accept/s", True), ("through_rate", "through/s", True), ("cpu_ms", "CPU ms", False),
    ("p50_ms", "p50 ms", False), ("p99_ms", "p99 ms", False), ("memory_mb", "MiB", False),
    ("largest_mb", "MiB max", False), ("processes", "procs", None), ("lost", "lost", None), ("speed", "speed", None),
]  # fmt: skip
RATIOS = [name for name, _, better in SHOWN if better is not None]


def summary(rounds: Rounds, about: Mapping[str, Any], ours: Sequence[str], peers: Sequence[str]) -> dict[str, Any]:
    """Everything that was measured: medians, single rounds, and ours divided by each peer's."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        **about,
        "results": [
            {"work": work, "server": server, "median": medians(results), "rounds": [r.numbers() for r in results]}
            for (work, server), results in rounds.items() if results
        ],
        "ratios": [
            {"work": work, "server": server, "peer": peer, **ratios(results, rounds[work, peer])}
            for (work, server), results in rounds.items() if server in ours
            for peer in peers if rounds.get((work, peer)) and results
        ],
    }  # fmt: skip


def medians(results: Sequence[Result]) -> dict[str, float]:
    """The median of each figure."""
    names = [n for n, v in results[0].numbers().items() if isinstance(v, int | float)]
    return {n: round(statistics.median(getattr(r, n) for r in results), 4) for n in names}


def ratios(ours: Sequence[Result], theirs: Sequence[Result]) -> dict[str, float]:
    """Median over the rounds of ours divided by theirs."""
    found = {}
    for name in RATIOS:
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(ours, theirs, strict=False)]
        shares = [a / b for a, b in pairs if b]
        if shares:
            found[name] = round(statistics.median(shares), 4)
    return found


def table(data: Mapping[str, Any]) -> str:
    """The medians with the span of the rounds' CPU, then the ratios."""
    lines = [f"{'work':13}{'server':16}" + "".join(f"{title:>10}" for _, title, _ in SHOWN) + "   CPU ms of each round"]
    for row in data["results"]:
        spread = " ".join(f"{r['cpu_ms']:.2f}" for r in row["rounds"])
        numbers = "".join(f"{row['median'][name]:>10.{_places(name)}f}" for name, _, _ in SHOWN)
        lines.append(f"{row['work']:13}{row['server']:16}{numbers}   {spread}")
    for row in data["ratios"]:
        shares = "".join(f"{f'×{row[name]:.2f}' if name in row else '':>10}" for name, _, _ in SHOWN)
        lines.append(f"{row['work']:13}{'÷ ' + row['peer']:16}{shares}   {row['server']}")
    return "\n".join(lines)


def write(data: Mapping[str, Any], path: Path) -> None:
    """The JSON file."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _places(name: str) -> int:
    return {"cpu_ms": 2, "p50_ms": 1, "p99_ms": 1}.get(name, 0)
