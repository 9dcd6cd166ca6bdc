"""docs/fields.md has every field that the official SDKs' types have."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typing_extensions
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from tests.extras import needs

needs("anthropic", "peers")
from anthropic.types import message_create_params  # noqa: E402 - an extra

PAGE = Path(__file__).parents[3] / "docs" / "fields.md"
CHAT = (
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
)
MESSAGES = (
    message_create_params.MessageCreateParamsNonStreaming,
    message_create_params.MessageCreateParamsStreaming,
)
RESPONSES = (
    response_create_params.ResponseCreateParamsNonStreaming,
    response_create_params.ResponseCreateParamsStreaming,
)
EMBEDDINGS = (embedding_create_params.EmbeddingCreateParams,)
TYPES = pytest.mark.parametrize(
    ("section", "types"),
    [
        pytest.param("Chat Completions", CHAT, marks=pytest.mark.data_of("openai")),
        pytest.param("Messages", MESSAGES, marks=pytest.mark.data_of("anthropic")),
        pytest.param("Responses", RESPONSES, marks=pytest.mark.data_of("openai")),
        pytest.param("Embeddings", EMBEDDINGS, marks=pytest.mark.data_of("openai")),
    ],
    ids=["chat", "messages", "responses", "embeddings"],
)


def fields_of(types: tuple[Any, ...]) -> list[str]:
    """Return the fields of typed dictionaries and of those within, each where it is first met."""
    waiting, seen, found = deque((each, "") for each in types), set(types), dict[str, None]()
    while waiting:
        type_, path = waiting.popleft()
        for name, annotation in typing_extensions.get_type_hints(type_).items():
            found[f"{path}{name}"] = None
            for inner in dict.fromkeys(dictionaries_in(annotation)):
                if inner not in seen:
                    seen.add(inner)
                    kind = kind_of(inner)
                    waiting.append((inner, f"{path}{name}{kind}."))
    return list(found)


def dictionaries_in(annotation: Any) -> Iterator[Any]:
    if typing_extensions.is_typeddict(annotation):
        yield annotation
    for inner in typing_extensions.get_args(annotation):
        yield from dictionaries_in(inner)


def kind_of(type_: Any) -> str:
    """Return the one `type` that a dictionary has, in brackets."""
    annotation = typing_extensions.get_type_hints(type_).get("type")
    words = [each for each in typing_extensions.get_args(annotation) if isinstance(each, str)]
    return f"[{words[0]}]" if len(words) == 1 else ""


def rows_of(section: str) -> list[str]:
    """Return what the first column of a section's tables names."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def pattern_of(row: str) -> re.Pattern[str]:
    return re.compile(re.escape(row).replace(r"\*", ".*"))


@TYPES
def test_every_field_of_the_sdk_has_its_row(section: str, types: tuple[Any, ...]) -> None:
    rows = [pattern_of(row) for row in rows_of(section)]
    missing = [name for name in fields_of(types) if not any(row.fullmatch(name) for row in rows)]
    assert missing == []


@TYPES
def test_no_field_stands_in_two_rows(section: str, types: tuple[Any, ...]) -> None:
    rows = rows_of(section)
    assert sorted(rows) == sorted(set(rows))
    assert len(rows) > 3
