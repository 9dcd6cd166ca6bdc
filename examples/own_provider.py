"""A provider of one's own, in the same account: `python examples/own_provider.py`.

It answers from a table, and everything else by an error that policies understand: the chain goes on
to the next provider. In the YAML it is `type: external`.
"""

import asyncio
from pathlib import Path

from orchestify import (
    CompletionRequest,
    LLMProvider,
    LLMResponse,
    ModelNotFoundError,
    ProviderRegistry,
    load_config,
)

CONFIG = Path(__file__).with_name("config")
KNOWN = {"What is your name?": "I am the table."}


class TableProvider(LLMProvider):
    """Answers questions that it knows, at no cost."""

    @property
    def provider_type(self) -> str:
        """Return what reports call its kind."""
        return "table"

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Answer one request, once; retries, limits and the ledger are the registry's."""
        question = request.messages[-1].text
        if question not in KNOWN:
            raise ModelNotFoundError("not in the table", provider="table", model=request.model)
        answer = KNOWN[question]
        tokens = (len(question.split()), len(answer.split()))
        return LLMResponse(answer, request.model, *tokens, finish_reason="stop")


async def main() -> None:
    """Ask the table first, and the assistant where it does not know."""
    async with ProviderRegistry.from_config(load_config(CONFIG)) as registry:
        registry.register("table", TableProvider())
        table = registry.get("table")
        for question in ("What is your name?", "What is the weather?"):
            response = await table.complete(question, model="table-1", fallback=["openai"])
            print(f"{response.provider}: {response.content}")
        for name, row in registry.get_usage_summary()["by_provider"].items():
            print(name, row["calls"], "calls,", row["failed"], "failed")


asyncio.run(main())
