"""Many asyncio tasks with one encoder. Calls that wait at the same time share requests.

python examples/tasks.py
"""

from __future__ import annotations

import asyncio
import time

from sentriton import AsyncSentenceEncoder

TASKS = 200


async def main() -> None:
    async with AsyncSentenceEncoder(timeout_s=60) as encoder:
        started = time.monotonic()
        embeddings = await asyncio.gather(*(encoder.encode(f"{number}번 손님의 질문입니다") for number in range(TASKS)))
        took_s = time.monotonic() - started
    print(f"{len(embeddings)} tasks got a vector of {len(embeddings[0])} numbers each, in {took_s:.2f} s")


asyncio.run(main())
