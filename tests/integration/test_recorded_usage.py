"""Recorded exchanges through the whole path: what is booked is what the provider reported.

`pytest -s` prints the tables by provider.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from orchestify.lanes.litellm.backends import client_kind, is_bridged
from tests import recorded
from tests.lanes import LITELLMS_OWN_WARNINGS, collect_quietly
from tests.recorded import Exchange
from tests.recorded_path import Read, read_all, table

pytestmark = [
    *LITELLMS_OWN_WARNINGS,
    # the clients of many backends, which LiteLLM drops as they are
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

DIRECT = {"chat": "openai", "messages": "anthropic"}

CHAT_PREFIXES = {
    "alibaba": "dashscope",
    "azure": "azure",
    "cerebras": "cerebras",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "groq": "groq",
    "heroku": "heroku",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "snowflake": "snowflake",
    "together": "together_ai",
    "xai": "xai",
    "zai": "zai",
}
PREFIXES = {
    "completions": "text-completion-openai",
    "converse": "bedrock/converse",
    "generateContent": "gemini",
    "invoke": "bedrock/invoke",
    "messages": "anthropic",
    "nativegenerate": "ollama",
    "responses": "openai/responses",
}
NATIVE = {"cohere": "cohere_chat", "ollama": "ollama_chat", "writer": "openai"}
AWS = {
    "aws_access_key_id": "any",
    "aws_secret_access_key": "any",
    "aws_region_name": "us-east-1",
}


def direct(exchange: Exchange) -> dict[str, Any]:
    """The provider's configuration for a direct lane."""
    return {"type": DIRECT[exchange.kind], "default_model": exchange.model or "asked"}


def through_litellm(exchange: Exchange) -> dict[str, Any]:
    """The provider's configuration for LiteLLM, by the name that LiteLLM has for it."""
    model, kind = exchange.model or "asked", exchange.kind
    if kind == "invoke":
        found = re.search(r"/model/(.+)/invoke", exchange.request["url"])
        assert found is not None
        model = unquote(unquote(found[1]))
    if kind == "responses" and exchange.provider in {"bedrock", "deepseek", "xai"}:
        model = "gpt-4o"  # for a model that it does not know LiteLLM asks for no stream
    prefix = PREFIXES.get(kind) or (NATIVE if kind == "nativechat" else CHAT_PREFIXES).get(
        exchange.provider, "openai"
    )
    settings: dict[str, Any] = {
        "type": "litellm",
        "default_model": f"{prefix}/{model.removeprefix(f'{prefix}/')}",
    }
    if prefix.startswith("bedrock"):
        return settings | {"api_key": None, "options": AWS}
    return settings | ({"options": {"api_version": "2024-10-21"}} if prefix == "azure" else {})


CACHE = "more tokens read from the cache than the prompt has: not booked, named in `invalid`"
TWICE = "the same tokens are reported as read from the cache and as written to it: named in both"
CANDIDATES = "the last chunk leaves out the tokens of the candidates that an earlier one has"
CHUNKS = "LiteLLM's chunks lack the usage that the provider sent"
NO_PROMPT = "the provider counted the output only"
ZEROS = "the provider reported zeros for a request that it answered"
NO_CLIENT = "the backend takes no client of ours: a whole answer's usage is LiteLLM's word alone"
THOUGHTS = "thinking that only the total counts is output"
AUDIO = "audio that is counted beside the prompt, and in the total, is input"
LITELLM_FAILS = "LiteLLM can neither write nor read this: "
FRAGMENTS = LITELLM_FAILS + "function calls of Gemini's that come in fragments"
COHERE_STREAM = LITELLM_FAILS + "the `event:` lines of Cohere's streams"
COHERE_V1 = LITELLM_FAILS + "an answer of Cohere's older protocol"
CLAUDE_2 = LITELLM_FAILS + "text completions of Claude 2 on Bedrock"
TITAN = LITELLM_FAILS + "the finish reason in the only chunk of a Titan stream"
NOVA = LITELLM_FAILS + "an answer of Nova's by invoke"
NO_CHAT = LITELLM_FAILS + "an embedding, and an endpoint of SageMaker's"
SERVER_TOOLS = LITELLM_FAILS + "the provider's own tools in an answer of OpenAI's Responses"
COMPLETION_STREAM = LITELLM_FAILS + "streams of text completions"

INVALID = {
    "azure-chat-json-200-23b5b86ff6": ("other: cached", CACHE),
    "azure-chat-json-200-533fe48c23": ("other: cached", CACHE),
    "azure-chat-json-200-6190797c26": ("other: cached", CACHE),
    "azure-chat-json-200-b983a3237b": ("other: cached", CACHE),
    "azure-chat-json-200-cde25e6a9e": ("other: cached", CACHE),
    "azure-chat-sse-200-1c015eb05d": ("other: cached", CACHE),
    "azure-chat-sse-200-49e119134a": ("other: cached", CACHE),
    "azure-chat-sse-200-c09c084ba7": ("other: cached", CACHE),
    "ollama-chat-json-200-bb9df00f63": ("estimated", NO_PROMPT),
    "openrouter-chat-json-200-61402e6fd5": ("other: cache_write", TWICE),
}
RECONCILED = {
    "gemini-chat-json-200-413340ccf0": ("other: completion", THOUGHTS),
    "mistral-chat-json-200-de13f0eaa8": ("other: prompt", AUDIO),
}
LOST_BY_LITELLM = {
    "bedrock-invoke-eventstream-200-0056cbb1a0": ("failed: StreamInterruptedError", TITAN),
    "bedrock-invoke-eventstream-200-3e18d19bb7": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-eventstream-200-7270061a76": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-eventstream-200-be4912e459": ("estimated", CHUNKS),
    "bedrock-invoke-eventstream-200-ce3e9bdabd": ("estimated", CHUNKS),
    "bedrock-invoke-eventstream-200-d500aba238": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-eventstream-200-f01e911131": ("failed: StreamInterruptedError", TITAN),
    "bedrock-invoke-json-200-240c1bfc2f": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-json-200-2f87d536ed": ("failed: ModelNotFoundError", NO_CHAT),
    "bedrock-invoke-json-200-5b7f4fa0c4": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-json-200-68d0726db1": ("failed: InvalidResponseError", NOVA),
    "bedrock-invoke-json-200-6f3816c303": ("failed: InvalidRequestError", CLAUDE_2),
    "bedrock-invoke-json-200-7cb7df9508": ("failed: ModelNotFoundError", NO_CHAT),
    "bedrock-invoke-json-200-e5036faa20": ("failed: InvalidRequestError", CLAUDE_2),
    "cohere-nativechat-json-200-97fd3f7c7a": ("failed: InvalidResponseError", COHERE_V1),
    "cohere-nativechat-sse-200-13829720e2": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-2d81350043": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-3a045a2949": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-7ef432b0f2": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-866ca14b36": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-94db93c22b": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-cf2f501456": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-ec6f59ab93": ("failed: InvalidResponseError", COHERE_STREAM),
    "cohere-nativechat-sse-200-fe5b832e41": ("failed: InvalidResponseError", COHERE_STREAM),
    "gemini-generateContent-sse-200-325d16d7d3": ("failed: InvalidResponseError", FRAGMENTS),
    "gemini-generateContent-sse-200-4698a29a82": ("failed: StreamInterruptedError", FRAGMENTS),
    "gemini-generateContent-json-200-a2436b885e": ("estimated", NO_PROMPT),
    "gemini-generateContent-sse-200-9344ca2f97": ("other: completion", CANDIDATES),
    "groq-chat-sse-200-8d19062263": ("estimated", CHUNKS),
    "groq-chat-sse-200-95c61e863c": ("estimated", CHUNKS),
    "ollama-nativegenerate-json-200-17a89bf4da": ("estimated", NO_PROMPT),
    "openai-completions-sse-200-7c396bc015": ("failed: InvalidResponseError", COMPLETION_STREAM),
    "openai-responses-json-200-5253d9597b": ("estimated", ZEROS),
    "openai-responses-json-200-708e8661b8": ("failed: InvalidResponseError", SERVER_TOOLS),
    "openai-responses-json-200-820d7d9ed1": ("failed: InvalidResponseError", SERVER_TOOLS),
    "openai-responses-json-200-f4a62c0486": ("failed: InvalidResponseError", SERVER_TOOLS),
    "openai-responses-sse-200-1ab124e007": ("estimated", ZEROS),
    "snowflake-chat-sse-200-51b17783b3": ("estimated", CHUNKS),
}
# With a key of one's own the cost is what the upstream took, not the 0 beside it.
OWN_KEY = {"openrouter-chat-json-200-901cbf5eca": "0.004170000000"}


async def test_the_direct_lanes_book_what_was_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.need_recorded()
    chosen = [each for each in _answered() if each.kind in DIRECT]
    reads = await read_all(chosen, direct, tmp_path)
    with capsys.disabled():
        print("\ndirect lanes", table(reads.values()))  # noqa: T201 - the table is the point
    listed = INVALID | RECONCILED
    assert _not_equal(reads) == {id_: verdict for id_, (verdict, _) in listed.items()}
    _hold_to_the_rest(reads)


async def test_the_litellm_lane_books_what_was_reported_or_marks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.need_recorded()
    # LiteLLM always asks Gemini for events, these are answers to who did not
    chosen = [each for each in _answered() if "-json-array-" not in each.id]
    reads = await read_all(chosen, through_litellm, tmp_path)
    collect_quietly()
    with capsys.disabled():
        print("\nthrough LiteLLM", table(reads.values()))  # noqa: T201 - the table is the point
    unseen = {each.id: ("estimated", NO_CLIENT) for each in chosen if _is_unseen(each)}
    listed = unseen | INVALID | RECONCILED | LOST_BY_LITELLM
    assert _not_equal(reads) == {id_: verdict for id_, (verdict, _) in listed.items()}
    _hold_to_the_rest(reads, unseen)


def _answered() -> list[Exchange]:
    return [exchange for exchange in recorded.exchanges() if exchange.status < 300]


def _is_unseen(exchange: Exchange) -> bool:
    """Whether usage was reported in a whole answer that LiteLLM's own client takes."""
    settings = through_litellm(exchange)
    backend, _, model = settings["default_model"].partition("/")
    takes_ours = client_kind(backend, settings.get("options", {})) and not is_bridged(model)
    return exchange.expect["usage"] is not None and "-json-" in exchange.id and not takes_ours


def _not_equal(reads: dict[str, Read]) -> dict[str, str]:
    return {
        id_: read.verdict for id_, read in reads.items() if read.is_told and read.verdict != "equal"
    }


def _hold_to_the_rest(reads: dict[str, Read], unseen: Collection[str] = ()) -> None:
    """Nothing is called reported that was not; costs are the provider's; the caller is told so.

    What the provider said an answer of `unseen` cost is not known either.
    """
    untold = [read for read in reads.values() if not read.is_told]
    answered = [read for read in reads.values() if read.response is not None]
    seen = [read for read in answered if read.exchange.id not in unseen]
    paid = [read for read in seen if read.told_cost_usd is not None]
    other_costs = {
        read.exchange.id: str(read.cost_usd) for read in paid if read.cost_usd != read.told_cost_usd
    }
    assert {read.usage.source for read in untold} <= {"estimated", "unknown"}
    assert other_costs == OWN_KEY
    assert {read.cost_source for read in paid} == {"provider"}
    assert [read for read in answered if read not in paid and read.cost_source == "provider"] == []
    assert [read for read in answered if read.answered_usage != read.usage] == []
    assert all(read.usage.invalid for id_, read in reads.items() if id_ in INVALID)
