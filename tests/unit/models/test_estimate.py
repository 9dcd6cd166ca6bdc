from __future__ import annotations

import base64

import pytest

from orchestify.models.estimate import count_tokens, estimate_output_tokens, family_of, image_tokens
from orchestify.values import ImagePart, LLMMessage, ResponseFormat, TextPart, Tool, ToolCall

HELLO = (LLMMessage("user", "Hello there"),)
WEATHER = Tool(
    "get_weather",
    "Get the weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def png(width: int, height: int) -> ImagePart:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + width.to_bytes(4) + height.to_bytes(4)
    return ImagePart(data=base64.b64encode(head + bytes(40)).decode(), media_type="image/png")


def test_two_words_to_gpt_4o_are_nine_tokens_as_openai_counts():
    assert count_tokens(HELLO, model="gpt-4o") == 9


def test_every_message_adds_its_overhead():
    assert count_tokens(HELLO * 3, model="gpt-4o") == 21


def test_no_messages_cost_only_the_request_itself():
    assert count_tokens((), model="gpt-4o") == 3


def test_tools_bring_claude_its_own_prompt_about_tools():
    without, with_tool = (
        count_tokens(HELLO, tools, "claude-sonnet-4-5") for tools in ((), (WEATHER,))
    )
    assert 500 < with_tool - without < 600


def test_a_tool_costs_gpt_its_schema_and_little_more():
    without, with_tool = (count_tokens(HELLO, tools, "gpt-4o") for tools in ((), (WEATHER,)))
    assert 30 < with_tool - without < 60


def test_a_schema_for_the_answer_is_counted():
    asked = ResponseFormat(schema=WEATHER.input_schema)
    assert count_tokens(HELLO, (), "gpt-4o", asked) > count_tokens(HELLO, (), "gpt-4o") + 10


def test_tool_calls_and_their_arguments_are_counted():
    call = ToolCall("call_1", "get_weather", raw_arguments='{"city": "Paris"}')
    said = LLMMessage("assistant", tool_calls=(call,))
    assert 25 < count_tokens((said,), model="gpt-4o") < 45


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("1234567", 3),
        ("你好世界", 4),
        ("🎉🚀", 2),
        ("internationalization", 2),
    ],
)
def test_text_is_counted_by_words_digits_marks_and_characters(text: str, tokens: int):
    assert estimate_output_tokens(text, "gpt-4o") == tokens


def test_a_long_text_counted_in_samples_is_close_to_its_parts():
    sentence = "The quick brown fox jumps over the lazy dog. "
    assert estimate_output_tokens(sentence * 10_000) == pytest.approx(100_000, rel=0.02)


@pytest.mark.parametrize(
    ("model", "request_tokens"),
    [
        ("claude-3-5-sonnet-20240620", 330),
        ("claude-sonnet-4-20250514", 330),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", 330),
        ("anthropic/claude-sonnet-4-5", 480),
        ("claude-opus-4-10", 480),
        ("openrouter/openai/gpt-oss-120b", 0),
        ("gpt-5-mini", 0),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", 560),
        ("llama3:8b", 60),
        ("a-name-nobody-knows", 60),
    ],
)
def test_family_is_found_by_the_models_name(model: str, request_tokens: int):
    assert family_of(model).tools == request_tokens


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("claude-sonnet-4-5", 200, 200, 54),
        ("claude-sonnet-4-5", 1000, 1000, 1334),
        ("claude-sonnet-4-5", 8000, 8000, 1600),
        ("claude-sonnet-4-5", None, None, 1600),
        ("gpt-4o", 1024, 1024, 765),
        ("gpt-4o", 2048, 4096, 1105),
        ("gpt-4o", None, None, 765),
        ("gemini-2.5-flash", 3000, 3000, 258),
    ],
)
def test_images_cost_what_their_provider_documents(
    model: str, width: int | None, height: int | None, tokens: int
):
    assert image_tokens(model, width, height) == tokens


def test_the_size_of_a_png_is_read_from_its_head():
    message = LLMMessage("user", (TextPart("Hello there"), png(200, 200)))
    assert count_tokens((message,), model="claude-sonnet-4-5") == 64


@pytest.mark.parametrize(
    "image",
    [
        ImagePart(url="https://example.org/cat.png"),
        ImagePart(data="not base64!", media_type="image/png"),
        ImagePart(data="R0lGODlhAQABAAAAACw=", media_type="image/gif"),
    ],
)
def test_an_image_of_unknown_size_costs_the_most_it_can(image: ImagePart):
    assert count_tokens((LLMMessage("user", (image,)),), model="claude-sonnet-4-5") == 1607


def test_texts_are_counted_as_if_they_were_joined():
    words = ["ab c1é", "中😀\n,.", "", "x" * 700, "The quick brown fox. " * 60]
    for texts in (words, words * 3, words * 40, ["one " * 9_000, *words * 9]):
        assert estimate_output_tokens(texts) == estimate_output_tokens("".join(texts))
