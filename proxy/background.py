"""Work that goes on beside a block and ends with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def in_background(
    log: logging.Logger, failed: str, **work: Coroutine[Any, Any, None]
) -> AsyncIterator[None]:
    """Runs `work`, by name, while the block does. What fails is logged as `failed` when the block ends."""
    tasks = [asyncio.create_task(each, name=name.replace("_", " ")) for name, each in work.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.error(failed, exc_info=result)
