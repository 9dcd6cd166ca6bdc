"""OpenTelemetry's names, and messages in its conventions' form."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes

from orchestify.errors import MissingExtraError
from orchestify.telemetry import Telemetry, exporting
from orchestify.telemetry.attributes import (
    PROVIDERS,
    SECONDS,
    TOKENS,
    Names,
    input_messages,
    output_messages,
)
from orchestify.values import ImagePart, LLMMessage, LLMResponse, TextPart, Thinking, ToolCall

KNOWN = {
    value
    for module in (gen_ai_attributes, gen_ai_metrics, error_attributes, server_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
OUTDATED = {gen_ai_attributes.GEN_AI_SYSTEM, gen_ai_attributes.GEN_AI_PROMPT}


def names() -> set[str]:
    return {value for name, value in vars(Names).items() if name.isupper()}


def test_every_name_is_the_conventions_or_ours() -> None:
    ours = {name for name in names() if name.startswith("orchestify.")}
    assert names() - ours - KNOWN == set()
    assert len(ours) == 9


def test_no_name_is_one_that_the_conventions_have_replaced() -> None:
    assert names() & OUTDATED == set()


def test_every_company_is_one_that_the_conventions_know() -> None:
    known = {"anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere"}
    known |= {"gcp.gemini", "gcp.vertex_ai", "ibm.watsonx.ai", "mistral_ai", "x_ai"}
    assert set(PROVIDERS.values()) <= known


def test_the_buckets_are_those_that_the_conventions_advise() -> None:
    assert SECONDS[0] == 0.01
    assert SECONDS[-1] == 81.92
    assert TOKENS[:4] == (1, 4, 16, 64)
    assert TOKENS[-1] == 67_108_864


def parts(*messages: LLMMessage) -> Any:
    return json.loads(input_messages(messages))


def test_a_conversation_is_told_in_the_conventions_form() -> None:
    call = ToolCall("c1", "get_weather", {"city": "Paris"})
    told = parts(
        LLMMessage("system", "be brief"),
        LLMMessage("user", "weather?"),
        LLMMessage("assistant", "", tool_calls=(call,), thinking=Thinking("hm")),
        LLMMessage("tool", "rainy", tool_call_id="c1"),
    )
    arguments = {"city": "Paris"}
    assert told == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "weather?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": arguments},
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", "response": "rainy"}],
        },
    ]


def test_images_are_uris_and_blobs() -> None:
    content = (
        TextPart("look"),
        ImagePart("https://example.com/a.png"),
        ImagePart(data="aGk=", media_type="image/png"),
    )
    blob = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGk="}
    assert parts(LLMMessage("user", content))[0]["parts"] == [
        {"type": "text", "content": "look"},
        {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
        blob,
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_call"),
        ("refusal", "content_filter"),
    ],
)
def test_an_answer_is_told_with_the_conventions_finish_reason(ours: str, theirs: str) -> None:
    told = json.loads(output_messages(LLMResponse("yes", "m", 1, 1, ours)))
    text = {"type": "text", "content": "yes"}
    assert told == [{"role": "assistant", "parts": [text], "finish_reason": theirs}]


def test_arguments_that_are_no_json_are_told_as_they_came() -> None:
    call = ToolCall("c1", "f", {}, raw_arguments="{oops", valid=False)
    told = parts(LLMMessage("assistant", tool_calls=(call,)))
    assert told[0]["parts"][0]["arguments"] == "{oops"


@pytest.mark.parametrize("value", ["true", "True", "SPAN_ONLY", "span_and_event", "1"])
def test_the_environment_may_ask_for_content(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    assert Telemetry().capture_content
    assert not Telemetry(capture_content=False).capture_content


@pytest.mark.parametrize("value", ["", "false", "NO_CONTENT", "event_only"])
def test_content_is_not_told_unless_asked_for(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    assert not Telemetry().capture_content


def test_without_an_endpoint_the_global_providers_are_used() -> None:
    telemetry, close = exporting({})
    assert isinstance(telemetry, Telemetry)
    close()


def test_a_missing_exporter_is_named_with_what_to_install() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with pytest.raises(MissingExtraError, match="opentelemetry-exporter-otlp-proto-grpc"):
        exporting(environ)


def test_a_missing_api_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orchestify.telemetry", "orchestify.telemetry.telemetry"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "orchestify.telemetry.export")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[otel\]"):
        import_module("orchestify.telemetry")
