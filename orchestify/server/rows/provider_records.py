"""Records of providers as another service kept them, to be imported: one at a time, or a file.

A record has the columns of a table `llm_providers`: `tenant_id`, `provider_type`,
`encrypted_api_key` or `api_key`, `config`, `is_active`, `is_default`, and `name`. Its `id` and its
times are taken and not kept: a provider has an id of its own here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from orchestify.core.error_messages import validated
from orchestify.core.problems import dotted
from orchestify.errors import ConfigError
from orchestify.server.rows.stored_rows import NewProvider

MOST_FILE_BYTES = 64 << 20
_TABLE = "llm_providers"


class ProviderRecord(BaseModel):
    """A provider to import; without `name` it is called like its type."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    tenant_id: str | None = Field(default=None, description="Whose it is; over REST one's own")
    provider_type: str = Field(description="openai, anthropic, google, azure, ollama...")
    name: str | None = Field(default=None, description="Unique among the tenant's")
    api_key: SecretStr | None = Field(default=None, min_length=1, description="The key, in clear")
    encrypted_api_key: SecretStr | None = Field(
        default=None, description="Fernet, under a key that is set; only in the operator's file"
    )
    config: dict[str, Any] | None = Field(default=None, description="As of a provider to add")
    is_active: bool = True
    is_default: bool = False
    id: Any = Field(default=None, description="Not kept")
    created_at: Any = Field(default=None, description="Not kept")
    updated_at: Any = Field(default=None, description="Not kept")

    @field_validator("encrypted_api_key")
    @classmethod
    def _none_where_empty(cls, value: SecretStr | None) -> SecretStr | None:
        """A table whose column may not be null has an empty text for what needs no key."""
        return value if value is not None and value.get_secret_value() else None

    @property
    def known_as(self) -> str:
        """What the tenant calls the provider."""
        return self.name or self.provider_type

    def new_provider(self, key: SecretStr | None) -> NewProvider:
        """Return the provider to add, with this key."""
        return NewProvider(
            provider_type=self.provider_type,
            name=self.name,
            api_key=key,
            config=self.config or {},
            is_active=self.is_active,
            is_default=self.is_default,
        )


def read_records(path: Path) -> list[ProviderRecord]:
    """Read a file: a JSON list of records, or a mapping with that list under `llm_providers`.

    Raises:
        ConfigError: it cannot be read, or what is wrong with each record.
    """
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ConfigError(f"{path}: expected at most {MOST_FILE_BYTES >> 20} MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError(f"{where}: it is no JSON: {error.msg.lower()}") from None
    except (UnicodeDecodeError, RecursionError):
        raise ConfigError(f"{path}: it is no JSON") from None
    if isinstance(document, Mapping) and set(document) == {_TABLE}:
        document = document[_TABLE]
    if not isinstance(document, list):
        raise ConfigError(f"{path}: expected a list of records, or one under {_TABLE}")
    return _validated(document)


def _validated(document: list[Any]) -> list[ProviderRecord]:
    records, problems = [], []
    for index, values in enumerate(document):
        record, found = validated(ProviderRecord, values)
        problems += [f"{dotted(('records', index, *path))}: {what}" for path, what in found]
        if record is not None:
            records.append(record)
    if problems:
        raise ConfigError(problems)
    return records
