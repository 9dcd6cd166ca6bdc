"""Error messages: pydantic's validation errors in sentences that show no value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeAlias, TypedDict, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from orchestify.core.problems import MOST_SHOWN, KeyPath, did_you_mean

_REFUSED = "refused"

_NEED_NO_MORE: dict[str, str] = {
    "missing": "missing",
    "json_invalid": "not valid JSON",
    "string_too_short": "expected text, not nothing",
    "string_unicode": "expected valid Unicode text",
    "finite_number": "expected a finite number",
    "too_short": "must not be empty",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "dict_type": "expected a mapping of keys to values",
    "mapping_type": "expected a mapping of keys to values",
    "model_type": "expected a mapping of keys to values",
    "model_attributes_type": "expected a mapping of keys to values",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
}
_BOUNDS = {
    "greater_than": "expected a number above {gt:g}",
    "greater_than_equal": "expected a number of at least {ge:g}",
    "less_than": "expected a number below {lt:g}",
    "less_than_equal": "expected a number of at most {le:g}",
}


Finding: TypeAlias = tuple[KeyPath, str]
ModelT = TypeVar("ModelT", bound=BaseModel)


class Refusal(TypedDict):
    """The error of a `Discriminator` for a value of none of its forms."""

    custom_error_type: str
    custom_error_message: str


def validated(
    model: type[ModelT], values: Any, context: object = None
) -> tuple[ModelT | None, list[Finding]]:
    """Return the model, or the path and the sentence of every mistake in the values."""
    try:
        return model.__pydantic_validator__.validate_python(values, context=context), []
    except ValidationError as error:
        return None, problems_of(error, model)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """Return the path and the sentence of each mistake; `model` is what was validated."""
    found = []
    for details in error.errors(include_url=False)[:MOST_SHOWN]:
        path = tuple(part for part in details["loc"] if not _is_form(part))
        sentence = sentence_of(details, _model_at(model, path))
        found.append((path, sentence or "expected another kind of value"))
    return found


def refusal(what: str) -> Refusal:
    """Return the error of a union's `Discriminator` for a value of none of its forms."""
    return {"custom_error_type": _REFUSED, "custom_error_message": what}


def refuse(found: Iterable[Finding]) -> None:
    """Refuse a model for reasons that its fields' types do not tell, all at once.

    Raises: ValidationError when there is a reason; for use in validators.
    """
    details = [
        InitErrorDetails(
            type=PydanticCustomError(_REFUSED, "{what}", {"what": what}), loc=path, input=None
        )
        for path, what in found
    ]
    if details:
        _raise(details)


def _raise(details: list[InitErrorDetails]) -> NoReturn:
    raise ValidationError.from_exception_data("configuration", details, hide_input=True)


def sentence_of(details: ErrorDetails, model: type[BaseModel]) -> str | None:
    """Return our sentence for an error of pydantic's, None where we have none."""
    kind, context = details["type"], details.get("ctx", {})
    if kind in _NEED_NO_MORE:
        return _NEED_NO_MORE[kind]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    special = _SPECIAL.get(kind)
    return special(details, model) if special else None


def _refused(details: ErrorDetails, _model: type[BaseModel]) -> str:
    return details["msg"]


def _own_words(details: ErrorDetails, _model: type[BaseModel]) -> str:
    return str(details["ctx"]["error"])


def _unknown_key(details: ErrorDetails, model: type[BaseModel]) -> str:
    return "unknown key" + did_you_mean(details["loc"][-1], model.model_fields)


def _not_text(details: ErrorDetails, _model: type[BaseModel]) -> str:
    scalar = isinstance(details["input"], (bool, int, float))
    return "expected text; put it in quotes" if scalar else "expected text"


def _not_among(details: ErrorDetails, _model: type[BaseModel]) -> str:
    words = details["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    return f"expected one of {', '.join(words)}{did_you_mean(details['input'], words)}"


_SPECIAL: dict[str, Callable[[ErrorDetails, type[BaseModel]], str]] = {
    _REFUSED: _refused,
    "value_error": _own_words,
    "extra_forbidden": _unknown_key,
    "string_type": _not_text,
    "literal_error": _not_among,
}


def _is_form(part: str | int) -> bool:
    """Say whether a part of a location names a union's form, as `(one)`, and is not a key."""
    return isinstance(part, str) and part.startswith("(") and part.endswith(")")


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    """The innermost model on the way to a key, whose fields its neighbours may be."""
    for part in path[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
