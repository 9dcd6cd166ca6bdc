from __future__ import annotations

from typing import Any

from orchestify.lanes.openai.gemini_count import count_body, count_path
from orchestify.values import CompletionRequest, ImagePart, LLMMessage, TextPart, ToolCall


def contents_of(*messages: LLMMessage) -> Any:
    body = count_body(CompletionRequest(messages=messages, model="gemini-2.5-flash"))
    return None if body is None else body["generateContentRequest"]["contents"]


def test_the_path_names_the_model_once() -> None:
    assert count_path("gemini-2.5-pro") == "/models/gemini-2.5-pro:countTokens"
    assert count_path("models/gemini-2.5-pro") == "/models/gemini-2.5-pro:countTokens"


def test_calls_and_results_are_gemini_parts() -> None:
    call = LLMMessage("assistant", "so", tool_calls=(ToolCall("1", "f", {"a": 1}),))
    assert contents_of(call, LLMMessage("tool", "42", tool_call_id="1")) == [
        {
            "role": "model",
            "parts": [{"text": "so"}, {"functionCall": {"name": "f", "args": {"a": 1}}}],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "f", "response": {"result": "42"}}}],
        },
    ]


def test_an_image_is_counted_where_it_is_in_the_request() -> None:
    image = ImagePart(data="AAAA", media_type="image/png")
    assert contents_of(LLMMessage("user", (TextPart("what?"), image))) == [
        {
            "role": "user",
            "parts": [
                {"text": "what?"},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            ],
        }
    ]


def test_an_image_elsewhere_cannot_be_counted() -> None:
    assert contents_of(LLMMessage("user", (ImagePart(url="https://h/i.png"),))) is None
