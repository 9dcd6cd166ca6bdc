"""Recorded requests as our own values: those whose content is text and stands whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestify.values import LLMMessage, ResponseFormat, Tool, ToolCall
from tests.recorded import FOLDER


@dataclass(frozen=True)
class RecordedRequest:
    id: str
    provider: str
    model: str
    messages: tuple[LLMMessage, ...]
    tools: tuple[Tool, ...]
    response_format: ResponseFormat | None
    input_tokens: int


class NotTextError(Exception):
    """Images, documents, server tools, or a body of another kind."""


Parsed = tuple[list[LLMMessage], list[Tool], Any]


def recorded_requests() -> Iterator[RecordedRequest]:
    for path in sorted((FOLDER / "interactions").glob("*/*.json")):
        call = json.loads(path.read_text(encoding="utf-8"))
        body, usage = call["request"]["body"], call["expect"]["usage"]
        if not isinstance(body, dict) or not usage or not usage["prompt"]:
            continue
        if call["kind"] not in PARSERS or "<trimmed " in json.dumps(body):
            continue
        try:
            messages, tools, schema = PARSERS[call["kind"]](body)
        except (NotTextError, KeyError, AttributeError):  # bodies of yet other forms
            continue
        yield RecordedRequest(
            call["id"],
            call["provider"],
            call["model"] or body.get("model") or "",
            tuple(messages),
            tuple(tools),
            ResponseFormat(schema=schema) if isinstance(schema, dict) else None,
            usage["prompt"],
        )


def text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if any(not {"text"} <= part.keys() <= TEXT_KEYS for part in content):
        raise NotTextError
    return "".join(part["text"] for part in content)


TEXT_KEYS = {"text", "type", "cache_control", "annotations", "citations", "logprobs"}


def call_of(name: str, arguments: Any) -> ToolCall:
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall("", name, raw_arguments=raw)


def tool_of(name: str, description: str | None, schema: Any) -> Tool:
    return Tool(name, description, schema or {})


def chat(body: dict[str, Any]) -> Parsed:
    messages = [
        LLMMessage(
            {"developer": "system"}.get(message["role"], message["role"]),
            text_of(message.get("content")),
            tool_calls=tuple(
                call_of(call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls") or ()
            ),
        )
        for message in body["messages"]
    ]
    tools = [tool["function"] for tool in body.get("tools") or ()]
    declared = [tool_of(t["name"], t.get("description"), t.get("parameters")) for t in tools]
    asked = body.get("response_format") or {}
    return messages, declared, asked.get("json_schema", {}).get("schema")


def anthropic(body: dict[str, Any]) -> Parsed:
    messages = [LLMMessage("system", text_of(body["system"]))] if body.get("system") else []
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if any(part["type"] not in {"text", "tool_use", "tool_result"} for part in parts):
            raise NotTextError
        messages += [
            LLMMessage("tool", text_of(part.get("content")))
            for part in parts
            if part["type"] == "tool_result"
        ]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        uses = [part for part in parts if part["type"] == "tool_use"]
        calls = tuple(call_of(use["name"], use["input"]) for use in uses)
        messages += [LLMMessage(message["role"], text, tool_calls=calls)] if text or calls else []
    tools = body.get("tools") or []
    if body.get("mcp_servers") or any(tool.get("type", "custom") != "custom" for tool in tools):
        raise NotTextError
    declared = [tool_of(t["name"], t.get("description"), t["input_schema"]) for t in tools]
    asked = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return messages, declared, asked.get("schema")


def converse(body: dict[str, Any]) -> Parsed:
    messages = [LLMMessage("system", text_of(body["system"]))] if body.get("system") else []
    for message in body["messages"]:
        results = [part["toolResult"] for part in message["content"] if "toolResult" in part]
        uses = [part["toolUse"] for part in message["content"] if "toolUse" in part]
        rest = [part for part in message["content"] if not {"toolResult", "toolUse"} & part.keys()]
        messages += [LLMMessage("tool", json.dumps(result["content"])) for result in results]
        calls = tuple(call_of(use["name"], use["input"]) for use in uses)
        said = LLMMessage(message["role"], text_of(rest), tool_calls=calls)
        messages += [said] if rest or calls else []
    tools = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or ()]
    declared = [tool_of(t["name"], t.get("description"), t["inputSchema"]["json"]) for t in tools]
    return messages, declared, None


def gemini(body: dict[str, Any]) -> Parsed:
    system = body.get("systemInstruction") or body.get("system_instruction")
    messages = [LLMMessage("system", text_of(system["parts"]))] if system else []
    for message in body["contents"]:
        parts = [{k: v for k, v in p.items() if k != "thoughtSignature"} for p in message["parts"]]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        uses = [part["functionCall"] for part in parts if "functionCall" in part]
        rest = [part for part in parts if not {"functionResponse", "functionCall"} & part.keys()]
        messages += [LLMMessage("tool", json.dumps(result["response"])) for result in results]
        calls = tuple(call_of(use["name"], use.get("args") or {}) for use in uses)
        role = "assistant" if message.get("role") == "model" else "user"
        messages += [LLMMessage(role, text_of(rest), tool_calls=calls)] if rest or calls else []
    declared = []
    for tool in body.get("tools") or ():
        for t in tool.get("functionDeclarations") or tool["function_declarations"]:
            schema = t.get("parameters") or t.get("parametersJsonSchema")
            declared.append(tool_of(t["name"], t.get("description"), schema))
    config = body.get("generationConfig") or {}
    return messages, declared, config.get("responseSchema") or config.get("responseJsonSchema")


def responses(body: dict[str, Any]) -> Parsed:
    if body.get("previous_response_id") or body.get("conversation"):
        raise NotTextError
    said = body.get("instructions")
    messages = [LLMMessage("system", said)] if said else []
    asked = body["input"]
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            role = {"developer": "system"}.get(item["role"], item["role"])
            messages.append(LLMMessage(role, text_of(item["content"])))
        elif kind == "function_call":
            calls = (call_of(item["name"], item["arguments"]),)
            messages.append(LLMMessage("assistant", tool_calls=calls))
        elif kind == "function_call_output":
            messages.append(LLMMessage("tool", text_of(item["output"])))
        else:
            raise NotTextError
    tools = body.get("tools") or []
    if any(tool["type"] != "function" for tool in tools):
        raise NotTextError
    declared = [tool_of(t["name"], t.get("description"), t.get("parameters")) for t in tools]
    return messages, declared, (body.get("text") or {}).get("format", {}).get("schema")


PARSERS: dict[str, Callable[[dict[str, Any]], Parsed]] = {
    "chat": chat,
    "nativechat": chat,
    "messages": anthropic,
    "invoke": anthropic,
    "converse": converse,
    "generateContent": gemini,
    "responses": responses,
}
