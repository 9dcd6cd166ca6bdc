"""What a caller gives, checked and turned into values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, create_model

from orchestify.calls.request import (
    Call,
    Defaults,
    FallbackTarget,
    call_of,
    response_format_of,
    stop_of,
    thinking_of,
    tool_of,
)
from orchestify.errors import InvalidParameterError
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    ResponseFormat,
    ThinkingConfig,
    Tool,
    ToolChoice,
)

T = TypeVar("T")
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}}
WEATHER = Tool("get_weather", "Tells the weather", SCHEMA)
DEFAULTS = Defaults(
    temperature=0.2,
    max_tokens=500,
    top_p=0.9,
    stop=("END",),
    thinking=ThinkingConfig("low"),
    cache=True,
    timeout_s=60,
    connect_timeout_s=5,
    idle_timeout_s=20,
)


class TestCall:
    def test_what_is_not_given_stays_none(self) -> None:
        assert call_of("hi") == Call(messages=(LLMMessage("user", "hi"),))

    def test_what_is_not_configured_and_not_given_is_not_asked(self) -> None:
        assert call_of("hi").request(Defaults(), model="m") == CompletionRequest(
            messages=(LLMMessage("user", "hi"),), model="m"
        )

    def test_the_defaults_fill_in(self) -> None:
        assert call_of("hi").request(DEFAULTS, model="m") == CompletionRequest(
            messages=(LLMMessage("user", "hi"),),
            model="m",
            temperature=0.2,
            max_tokens=500,
            top_p=0.9,
            stop=("END",),
            thinking=ThinkingConfig("low"),
            cache=True,
            timeout_s=60,
            connect_timeout_s=5,
            idle_timeout_s=20,
        )

    def test_the_caller_wins(self) -> None:
        call = call_of(
            "hi",
            temperature=0,
            max_tokens=1,
            top_p=0.0,
            stop="X",
            thinking="high",
            timeout_s=1,
            seed=0,
            options={"user": "u"},
        )
        assert call.request(DEFAULTS, model="m") == CompletionRequest(
            messages=(LLMMessage("user", "hi"),),
            model="m",
            temperature=0,
            max_tokens=1,
            top_p=0.0,
            stop=("X",),
            seed=0,
            thinking=ThinkingConfig("high"),
            cache=True,
            options={"user": "u"},
            timeout_s=1,
            connect_timeout_s=5,
            idle_timeout_s=20,
        )

    def test_no_thinking_is_not_silence(self) -> None:
        assert call_of("hi", thinking=False).request(DEFAULTS, model="m").thinking is None
        assert call_of("hi", thinking=None).request(DEFAULTS, model="m").thinking is not None

    def test_an_unknown_keyword_is_named(self) -> None:
        unknown: dict[str, Any] = {"seed": 1, "timeout": 5}
        with pytest.raises(TypeError, match="unexpected keyword argument 'timeout'"):
            call_of("hi", **unknown)

    def test_the_seeds_positions_hold(self) -> None:
        call = call_of([LLMMessage("user", "hi")], "m", 0.7, 8192, [WEATHER], True)
        assert (call.model, call.temperature, call.max_tokens) == ("m", 0.7, 8192)
        assert (call.tools, call.thinking) == ((WEATHER,), ThinkingConfig())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"model": ""}, "model is a text of 1 to 500 characters"),
            ({"model": 5}, "model is a text of 1 to 500 characters"),
            ({"model": "m" * 501}, "model is a text of 1 to 500 characters"),
            ({"temperature": -0.1}, "temperature is at least 0, not -0.1"),
            ({"temperature": "warm"}, "temperature is a number"),
            ({"temperature": True}, "temperature is a number"),
            ({"temperature": float("nan")}, "temperature is at least 0, not nan"),
            ({"top_p": 1.5}, "top_p is from 0 to 1, not 1.5"),
            ({"max_tokens": 0}, "max_tokens is at least 1, not 0"),
            ({"max_tokens": 1.5}, "max_tokens is a whole number"),
            ({"seed": 1.5}, "seed is a whole number"),
            ({"timeout_s": -1}, "timeout_s is at least 0, not -1"),
            ({"max_attempts": 0}, "max_attempts is at least 1, not 0"),
            ({"priority": "urgent"}, "priority is one of critical, high, medium, normal, low"),
            ({"stop": ["a", ""]}, "stop is one text or several, none of them empty"),
            ({"stop": {"a": 1}}, "stop is one text or several, none of them empty"),
            ({"stop": {}}, "stop is one text or several, none of them empty"),
            ({"messages": []}, "messages is empty"),
            ({"tools": ["get_weather"]}, "a tool is a mapping"),
            ({"tool_choice": "auto"}, "tool_choice needs tools to choose from"),
            ({"fallback": [{"model": "m"}]}, "a fallback is a provider's name"),
            ({"fallback": [5]}, "a fallback is a provider's name"),
            (
                {"response_format": create_model("Odd", back=(Callable[[], int], ...))},
                r"response_format: Odd has no JSON Schema \(invalid-for-json-schema\)",
            ),
            ({"tools": 5}, "tools are several, not a int"),
            ({"fallback": 5}, "fallback is False, a provider's name or a list of targets"),
            ({"options": [1]}, "options is a mapping"),
            ({"options": 5}, "options is a mapping"),
            ({"native": {}}, "native is a NativeRequest"),
            ({"response_format": 5}, "response_format is a JSON Schema or a pydantic model"),
        ],
    )
    def test_what_cannot_be_used_is_a_value_error(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            call_of(**{"messages": "hi", **arguments})
        assert isinstance(caught.value, InvalidParameterError)

    @pytest.mark.parametrize(
        "name",
        ["api_key", "model", "base_url", "api_base", "max_retries", "num_retries", "caching"],
    )
    def test_our_own_fields_are_refused_in_options(self, name: str) -> None:
        with pytest.raises(InvalidParameterError, match=f"options cannot hold {name}"):
            call_of("hi", options={name: "sk-secret"})

    def test_a_refused_option_is_not_shown(self) -> None:
        with pytest.raises(InvalidParameterError) as caught:
            call_of("hi", options={"api_key": "sk-secret"})
        assert "sk-secret" not in str(caught.value)

    def test_its_repr_shows_no_prompt(self) -> None:
        assert "hi there" not in repr(call_of("hi there", options={"user": "hi there"}))


class TestFallback:
    @pytest.mark.parametrize(
        ("given", "targets"),
        [
            (None, None),
            (True, None),
            (False, ()),
            ([], ()),
            ("two", (FallbackTarget("two"),)),
            ({"provider": "two"}, (FallbackTarget("two"),)),
            (["two", {"provider": "x", "model": "m"}], (("two", None), ("x", "m"))),
        ],
    )
    def test_forms(self, given: Any, targets: Any) -> None:
        assert call_of("hi", fallback=given).fallback == targets


class TestTools:
    def test_anthropics_form(self) -> None:
        given = {
            "name": "get_weather",
            "description": "Tells the weather",
            "input_schema": SCHEMA,
        }
        assert tool_of(given) == WEATHER
        assert tool_of({"type": "custom", **given}) == WEATHER

    def test_openais_form(self) -> None:
        function = {"name": "get_weather", "description": "Tells the weather", "parameters": SCHEMA}
        assert tool_of({"type": "function", "function": function}) == WEATHER

    def test_strict_is_kept(self) -> None:
        function = {"name": "t", "strict": True}
        assert tool_of({"type": "function", "function": function}).strict is True

    def test_without_a_schema_it_takes_nothing(self) -> None:
        assert tool_of({"name": "now"}).input_schema == {"type": "object", "properties": {}}

    def test_a_tool_of_the_providers_own_is_kept_as_it_is(self) -> None:
        given = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
        assert tool_of(given) == Tool("web_search", server=given)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"description": "x"}, "a tool needs a name"),
            ({"type": "function", "function": {}}, "a tool needs a name"),
            ({"name": "t", "input_schema": "x"}, "the input_schema of tool 't' is a JSON Schema"),
        ],
    )
    def test_other_forms_are_refused(self, given: Any, message: str) -> None:
        with pytest.raises(InvalidParameterError, match=message):
            tool_of(given)


class TestToolChoice:
    @pytest.mark.parametrize(
        ("given", "choice"),
        [
            (None, None),
            ("auto", ToolChoice("auto")),
            ("none", ToolChoice("none")),
            ("required", ToolChoice("required")),
            ("any", ToolChoice("required")),
            ("get_weather", ToolChoice("tool", "get_weather")),
            ({"type": "any"}, ToolChoice("required")),
            ({"type": "tool", "name": "get_weather"}, ToolChoice("tool", "get_weather")),
            (
                {"type": "function", "function": {"name": "get_weather"}},
                ToolChoice("tool", "get_weather"),
            ),
            (ToolChoice("none"), ToolChoice("none")),
        ],
    )
    def test_forms(self, given: Any, choice: ToolChoice | None) -> None:
        assert call_of("hi", tools=[WEATHER], tool_choice=given).tool_choice == choice

    def test_an_unknown_tool_is_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="or the name of a tool"):
            call_of("hi", tools=[WEATHER], tool_choice="get_time")


class TestThinking:
    @pytest.mark.parametrize(
        ("given", "config"),
        [
            (None, None),
            (False, None),
            (True, ThinkingConfig()),
            ("none", None),
            ("minimal", ThinkingConfig("minimal")),
            ("low", ThinkingConfig("low")),
            ("xhigh", ThinkingConfig("xhigh")),
            ("max", ThinkingConfig("max")),
            ({"budget_tokens": 1024}, ThinkingConfig(budget_tokens=1024)),
            (ThinkingConfig("high"), ThinkingConfig("high")),
        ],
    )
    def test_forms(self, given: Any, config: ThinkingConfig | None) -> None:
        assert thinking_of(given) == config

    @pytest.mark.parametrize(
        ("given", "config", "off"),
        [
            (None, ThinkingConfig("low"), False),
            (False, None, True),
            ("none", None, True),
            ("high", ThinkingConfig("high"), False),
        ],
    )
    def test_a_callers_word_holds_over_the_agents(
        self, given: Any, config: ThinkingConfig | None, off: bool
    ) -> None:
        request = call_of("hi", thinking=given).request(DEFAULTS, model="m")
        assert (request.thinking, request.thinking_off) == (config, off)
        assert request.thinking_configured is (given is None)

    def test_thinking_that_is_configured_off_is_said_unless_the_caller_asks(self) -> None:
        defaults = Defaults(thinking_off=True)
        assert call_of("hi").request(defaults, model="m").thinking_off is True
        asked = call_of("hi", thinking=True).request(defaults, model="m")
        assert (asked.thinking, asked.thinking_off) == (ThinkingConfig(), False)

    def test_silence_says_nothing(self) -> None:
        request = call_of("hi").request(Defaults(), model="m")
        assert (request.thinking, request.thinking_off) == (None, False)
        assert request.thinking_configured is False

    @pytest.mark.parametrize("given", ["much", 1, {"budget_tokens": 1023}, {"effort": "low"}, []])
    def test_other_forms_are_refused(self, given: Any) -> None:
        with pytest.raises(InvalidParameterError, match="thinking"):
            thinking_of(given)


class Weather(BaseModel):
    location: str


class Box(BaseModel, Generic[T]):
    content: T


class TestResponseFormat:
    def test_a_model_class(self) -> None:
        form = response_format_of(Weather)
        assert form is not None
        assert (form.name, form.model_class) == ("Weather", Weather)
        assert form.schema is not None
        assert form.schema["required"] == ["location"]

    def test_a_schema(self) -> None:
        assert response_format_of(SCHEMA) == ResponseFormat(schema=SCHEMA)

    def test_its_title_is_the_name_in_letters_that_providers_take(self) -> None:
        form = response_format_of({"title": "My answer: ü!", "type": "object"})
        assert form is not None
        assert form.name == "My_answer____"

    def test_a_generic_models_name_is_one_that_providers_take(self) -> None:
        form = response_format_of(Box[int])
        assert form is not None
        assert form.name == "Box_int_"

    def test_openais_wrapping(self) -> None:
        wrapped = {"name": "w", "schema": SCHEMA, "strict": True}
        assert response_format_of(
            {"type": "json_schema", "json_schema": wrapped}
        ) == ResponseFormat("w", SCHEMA, None, True)

    def test_any_json_object(self) -> None:
        assert response_format_of({"type": "json_object"}) == ResponseFormat()

    def test_a_value_is_kept(self) -> None:
        form = ResponseFormat("w", SCHEMA)
        assert response_format_of(form) is form


def test_stop_is_one_text_or_several() -> None:
    assert stop_of("a") == ("a",)
    assert stop_of(["a", "b"]) == ("a", "b")
    assert stop_of(None) == ()
