"""What providers refuse in a request, written from their documentation and their errors.

`messages_problems` and `chat_problems` return what a provider would answer with 400 to a body, in
words, empty where it would take it. Nothing here comes from the product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

# Fields of a message that Chat Completions have; endpoints that check theirs refuse any other.
CHAT_FIELDS = {"role", "content", "name", "tool_call_id", "tool_calls"}
MORE_FIELDS: Mapping[str, set[str]] = {
    "api.deepseek.com": {"reasoning_content"},
    "api.z.ai": {"reasoning_content"},
    "api.moonshot.ai": {"reasoning_content"},
    "dashscope-intl.aliyuncs.com": {"reasoning_content"},
    "api.together.xyz": {"reasoning_content"},
    "api.x.ai": {"reasoning_content"},
    "ollama.com": {"reasoning_content"},
    "127.0.0.1": {"reasoning_content"},
    "openrouter.ai": {"reasoning", "reasoning_details"},
    "generativelanguage.googleapis.com": {"extra_content"},
    "aiplatform.googleapis.com": {"extra_content"},
    "api.mistral.ai": {"prefix"},
}
CALL_ID = {
    "api.mistral.ai": r"[a-zA-Z0-9]{9}",
    "api.openai.com": r".{1,40}",
    "res.openai.azure.com": r".{1,40}",
}
NO_BLANKS = {"api.mistral.ai", "api.moonshot.ai", "api.z.ai", "api.x.ai"}


def messages_problems(body: Mapping[str, Any]) -> list[str]:
    """Return what Anthropic would refuse of a body."""
    return [
        *_turns(body["messages"]),
        *_texts(body),
        *_thinking(body),
        *_sampling(body),
        *_ending(body),
    ]


def chat_problems(body: Mapping[str, Any], host: str) -> list[str]:
    """Return what the endpoint at a host would refuse of a body of Chat Completions."""
    messages = body["messages"]
    problems = [*_pairs(messages), *_fields(messages, host)]
    ids = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    pattern = CALL_ID.get(host, r".+")
    problems += [f"id {each!r}" for each in ids if not re.fullmatch(pattern, each)]
    if len(set(ids)) < len(ids):
        problems.append("an id is used twice")
    if host == "api.mistral.ai":
        problems += _mistral(messages)
    if "googleapis" in host and "gemini-3" in body["model"]:
        problems += _unsigned(messages)
    if re.search(r"deepseek-v4|kimi-k2\.5", body["model"]) and body.get("thinking") != OFF:
        problems += _unreasoned(messages)
    return problems


OFF = {"type": "disabled"}


def _turns(turns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    called: list[str] = []
    known: list[str] = []
    for place, turn in enumerate(turns):
        kinds = [block["type"] for block in turn["content"]]
        if turn["role"] != ("assistant" if place % 2 else "user") and place:
            yield f"turn {place} is of {turn['role']}"
        results = [b["tool_use_id"] for b in turn["content"] if b["type"] == "tool_result"]
        if sorted(results) != sorted(called):
            yield f"turn {place} has results {results} of calls {called}"
        if kinds[: len(results)] != ["tool_result"] * len(results):
            yield f"turn {place} begins with {kinds}"
        called = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        known += called
    if called:
        yield f"calls without results: {called}"
    if len(set(known)) < len(known):
        yield "`tool_use` ids must be unique"
    yield from (f"id {each!r}" for each in known if not re.fullmatch(r"[a-zA-Z0-9_-]+", each))


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    blocks = [*(body.get("system") or ()), *(b for t in body["messages"] for b in t["content"])]
    for block in blocks:
        if block["type"] == "text" and not block["text"].strip():
            yield "a blank text"
    yield from (
        "a blank stop sequence" for each in body.get("stop_sequences", ()) if not each.strip()
    )


def _thinking(body: Mapping[str, Any]) -> Iterator[str]:
    for turn in body["messages"]:
        for block in turn["content"]:
            if block["type"] == "thinking" and not block.get("signature"):
                yield "thinking without a signature"
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "disabled":
        return
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "a forced tool while it thinks"
    if thinking["type"] != "enabled":
        return
    if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield "budget_tokens are from 1024 to below max_tokens"
    loop = _open_loop(body["messages"])
    if loop and loop[0]["content"][0]["type"] not in ("thinking", "redacted_thinking"):
        yield "expected `thinking`, but found " + loop[0]["content"][0]["type"]


def _open_loop(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the assistant's turns that are under way: the last has calls, each its results."""
    loop: list[Mapping[str, Any]] = []
    for turn in reversed(turns):
        kinds = {block["type"] for block in turn["content"]}
        if turn["role"] == "assistant":
            if "tool_use" not in kinds:
                break
            loop.insert(0, turn)
        elif loop and "tool_result" not in kinds:
            break
    return loop


def _sampling(body: Mapping[str, Any]) -> Iterator[str]:
    version = _version(body["model"])
    given = {"temperature", "top_p"} & body.keys()
    if (4, 1) <= version < (4, 7) and len(given) == 2:
        yield "temperature and top_p"
    if version >= (4, 7) and given - ({"temperature"} if body.get("temperature") == 1 else set()):
        yield f"{given} for a model without sampling"
    if not 0 <= body.get("temperature", 0) <= 1:
        yield "a temperature above 1"


def _ending(body: Mapping[str, Any]) -> Iterator[str]:
    last = body["messages"][-1]
    if last["role"] == "assistant":
        text = last["content"][-1].get("text", "")
        if _version(body["model"]) >= (4, 6):
            yield "a prefill"
        if text != text.rstrip():
            yield "a prefill that ends with spaces"


def _version(model: str) -> tuple[int, int]:
    found = re.search(r"-(\d)-(\d{1,2})$", model)
    assert found, model
    return int(found[1]), int(found[2])


def _pairs(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    called: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in called:
                yield f"message {place} answers no call"
            else:
                called.remove(message["tool_call_id"])
            continue
        if called:
            yield f"message {place} comes before the results of {called}"
        called = [call["id"] for call in message.get("tool_calls") or ()]
    if called:
        yield f"calls without results: {called}"


def _fields(messages: Sequence[Mapping[str, Any]], host: str) -> Iterator[str]:
    allowed = CHAT_FIELDS | MORE_FIELDS.get(host, set())
    parts = {"text", "image_url"} | ({"thinking"} if host == "api.mistral.ai" else set())
    for place, message in enumerate(messages):
        if more := message.keys() - allowed:
            yield f"message {place} has {sorted(more)}"
        content = message["content"]
        if not isinstance(content, str):
            kinds = {part["type"] for part in content}
            if kinds - parts:
                yield f"message {place} has parts {sorted(kinds)}"
        elif host in NO_BLANKS and not content.strip() and message["role"] == "user":
            yield f"message {place} is blank"
        if message["role"] == "assistant" and not content and not message.get("tool_calls"):
            yield f"message {place} is empty"


def _mistral(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    roles = [message["role"] for message in messages]
    for before, after in pairwise(roles):
        if before == "tool" and after in ("user", "system"):
            yield f"unexpected role {after!r} after role 'tool'"
    if roles[-1] == "assistant" and not messages[-1].get("prefix"):
        yield "expected last role user or tool, or assistant with prefix"
    yield from ("name" for each in messages if "name" in each and each["role"] != "tool")


def _unsigned(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for place, message in enumerate(messages):
        for call in (message.get("tool_calls") or ())[:1]:
            if not call.get("extra_content", {}).get("google", {}).get("thought_signature"):
                yield f"message {place}: function call is missing a thought_signature"


def _unreasoned(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for place, message in enumerate(messages):
        if message.get("tool_calls") and not message.get("reasoning_content"):
            yield f"message {place}: the reasoning_content must be passed back"
