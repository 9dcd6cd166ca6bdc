"""The base class of the configuration's models, and the types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NoReturn, Self, SupportsIndex

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from orchestify.core.error_messages import problems_of
from orchestify.core.problems import dotted
from orchestify.core.scalars import PlainText, reread
from orchestify.core.substitution import REFERENCE
from orchestify.errors import ConfigError


class Model(BaseModel):
    """A part of a configuration: frozen, without unknown keys, never pickled.

    Raises: ConfigError where pydantic would raise its own, with all that is wrong and no value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self)
            return
        except ValidationError as error:
            problems = _lines(error, type(self))
        del values  # what a traceback shows of this frame holds no key
        raise ConfigError(problems)

    # pydantic's mark for an __init__ that does what its own does; nested models stay fast
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **keywords: Any) -> Self:
        """Build from a mapping, as pydantic does. Raises: ConfigError."""
        try:
            return super().model_validate(obj, **keywords)
        except ValidationError as error:
            problems = _lines(error, cls)
        del obj, keywords
        raise ConfigError(problems)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **keywords: Any) -> Self:
        """Build from JSON text, as pydantic does. Raises: ConfigError."""
        try:
            return super().model_validate_json(json_data, **keywords)
        except ValidationError as error:
            problems = _lines(error, cls)
        del json_data, keywords
        raise ConfigError(problems)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show what was written, and no defaults."""
        written = getattr(self, "__pydantic_fields_set__", ())  # not there when it was refused
        return ((name, value) for name, value in super().__repr_args__() if name in written)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a pickle would hold the keys."""
        raise TypeError(
            f"a {type(self).__name__} may hold keys and cannot be pickled; "
            "send the path and load it there"
        )


def mask(value: Any) -> Any:
    """Return a copy of free-form data in which every text is struck out."""
    if isinstance(value, Mapping):
        return {key: mask(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(inner) for inner in value]
    return "**********" if isinstance(value, str) and value else value


def _lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    return [
        f"{dotted((model.__name__, *path))}: {what}" for path, what in problems_of(error, model)
    ]


def _settled(value: Any) -> Any:
    """Reread the variables in free-form data."""
    if isinstance(value, dict):
        return {key: _settled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_settled(inner) for inner in value]
    if isinstance(value, PlainText):
        return reread(value)
    return str(value) if isinstance(value, str) else value


def _decimal(value: object) -> object:
    number = reread(value)
    if isinstance(number, bool) or not isinstance(number, (int, float, Decimal)):
        raise ValueError("expected a number")
    try:
        exact = Decimal(str(number))
    except (InvalidOperation, ValueError):
        raise ValueError("expected a number") from None
    if not exact.is_finite():
        return Decimal("NaN")
    if exact > _MOST_USD:
        raise ValueError(f"expected at most {_MOST_USD:,}")
    is_exact = exact < 0 or exact == exact.quantize(_LEAST_USD)
    return exact if is_exact else exact.quantize(_LEAST_USD)


def _usable_key(secret: SecretStr) -> SecretStr:
    key = secret.get_secret_value().strip()
    if not key:
        raise ValueError("expected a key, not blanks")
    if key.startswith(REFERENCE):
        raise ValueError("a key does not begin with vault:; only YAML itself may say vault:NAME")
    if not key.isascii() or not key.isprintable():
        raise ValueError("a key has no line breaks and only ASCII characters")
    return SecretStr(key)


def _one_line(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError("expected one line of text")
    return secret


def _label_axis(value: str) -> str:
    if not value.removeprefix("label:") or not value.startswith("label:"):
        raise ValueError("expected label:NAME")
    return value


_Reread = BeforeValidator(reread)
_MOST_USD = Decimal(10**12)
_LEAST_USD = Decimal("1e-12")  # what is finer is rounded

Text = Annotated[str, Field(min_length=1)]
LabelAxis = Annotated[Text, AfterValidator(_label_axis)]
Flag = Annotated[bool, Field(strict=True), _Reread]
Count = Annotated[int, Field(strict=True, ge=1), _Reread]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), _Reread]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), _Reread]
Seconds = Positive
Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False), _Reread]
Usd = Annotated[
    Decimal,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_decimal, json_schema_input_type=float),
]
Key = Annotated[SecretStr, Field(min_length=1), AfterValidator(_usable_key)]
HeaderText = Annotated[SecretStr, AfterValidator(_one_line)]
FreeForm = Annotated[
    dict[str, Any], BeforeValidator(_settled, json_schema_input_type=dict[str, Any])
]
