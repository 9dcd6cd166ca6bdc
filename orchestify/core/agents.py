"""Models of an agent's configuration: `AgentConfig` and its fallback targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag

from orchestify.core.error_messages import refusal
from orchestify.core.fields import Count, Flag, FreeForm, Key, Model, Number, Share, Text
from orchestify.core.policies import Policies
from orchestify.core.scalars import reread

ThinkingWord: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ThinkingBudget(Model):
    """How much the model may think, in tokens."""

    budget_tokens: Count = Field(description="Tokens of thinking at most")


class TargetConfig(Model):
    """An entry of a fallback chain; without `model` it is the provider's default."""

    provider: Text = Field(description="A name among the providers; the text alone means it")
    model: Text | None = Field(default=None, description="Unwritten: the provider's default_model")
    weight: Number | None = Field(default=None, description="For strategy: weighted")


def _thinking_form(value: object) -> str | None:
    value = reread(value)
    if isinstance(value, bool):
        return "(flag)"
    if value in get_args(ThinkingWord):
        return "(effort)"
    return "(budget)" if isinstance(value, (Mapping, ThinkingBudget)) else None


ThinkingSetting: TypeAlias = Annotated[
    Annotated[Flag, Tag("(flag)")]
    | Annotated[ThinkingWord, Tag("(effort)")]
    | Annotated[ThinkingBudget, Tag("(budget)")],
    Discriminator(
        _thinking_form,
        **refusal(
            f"expected true, false, {', '.join(get_args(ThinkingWord))} or {{budget_tokens: n}}"
        ),
    ),
]


def _target(value: object) -> object:
    return {"provider": value} if isinstance(value, str) else value


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


FallbackEntry: TypeAlias = Annotated[
    TargetConfig, BeforeValidator(_target, json_schema_input_type=str | TargetConfig)
]
Texts: TypeAlias = Annotated[
    tuple[Text, ...], BeforeValidator(_texts, json_schema_input_type=Text | list[Text])
]


class AgentConfig(Policies):
    """One agent: its provider and parameters. `mode` and `metadata` are the host's."""

    provider: Text | None = Field(default=None, description="Unwritten: default_provider")
    model: Text | None = Field(default=None, description="Unwritten: the provider's default_model")
    temperature: Number | None = Field(default=None, description="Unwritten: not sent")
    top_p: Share | None = Field(default=None, description="Unwritten: not sent")
    stop: Texts = Field(default=(), description="Texts at which the answer ends")
    max_tokens: Count | None = Field(
        default=None, description="Of the answer; unwritten: the provider's"
    )
    thinking: ThinkingSetting | None = Field(
        default=None, description="Whether and how much the model thinks"
    )
    cache: Flag = Field(default=False, description="Mark system prompt and tools as cacheable")
    tools: Texts = Field(
        default=(), description="Of run: names that the host registers by register_tool"
    )
    fallback: tuple[FallbackEntry, ...] = Field(default=(), description="Where to go when it fails")
    fallback_on: tuple[Literal["content_filter", "invalid_request"], ...] = Field(
        default=(), description="Failures that fall back although they need not"
    )
    strategy: (
        Literal["priority", "round_robin", "least_recently_used", "weighted", "health"] | None
    ) = Field(
        default=None, description="In which order the targets are tried; priority: as written"
    )
    weight: Number | None = Field(default=None, description="Of its own target: strategy weighted")
    api_key: Key | None = Field(
        default=None, description="Its own, also vault:NAME; unwritten: the provider's"
    )
    enabled: Flag = Field(default=True, description="Whether the agent is there")
    mode: Literal["autonomous", "interactive"] | None = Field(
        default=None, description="The host's own"
    )
    metadata: FreeForm = Field(default_factory=dict, repr=False, description="The host's own")


class AgentsConfig(Model):
    """The agents by name, in the order written."""

    agents: dict[str, AgentConfig] = Field(default_factory=dict)
