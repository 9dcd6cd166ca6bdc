"""A Python function as a tool: the schema of its parameters, and its call with a model's arguments.

The schema is pydantic's, of the signature's annotations; descriptions are the docstring's, or those
of `Annotated[..., Field(description=...)]`. A parameter without an annotation takes anything.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from orchestify.errors import InvalidParameterError
from orchestify.tools.docstrings import described
from orchestify.values import Tool

# OpenAI's form of a function's name, which all others take as well
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OF_VALIDATORS = frozenset({"value_error", "assertion_error"})  # whose words are the host's own
_MOST_FAULTS = 5

_log = logging.getLogger("orchestify.tools")


class UnfitArgumentsError(Exception):
    """A model's arguments do not fit the function; the message says where, for the model."""


class _Schema(GenerateJsonSchema):
    """A default that is no JSON, as NaN, is left out without a warning."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]  # pydantic reads it only

    def encode_default(self, dft: Any) -> Any:
        """Return a default as JSON has it."""
        encoded = super().encode_default(dft)
        try:
            json.dumps(encoded, allow_nan=False)
        except ValueError as error:
            raise PydanticSerializationError(str(error)) from error
        return encoded


class FunctionTool:
    """A function that a model may call; `tool` is what the model is told of it."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        """Read a function's signature; `name` is its own where None.

        Raises:
            InvalidParameterError: it has no name that providers take, or a parameter that has no
                JSON Schema.
        """
        if not callable(function):
            raise InvalidParameterError(f"a tool is a function, not a {type(function).__name__}")
        inner = function.func if isinstance(function, partial) else function
        own = getattr(inner, "__name__", type(inner).__name__)
        self.name = str(own if name is None else name)
        if not _NAME.fullmatch(self.name):
            raise InvalidParameterError(
                "a tool's name has 1 to 64 letters, digits, _ and -; register_tool gives one"
            )
        self._function = function
        self._parameters = self._read_parameters()
        about, descriptions = described(inspect.getdoc(inner))
        self._model, schema = self._modelled(descriptions)
        self.tool = Tool(self.name, about or None, schema)
        called = type(inner).__call__ if not inspect.isroutine(inner) else inner
        self.is_async = inspect.iscoroutinefunction(called)

    def call(self, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """Return the function's call with a model's arguments, converted to its types.

        Raises:
            UnfitArgumentsError: they do not fit its signature.
        """
        try:
            given = self._model.model_validate_json(json.dumps(dict(arguments)))
        except ValidationError as error:
            raise UnfitArgumentsError(_faults(error)) from None
        except Exception as error:  # a host's own validator
            kind = type(error).__name__
            _log.warning("a validator of tool %s raised %s", self.name, kind)
            raise UnfitArgumentsError(f"not accepted ({kind})") from None
        values = {
            each.name: getattr(given, field)
            for field, each in self._parameters.items()
            if field in given.model_fields_set
        }
        first = [each for each in self._parameters.values() if each.kind is each.POSITIONAL_ONLY]
        positional = []
        for each in first:
            if each.name not in values:
                break  # what follows has its default, too, or would have been missed
            positional.append(values.pop(each.name))
        return partial(self._function, *positional, **values)

    def _read_parameters(self) -> dict[str, inspect.Parameter]:
        """Return the parameters a model gives, by the names of their fields."""
        function = self._function
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(
                f"tool {self.name!r}: its signature cannot be read ({type(error).__name__})"
            ) from None
        bound = function.keywords if isinstance(function, partial) else {}
        parameters = [each for name, each in signature.parameters.items() if name not in bound]
        if any(each.kind in {each.VAR_POSITIONAL, each.VAR_KEYWORD} for each in parameters):
            raise InvalidParameterError(
                f"tool {self.name!r}: *args and **kwargs do not say what it takes; name its "
                "parameters"
            )
        known = _names_known_to(function)
        return {
            f"field_{number}": each.replace(annotation=self._resolved(each, known))
            for number, each in enumerate(parameters)
        }

    def _resolved(self, parameter: inspect.Parameter, known: dict[str, Any]) -> Any:
        """Return a parameter's annotation, whose names may stand in texts.

        What the function returns is no part of its schema, and may not be known at run time.
        """
        if parameter.annotation is parameter.empty:
            return Any
        alone = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        try:
            return get_type_hints(alone, known, include_extras=True)[parameter.name]
        except NameError as error:
            why = f"{error.name!r} is not known at run time; define or import it at the top of the "
            why += "function's module, and not under TYPE_CHECKING"
        except Exception as error:  # an annotation may be any expression
            why = type(error).__name__
        raise InvalidParameterError(
            f"tool {self.name!r}: the type of parameter {parameter.name!r} cannot be resolved: "
            f"{why}"
        )

    def _modelled(self, descriptions: Mapping[str, str]) -> tuple[type[BaseModel], dict[str, Any]]:
        """Return the model of the parameters, and its JSON Schema without titles."""
        fields: dict[str, Any] = {}
        for field, each in self._parameters.items():
            default = ... if each.default is each.empty else each.default
            fields[field] = (each.annotation, Field(default, alias=each.name))
        try:
            model: type[BaseModel] = create_model(
                self.name, __config__=ConfigDict(extra="forbid"), **fields
            )
            schema = model.model_json_schema(schema_generator=_Schema)
        except (PydanticUserError, TypeError) as error:
            why = getattr(error, "code", None) or error.args[0]
            if why == "typed-dict-version":
                why = "before Python 3.12 a TypedDict is typing_extensions.TypedDict"
            raise InvalidParameterError(
                f"tool {self.name!r}: a parameter's type has no JSON Schema ({why})"
            ) from None
        schema.pop("title", None)
        for name, each in schema.get("properties", {}).items():
            each.pop("title", None)
            if name in descriptions:
                each.setdefault("description", descriptions[name])
        return model, schema


def _names_known_to(function: Any) -> dict[str, Any]:
    """Return the names that a function's annotations may hold: its module's, and its closure's."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]  # that of this class is called
    elif not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return {}
    known = dict(function.__globals__)
    with suppress(ValueError):  # what the closure names is not there yet
        known |= inspect.getclosurevars(function).nonlocals
    return known


def _faults(error: ValidationError) -> str:
    """Say what does not fit, for the model that wrote it; a host's own validator says nothing."""
    faults = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        what = "not accepted" if each["type"] in _OF_VALIDATORS else each["msg"]
        where = ".".join(map(str, each["loc"]))
        faults.append(f"{where}: {what}" if where else what)
    more = len(faults) - _MOST_FAULTS
    return "; ".join(faults[:_MOST_FAULTS] + ([f"and {more} more"] if more > 0 else []))
