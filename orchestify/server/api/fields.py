"""What the schemas are made of: text, names and JSON that every database can keep."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
)


def _printable(text: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError("expected text without control characters")
    return text


def _printable_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("expected printable ASCII without spaces around it")
    return secret


Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def _as_text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        return str(value)
    return value


NameOrNumber: TypeAlias = Annotated[
    Name,
    BeforeValidator(_as_text, json_schema_input_type=Name | Annotated[int, Field(ge=0, lt=10**20)]),
]
"""A name that may be written as a number; it is kept as text."""
Secret: TypeAlias = Annotated[
    SecretStr,
    Field(min_length=1, max_length=8192, json_schema_extra={"writeOnly": True}),
    AfterValidator(_printable_secret),
]
Settings: TypeAlias = dict[str, Any]  # the store says what may stand in it
Moment: TypeAlias = Annotated[
    datetime, PlainSerializer(lambda moment: moment.astimezone(UTC).isoformat(), return_type=str)
]


class RequestBody(BaseModel):
    """What a request's body is read into; keys that nobody knows are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ResponseBody(BaseModel):
    """What an answer is made of."""

    model_config = ConfigDict(from_attributes=True)


def unwritten(**field: Any) -> Any:
    """Return a field that may be left out and then is not looked at; null is no value of it."""
    return Field(default=None, json_schema_extra=_without_default, **field)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def given(request: RequestBody) -> Mapping[str, Any]:
    """Return the fields that a request's body has, and no others."""
    return {name: getattr(request, name) for name in request.model_fields_set}
