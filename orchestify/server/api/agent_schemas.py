"""What the endpoints of agents' configurations take and give."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from orchestify.server.api.fields import (
    Answer,
    Moment,
    NameOrNumber,
    Request,
    Secret,
    Settings,
    Text,
    unwritten,
)
from orchestify.server.api.usage_schemas import UsageResponse

Rate: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Temperature: TypeAlias = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]

_CONFIG = "What else the YAML's agent holds: thinking, stop, cache, strategy, the policies..."


_COST = "In USD: the model's price at its provider, for all calls of the tenant; both or neither"


class _AgentRequest(Request):
    """What adding and changing an agent have in common; null is not configured."""

    provider: Text | None = unwritten(
        description="A provider's name; null: the default one", examples=["anthropic"]
    )
    model_name: Text | None = unwritten(description="null: the provider's default")
    temperature: Temperature | None = unwritten()
    max_tokens: Tokens | None = unwritten()
    top_p: Share | None = unwritten()
    api_key: Secret | None = unwritten(description="Its own, instead of the provider's")
    fallback_provider: Text | None = unwritten()
    fallback_model: Text | None = unwritten()
    cost_per_1k_input_tokens: Rate | None = unwritten(description=_COST, examples=[0.003])
    cost_per_1k_output_tokens: Rate | None = unwritten(description=_COST, examples=[0.015])
    config: Settings = unwritten(description=_CONFIG, examples=[{"thinking": "low"}])
    enabled: bool = unwritten()


class AddAgentRequest(_AgentRequest):
    """An agent to add; costs are given both or not at all."""

    agent_id: NameOrNumber = Field(examples=["planner"])


class UpdateAgentRequest(_AgentRequest):
    """What is to change; what is not written stays. `config` is replaced as a whole."""

    agent_id: NameOrNumber = unwritten(examples=["planner"])


class AgentResponse(Answer):
    """An agent, without its key."""

    id: str = Field(examples=["8f14e45f-ceea-467f-a0e6-5f0f4d6c7b21"])
    agent_id: str = Field(examples=["planner"])
    provider: str | None
    model_name: str | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    has_key: bool
    key_fingerprint: str | None
    fallback_provider: str | None
    fallback_model: str | None
    cost_per_1k_input_tokens: float | None
    cost_per_1k_output_tokens: float | None
    config: dict[str, Any]
    enabled: bool
    created_at: Moment
    updated_at: Moment
    removed_at: Moment | None = Field(description="Since when it is removed, and its key gone")


class AgentPage(Answer):
    """Agents in the order they were added; `next` is the `after` of the following page."""

    items: list[AgentResponse]
    next: str | None


class AgentUsageResponse(UsageResponse):
    """The usage of one agent, by day and model where nothing else is asked for."""
