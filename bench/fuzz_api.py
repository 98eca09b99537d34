"""A long run of requests made from the served documents: `python -m bench.fuzz_api --minutes 5`.

The test in tests/fuzz asks each call a few times, always the same; this one asks others every round, until the time
is over, each round of a fresh relay. It prints what was asked and every fault with an example, and ends with 1 if
there was one. `--number` repeats a round.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import structlog

from relay.base import keys
from tests.kit.api_fuzz import Report, furnished, fuzz, patient
from tests.kit.storage import make_config
from tests.kit.whole import whole


async def one_round(number: int, examples: int) -> Report:
    """A fresh relay, and every operation of its documents asked `examples` times, the first of them last."""
    from posthouse.serve.openapi import described

    total = Report()
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(Path(folder), **patient())
        async with whole(config) as place:
            env = await furnished(place)
            for one in reversed(described(config)):
                found = await asyncio.to_thread(
                    fuzz, one.document, place.url, env, examples=examples, number=number
                )
                total.faults |= found.faults
                for label, counted in found.statuses.items():
                    total.statuses[label] += counted
    return total


def main() -> int:
    """Rounds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--examples", type=int, default=10, help="of each call, a round")
    parser.add_argument("--number", type=int, help="this one round only")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # What is measured here isn't the making of keys.
    keys.generate_rsa = functools.cache(keys.generate_rsa)
    end = time.monotonic() + asked.minutes * 60
    faults: dict[str, str] = {}
    counted: Counter[int] = Counter()
    while True:
        number = asked.number or random.randrange(2, 10**6)
        report = asyncio.run(one_round(number, asked.examples))
        for label in report.statuses:
            counted += report.statuses[label]
        print(f"round {number}: {report.requests} requests, {len(report.reached)} calls did what they are for, "
              f"{len(report.faults)} faults", flush=True)
        for name, said in report.faults.items():
            if name not in faults:
                print(f"\n{name}\n  {said}\n".replace("\n", "\n  "), flush=True)
        faults |= report.faults
        if asked.number or time.monotonic() > end:
            break
    print("answers:", ", ".join(f"{n} × {status}" for status, n in sorted(counted.items())))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
