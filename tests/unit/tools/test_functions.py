"""Python functions as tools: their schemas, the arguments they take, and what is refused."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, TypedDict

import pytest
import typing_extensions
from pydantic import AfterValidator, BaseModel, Field

from orchestify.errors import InvalidParameterError
from orchestify.tools.functions import FunctionTool, UnfitArgumentsError


class Unit(Enum):
    """Of temperatures."""

    CELSIUS = "C"


class OwnPoint(TypedDict):
    x: int


class ExtendedPoint(typing_extensions.TypedDict):
    x: int


class Place(BaseModel):
    """A place."""

    city: str
    since: dt.date = dt.date(2000, 1, 1)


@dataclass
class Point:
    """A point."""

    x: float


def forecast(
    place: Place,
    days: Annotated[int, Field(description="At most 7", le=7)] = 1,
    unit: Unit = Unit.CELSIUS,
    *,
    mode: Literal["short", "long"] = "short",
) -> str:
    """Forecast the weather.

    Args:
        place: Where.
        days: Not this: the annotation says more.
    """
    return f"{type(place).__name__} {days} {unit} {mode}"


def refuse(value: str) -> str:
    raise ValueError("a secret of the host's")


def guarded(name: Annotated[str, AfterValidator(refuse)]) -> str:
    return name


def shadowing(schema: int, json: int, copy: int, model_config: int, _x: int = 0) -> int:
    return schema + json + copy + model_config + _x


def positional(a: int, b: int = 2, /, c: int = 3) -> list[int]:
    return [a, b, c]


class Host:
    """A host's object."""

    def method(self, text: str) -> str:
        """Return it."""
        return text

    async def __call__(self, text: str) -> str:
        return text


class TestSchema:
    def test_it_is_of_annotations_and_docstring(self) -> None:
        tool = FunctionTool(forecast).tool
        assert (tool.name, tool.description) == ("forecast", "Forecast the weather.")
        schema = dict(tool.input_schema)
        assert schema["required"] == ["place"]
        assert schema["additionalProperties"] is False
        assert schema["properties"]["place"] == {"$ref": "#/$defs/Place", "description": "Where."}
        assert schema["properties"]["days"] == {
            "default": 1,
            "description": "At most 7",
            "maximum": 7,
            "type": "integer",
        }
        assert schema["properties"]["mode"]["enum"] == ["short", "long"]
        assert schema["$defs"]["Place"]["required"] == ["city"]

    def test_no_parameters_is_an_empty_object(self) -> None:
        def now() -> str:
            return "now"

        assert FunctionTool(now).tool.input_schema == {
            "additionalProperties": False,
            "properties": {},
            "type": "object",
        }

    def test_names_that_pydantic_has_itself_are_free(self) -> None:
        tool = FunctionTool(shadowing)
        assert list(tool.tool.input_schema["properties"]) == [
            *("schema", "json", "copy", "model_config", "_x"),
        ]
        arguments = {"schema": 1, "json": 2, "copy": 3, "model_config": 4}
        assert tool.call(arguments)() == 10

    def test_a_default_that_is_no_json_is_left_out(self) -> None:
        def search(text: str, end: Any = object) -> str:
            return text

        assert FunctionTool(search).tool.input_schema["properties"]["end"] == {}

    def test_a_default_that_json_has_no_number_for_is_left_out(self) -> None:
        def search(most: float = float("inf")) -> float:
            return most

        assert FunctionTool(search).tool.input_schema["properties"]["most"] == {"type": "number"}
        assert FunctionTool(search).call({})() == float("inf")

    def test_what_a_partial_has_bound_is_not_the_models_to_choose(self) -> None:
        def read(user: str, path: str) -> str:
            return f"{user}:{path}"

        tool = FunctionTool(partial(read, user="alice"))
        assert list(tool.tool.input_schema["properties"]) == ["path"]
        with pytest.raises(UnfitArgumentsError, match="user: Extra inputs"):
            tool.call({"path": "x", "user": "bob"})
        assert tool.call({"path": "x"})() == "alice:x"


class TestCall:
    def test_arguments_are_converted_to_the_annotated_types(self) -> None:
        call = FunctionTool(forecast).call(
            {"place": {"city": "Oslo", "since": "2020-02-02"}, "unit": "C", "days": "3"}
        )
        assert call() == "Place 3 Unit.CELSIUS short"

    def test_what_is_not_given_is_the_functions_own_default(self) -> None:
        marker = object()

        def search(text: str, end: Any = marker) -> bool:
            return end is marker

        assert FunctionTool(search).call({"text": "x"})() is True

    def test_positional_parameters_are_given_in_order(self) -> None:
        tool = FunctionTool(positional)
        assert tool.call({"a": 1, "b": 5, "c": 9})() == [1, 5, 9]
        assert tool.call({"a": 1, "c": 9})() == [1, 2, 9]

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ({}, "place: Field required"),
            ({"place": {"city": 3}}, r"place\.city: Input should be a valid string"),
            ({"place": {"city": "x"}, "days": 8}, "days: Input should be less than or equal to 7"),
            ({"place": {"city": "x"}, "dayz": 1}, "dayz: Extra inputs are not permitted"),
            ({"place": {"city": "\ud800"}}, "Invalid JSON"),
        ],
    )
    def test_what_does_not_fit_is_told_with_its_place(
        self, arguments: dict[str, Any], what: str
    ) -> None:
        with pytest.raises(UnfitArgumentsError, match=what):
            FunctionTool(forecast).call(arguments)

    def test_a_hosts_validator_keeps_its_words_to_itself(self) -> None:
        with pytest.raises(UnfitArgumentsError) as caught:
            FunctionTool(guarded).call({"name": "x"})
        assert str(caught.value) == "name: not accepted"

    def test_a_hosts_validator_that_fails_ends_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def divide(by: Annotated[int, AfterValidator(lambda by: 1 // by)]) -> int:
            return by

        with pytest.raises(UnfitArgumentsError, match=r"^not accepted \(ZeroDivisionError\)$"):
            FunctionTool(divide).call({"by": 0})
        assert caplog.messages == ["a validator of tool divide raised ZeroDivisionError"]

    def test_five_faults_are_told(self) -> None:
        with pytest.raises(UnfitArgumentsError, match=r"; and 3 more$"):
            FunctionTool(lambda: None, "none").call(dict.fromkeys("abcdefgh", 1))

    @pytest.mark.parametrize(
        ("function", "name", "is_async"),
        [
            (Host().method, "method", False),
            (Host(), "Host", True),
            (partial(Host().method), "method", False),
        ],
    )
    def test_methods_objects_and_partials_are_functions(
        self, function: Callable[..., Any], name: str, is_async: bool
    ) -> None:
        tool = FunctionTool(function)
        assert (tool.name, tool.is_async) == (name, is_async)
        assert list(tool.tool.input_schema["properties"]) == ["text"]


class TestRefused:
    @pytest.mark.parametrize(
        ("function", "what"),
        [
            (lambda text: text, "1 to 64 letters"),
            (print, r"\*args and \*\*kwargs do not say"),
            (3, "a tool is a function, not a int"),
        ],
    )
    def test_what_cannot_be_a_tool_is_named(self, function: Any, what: str) -> None:
        with pytest.raises(InvalidParameterError, match=what):
            FunctionTool(function)

    def test_a_type_without_a_schema_is_named(self) -> None:
        def call(back: Callable[[], int]) -> int:
            return back()

        with pytest.raises(InvalidParameterError, match=r"tool 'call': a parameter's type"):
            FunctionTool(call)

    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads it from 3.12 on")
    def test_a_typed_dict_of_pythons_own_is_told_its_remedy(self) -> None:
        def at(point: OwnPoint) -> str:
            return ""

        with pytest.raises(InvalidParameterError, match=r"typing_extensions\.TypedDict\)$"):
            FunctionTool(at)

    def test_a_typed_dict_has_a_schema(self) -> None:
        def at(point: ExtendedPoint) -> str:
            return ""

        schema = FunctionTool(at).tool.input_schema
        assert schema["$defs"]["ExtendedPoint"]["required"] == ["x"]

    def test_a_type_of_the_hosts_own_is_named(self) -> None:
        def at(host: Host) -> str:
            return ""

        with pytest.raises(InvalidParameterError, match=r"tool 'at': a parameter's type"):
            FunctionTool(at)

    def test_what_a_function_returns_need_not_be_known(self) -> None:
        class Local(BaseModel):
            size: int

        def at(point: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
            return point

        def made(point: int) -> Local:
            return Local(size=point)

        assert FunctionTool(at).call({"point": 3})() == 3
        assert FunctionTool(made).call({"point": 3})() == Local(size=3)

    @pytest.mark.parametrize("form", ["Nowhere", "list[Nowhere]"])
    def test_a_parameters_type_that_is_not_known_is_named(self, form: str) -> None:
        def at(text: str, point: Any) -> str:
            return text

        at.__annotations__["point"] = form
        with pytest.raises(InvalidParameterError) as caught:
            FunctionTool(at)
        assert str(caught.value) == (
            "tool 'at': the type of parameter 'point' cannot be resolved: 'Nowhere' is not known "
            "at run time; define or import it at the top of the function's module, and not under "
            "TYPE_CHECKING"
        )

    def test_a_name_within_a_type_is_resolved_as_well(self) -> None:
        def at(places: Any) -> str:
            return ""

        at.__annotations__["places"] = list["Place"]
        schema = FunctionTool(at).tool.input_schema
        assert schema["properties"]["places"]["items"] == {"$ref": "#/$defs/Place"}

    def test_a_local_class_that_the_function_mentions_is_known(self) -> None:
        class Local(BaseModel):
            size: int

        def at(place: Local) -> bool:
            return isinstance(place, Local)

        assert FunctionTool(at).call({"place": {"size": 3}})() is True

    def test_a_closure_that_is_not_filled_yet_is_no_obstacle(self) -> None:
        def at(size: int) -> int:
            return later(size)

        tool = FunctionTool(at)

        def later(size: int) -> int:
            return size

        assert tool.call({"size": 3})() == 3

    def test_a_local_class_that_it_does_not_mention_is_named(self) -> None:
        class Local(BaseModel):
            size: int

        def at(place: Local) -> int:
            return place.size

        with pytest.raises(InvalidParameterError, match=r"'place' .* 'Local' is not known"):
            FunctionTool(at)

    def test_a_type_that_is_no_expression_is_named(self) -> None:
        def at(point: Any) -> str:
            return ""

        at.__annotations__["point"] = "not a type"
        with pytest.raises(InvalidParameterError, match=r"'point' cannot be resolved: SyntaxError"):
            FunctionTool(at)

    @pytest.mark.parametrize("name", ["", "two words", "a" * 65, "né", "a.b"])
    def test_a_name_that_providers_refuse(self, name: str) -> None:
        with pytest.raises(InvalidParameterError, match="1 to 64 letters"):
            FunctionTool(positional, name)
