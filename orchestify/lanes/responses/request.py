"""OpenAI's Responses: the request's body.

The conversation goes whole with each request, and nothing of it is to be kept. Source: OpenAI,
"API reference: Create a model response".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestify.lanes.fitting import Fitting, drop_names, wrap_arguments
from orchestify.lanes.openai.dialects import Dialect, always_thinks
from orchestify.lanes.openai.request import FILE_NAME
from orchestify.lanes.openai.thinking import thinking_fields, thinking_off_fields
from orchestify.lanes.turns import in_order
from orchestify.values import (
    CompletionRequest,
    FilePart,
    LLMMessage,
    Part,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)

ENCRYPTED = "reasoning.encrypted_content"
"""What `include` asks for, so that reasoning can be sent back that nobody kept."""

_NOT_TAKEN = ("frequency_penalty", "presence_penalty", "logit_bias", "prediction")
_BLOCKS = ("reasoning", "compaction", "tool_search_output")
_BLOCK_ENDS = ("_call", "_list_tools", "_approval_request")


def fit_to_responses(fitting: Fitting) -> None:
    """Leave out what Chat Completions take and Responses do not, and say so."""
    wrap_arguments(fitting)
    drop_names(fitting)
    request = fitting.request
    if request.stop:
        fitting.change("stop_dropped", stop=())
    if request.seed is not None:
        fitting.change("seed_dropped", seed=None)
    options = dict(request.options)
    for name in _NOT_TAKEN:
        if options.pop(name, None) is not None:
            fitting.warn(f"{name}_dropped")
    if "verbosity" in options:
        options["text"] = {**_text(request.response_format), "verbosity": options.pop("verbosity")}
    if options != request.options:
        fitting.change(options=options)


def body_of(request: CompletionRequest, dialect: Dialect, *, stream: bool) -> dict[str, Any]:
    """Return the body for a request that is fitted to the endpoint."""
    choice = request.tool_choice
    thinks = request.thinking is not None or always_thinks(request.model)
    body: dict[str, Any] = {
        "model": request.model,
        "input": [item for message in request.messages for item in _items(message)],
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(choice),
        "parallel_tool_calls": choice.parallel if choice else None,
        "text": _text(request.response_format) or None,
        "reasoning": reasoning_fields(request, dialect) or None,
        "include": [ENCRYPTED] if thinks else None,
        "store": False,
        "stream": True if stream else None,
    }
    return {name: value for name, value in body.items() if value is not None}


def reasoning_fields(request: CompletionRequest, dialect: Dialect) -> dict[str, Any]:
    """Return the object `reasoning` that says how much the model may think."""
    if request.thinking is not None:
        fields: Mapping[str, Any] = thinking_fields(request.thinking, dialect, request.model)
    elif request.thinking_off:
        fields = thinking_off_fields(dialect, request.model)[0]
    else:
        return {}
    effort = fields.get("reasoning_effort")
    return {} if effort is None else {"effort": effort}


def is_item(block: Mapping[str, Any]) -> bool:
    """Whether a block of an answer is an item of this protocol that goes back as it came."""
    kind = str(block.get("type", ""))
    return kind in _BLOCKS or kind.endswith(_BLOCK_ENDS)


def _items(message: LLMMessage) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message.tool_call_id,
            "output": _content(message),
        }
        return
    if message.role != "assistant":
        yield {"role": message.role, "content": _content(message)}
        return
    for said in in_order(message, is_item):
        if isinstance(said, ToolCall):
            yield _call(said)
        elif isinstance(said, Mapping):
            yield dict(said)
        elif isinstance(said, TextPart):
            yield {"role": "assistant", "content": said.text}


def _content(message: LLMMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [_part(part) for part in message.content]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, FilePart):
        name = part.name or FILE_NAME
        return {"type": "input_file", "filename": name, "file_data": part.data_url}
    return {
        "type": "input_image",
        "image_url": part.data_url,
        "detail": part.detail or "auto",
    }


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = call.raw_arguments
    if not arguments or not arguments.lstrip().startswith("{"):
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    """Return a tool; where nothing is said, it need not be of OpenAI's strict schemas."""
    if tool.server is not None:
        return dict(tool.server)
    form = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema or {"type": "object", "properties": {}},
        "strict": tool.strict or False,
    }
    return {name: value for name, value in form.items() if value is not None}


def _tool_choice(choice: ToolChoice | None) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if choice.mode == "tool":
        return {"type": "function", "name": choice.name}
    return choice.mode


def _text(response_format: ResponseFormat | None) -> dict[str, Any]:
    if response_format is None:
        return {}
    if response_format.schema is None:
        return {"format": {"type": "json_object"}}
    form: dict[str, Any] = {
        "type": "json_schema",
        "name": response_format.name,
        "schema": response_format.schema,
        "strict": response_format.strict or False,
    }
    return {"format": form}


def without_reasoning(items: Iterable[Any]) -> list[Any]:
    """Return items without those of reasoning: for a model that takes none."""
    return [
        item for item in items if not (isinstance(item, dict) and item.get("type") == "reasoning")
    ]
