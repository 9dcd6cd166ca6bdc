"""One call, one stream, and the account of both: `python examples/script.py`."""

import asyncio
from pathlib import Path

from orchestify import ProviderRegistry, load_config

CONFIG = Path(__file__).with_name("config")


async def main() -> None:
    """Ask the assistant twice."""
    async with ProviderRegistry.from_config(load_config(CONFIG)) as registry:
        assistant = registry.get_for_agent("assistant")

        response = await assistant.complete("Name three rivers of France.")
        print(response.content)
        print(response.usage, response.cost_usd)

        async with assistant.stream("Tell of one of them.") as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print()

        print(registry.get_usage_summary()["total"])


asyncio.run(main())
