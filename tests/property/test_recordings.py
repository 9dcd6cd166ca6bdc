"""Whatever is asked and answered comes back from a recording."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings, strategies as st

from orchestify import (
    LLMMessage,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from orchestify.lanes.parsing import encodable
from orchestify.testing import Recordings
from orchestify.testing.recordings import answers
from orchestify.testing.recordings.file import as_text, read, write
from orchestify.testing.recordings.plain import plain
from orchestify.values import CompletionRequest

texts = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "",
        " a",
        "a ",
        "yes",
        "2024-10-21",
        "1e3",
        "a\nb",
        "\n",
        "a\r\nb",
        "\x85\u2028",
        "\ufeff",
        "~",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, trees, max_size=4)
messages = st.builds(
    LLMMessage,
    st.sampled_from(["user", "assistant"]),
    texts,
    tool_calls=st.lists(st.builds(ToolCall, texts, texts, objects), max_size=2).map(tuple),
)
requests = st.builds(
    CompletionRequest,
    messages=st.lists(messages, max_size=3).map(tuple),
    model=texts,
    temperature=st.none() | st.floats(0, 2),
    tools=st.lists(st.builds(Tool, texts, texts, objects), max_size=2).map(tuple),
    options=objects,
)

FILES = settings(deadline=None)  # each example writes a file


@settings(FILES)
@given(st.lists(objects, min_size=1, max_size=3))
def test_a_file_holds_any_plain_value(values: list[dict[str, Any]]) -> None:
    forms = [{"ask": "complete", "provider": "it", "request": plain(each)} for each in values]
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.yaml")
        write(path, map(as_text, forms))
        found = read(path)
        lines = path.read_text(encoding="utf-8").split("\n")
    assert [each.form for each in found] == forms
    assert [lines[each.line - 1] for each in found] == ["- ask: complete"] * len(forms)


def turned(value: Any) -> Any:
    """Return an equal value whose mappings were made in another order."""
    if isinstance(value, dict):
        items = [(name, turned(each)) for name, each in value.items()]
        random.Random(1).shuffle(items)  # noqa: S311 - no secret
        return dict(items)
    return [turned(each) for each in value] if isinstance(value, list) else value


@settings(FILES, max_examples=60)
@given(requests)
def test_any_request_is_found_again_however_its_keys_are_ordered(asked: CompletionRequest) -> None:
    tools = tuple(
        Tool(each.name, each.description, turned(each.input_schema)) for each in asked.tools
    )
    again = CompletionRequest(
        messages=asked.messages,
        model=asked.model,
        temperature=asked.temperature,
        tools=tools,
        options=turned(asked.options),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.yaml")
        slot = Recordings(path).begin("complete", "it", asked)
        slot.answered({"content": "yes", "model": "m", "finish_reason": "stop"})
        found = Recordings(path, "none").find("complete", "it", again)
    assert answers.answer_of(found.form["answer"]).content == "yes"


@settings(FILES)
@given(texts, texts, objects, st.lists(texts, max_size=3))
def test_any_answer_comes_back(
    text: str, name: str, arguments: dict[str, Any], pieces: list[str]
) -> None:
    text, name, arguments, pieces = encodable([text, name, arguments, pieces])
    call = ToolCall("call_1", name, arguments)
    answer = LLMResponse(text, name, 3, 2, "stop", tool_calls=(call,), usage=Usage(3, 2))
    events: list[StreamEvent] = [TextDelta(each) for each in pieces]
    events.append(ToolCallDelta(0, "call_1", name, text))
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.yaml")
        slot = Recordings(path).begin("stream", "it", None)
        for event in events:
            slot.add(event)
        slot.answered(answers.answer_form(answer, with_raw=False))
        found = Recordings(path, "none").find("stream", "it", None)
    assert found.pieces() == events
    assert StreamEnd(answers.answer_of(found.form["answer"])) == StreamEnd(answer)
