"""What we believe about LiteLLM, against LiteLLM itself; where one fails, the lane must change.

What we believe of the clients that it takes is in `test_litellm_clients.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestify.lanes.litellm import load
from orchestify.lanes.litellm.errors import CUT_OFF
from orchestify.testing import Reply, StubServer
from tests.lanes import LITELLMS_OWN_WARNINGS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    # LiteLLM's own use of pydantic
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def litellm() -> AsyncIterator[Any]:
    module = await load()
    yield module
    await module.close_litellm_async_clients()


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def asked(base_url: str, model: str = "openai/stub", **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "api_base": base_url,
        "api_key": "any",
        "max_retries": 0,
    } | more


async def test_tools_and_streams_need_no_more_than_is_declared(
    litellm: Any, server: StubServer
) -> None:
    fields = asked(server.openai_url, tools=[TOOL], tool_choice="required")
    answer = await litellm.acompletion(**fields)
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    stream = await litellm.acompletion(**fields, stream=True)
    assert [chunk async for chunk in stream]


async def test_a_refused_connection_is_called_a_server_error(litellm: Any) -> None:
    with pytest.raises(litellm.InternalServerError) as caught:
        await litellm.acompletion(**asked("http://127.0.0.1:1/v1"))
    assert caught.value.status_code == 500


async def test_anthropics_529_is_called_a_500(litellm: Any, server: StubServer) -> None:
    server.script(Reply(status=529))
    with pytest.raises(litellm.InternalServerError) as caught:
        await litellm.acompletion(**asked(server.anthropic_url, "anthropic/stub"))
    assert caught.value.status_code == 500


async def test_retry_after_is_only_in_litellms_own_attribute(
    litellm: Any, server: StubServer
) -> None:
    server.script(Reply(status=429, retry_after="7"))
    with pytest.raises(litellm.RateLimitError) as caught:
        await litellm.acompletion(**asked(server.openai_url))
    assert caught.value.litellm_response_headers["retry-after"] == "7"


async def test_without_retries_a_failure_is_one_request(litellm: Any, server: StubServer) -> None:
    server.script(Reply(status=500))
    with pytest.raises(litellm.InternalServerError):
        await litellm.acompletion(**asked(server.openai_url))
    assert len(server.requests) == 1


async def test_a_stream_cut_cleanly_ends_with_stop_or_with_an_error_in_these_words(
    litellm: Any, server: StubServer
) -> None:
    server.script(Reply(text="one two three", eof_after=1))
    stream = await litellm.acompletion(**asked(server.openai_url), stream=True)
    words, said = [], ""
    try:
        words = [chunk.choices[0].finish_reason async for chunk in stream]
    except litellm.exceptions.MidStreamFallbackError as error:
        said = str(error)
    assert words[-1:] == ["stop"] or CUT_OFF in said
    assert stream.received_finish_reason is None
    assert stream.intermittent_finish_reason is None


async def test_a_streams_usage_is_made_up_where_none_was_sent(
    litellm: Any, server: StubServer
) -> None:
    server.script(Reply(text="one two three", usage={}))
    options = {"include_usage": True}
    fields = asked(server.openai_url, stream=True, stream_options=options)
    stream = await litellm.acompletion(**fields)
    *_, last = [chunk async for chunk in stream]
    assert last.usage.completion_tokens > 0
    assert [chunk for chunk in stream.chunks if getattr(chunk, "usage", None)] == []


async def test_an_answers_usage_is_made_up_where_none_was_sent(
    litellm: Any, server: StubServer
) -> None:
    heard: list[str] = []
    server.script(Reply(text="one two three", usage={}))
    answer = await litellm.acompletion(
        **asked(server.openai_url),
        logger_fn=lambda details: heard.append(str(details.get("original_response"))),
    )
    assert answer.usage.total_tokens == 0
    assert '"content": "one two three"' in heard[-1]


async def test_an_ollama_model_in_the_map_is_not_asked_for(
    litellm: Any, server: StubServer
) -> None:
    litellm.model_cost["ollama/ours"] = {"litellm_provider": "ollama", "mode": "chat"}
    assert litellm.get_model_info("ollama/ours", api_base=server.url)["mode"] == "chat"
    assert len(server.requests) == 0


IMPORT = """
import asyncio, gc, sys
from concurrent.futures import ThreadPoolExecutor
reached = []
sys.addaudithook(lambda event, args: reached.append(event) if event == "socket.connect" else None)
from orchestify.lanes.litellm import load
assert "litellm" not in sys.modules
with ThreadPoolExecutor(4) as threads:
    loaded = list(threads.map(lambda _: asyncio.run(load()), range(4)))
assert len(set(map(id, loaded))) == 1
assert gc.isenabled()
assert reached == [], reached
"""


async def test_the_import_is_silent_needs_no_network_and_serves_several_loops() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", IMPORT),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "")
