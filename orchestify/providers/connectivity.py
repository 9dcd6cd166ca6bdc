"""Whether providers can be reached, by requests that cost nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial

from orchestify.health.monitor import CHECK_TIMEOUT_S, Check, check, check_all
from orchestify.providers.base import LLMProvider


def check_in_thread(providers: Mapping[str, LLMProvider]) -> list[str]:
    """Ask all providers at once, in a thread with a loop of its own; return what failed."""
    found: dict[str, Check] = {}

    async def ask() -> None:
        checks = {name: partial(check, provider) for name, provider in providers.items()}
        try:
            found.update(await check_all(checks, CHECK_TIMEOUT_S))
        finally:
            for provider in providers.values():
                await provider.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(ask()), name="orchestify-check")
    thread.start()
    thread.join()
    return [f"providers.{name}: {each.message}" for name, each in found.items() if each.ok is False]
