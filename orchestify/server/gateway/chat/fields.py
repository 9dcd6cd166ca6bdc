"""Fields of a chat completion that have no argument of ours: passed on, left out, or refused.

A field goes on where every target takes it: OpenAI's own to providers of type `openai`, others to
those in whose list they are. To providers of type `openai` that the tenant's own key pays for all
fields go; with the operator's key those that the operator allows as well. Without `OPTIONAL` an
answer is an answer: they are left out where a target does not take them, and named. What remains
is refused. Nothing is dropped in silence but what says what silence says.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from typing import Any

from orchestify.calls.request import OURS
from orchestify.calls.target import Target
from orchestify.lanes.direct import AnthropicLane, OpenAILane
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.responses.lane import lane_at
from orchestify.server.gateway.json_fields import wrong
from orchestify.server.rows.input_rules import OPTIONS

OPTIONAL = frozenset(
    {"frequency_penalty", "presence_penalty", "logit_bias", "prediction", "prompt_cache_key"}
    | {"prompt_cache_retention", "safety_identifier", "user", "verbosity"}
)
"""Fields of OpenAI's that providers of type `openai` take."""

AS_SILENCE: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "service_tier": ("auto",),
}
"""Values that say what silence says."""

TIER = "service_tier"
_TOP_K = "top_k"  # of Anthropic's protocol as well
_EVERY_TIER = ("auto", "default", "flex", "priority", "scale", "standard", "on_demand", "batch")
_BESIDE_LANES: Mapping[str, frozenset[str]] = {  # by type of provider, through LiteLLM
    "openai": OPTIONAL,
    "litellm": OPTIONS & {_TOP_K, "min_p", "repetition_penalty", "repeat_penalty"},
}
_NOT_HERE = "is not supported by the provider of this model"
_NOT_WITH_OUR_KEY = "does not go with the operator's key; the operator may allow it"


def passed_on(
    fields: Mapping[str, Any],
    targets: Collection[Target],
    *,
    has_own_key: bool,
    allowed: Collection[str],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the options of a call, and words for the fields that are left out.

    `fields` are those of a body that are not read into arguments; `targets` are all that may
    answer, `has_own_key` says that the tenant pays for each, `allowed` are fields that go with the
    operator's key as well.

    Raises:
        InvalidParameterError: a target does not take a field; the message begins with its name.
    """
    options: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        if targets and all(_takes(each, name, value, has_own_key, allowed) for each in targets):
            options[name] = value
        elif value in AS_SILENCE.get(name, ()):
            continue
        elif name in OPTIONAL:
            dropped.append(f"{name}_dropped")
        else:
            raise wrong(name[:40], _why(targets, has_own_key, name))
    return options, tuple(dropped)


def _takes(
    target: Target, name: str, value: Any, has_own_key: bool, allowed: Collection[str]
) -> bool:
    if name == TIER:
        return value in _tiers(target, has_own_key, allowed)
    lane = lane_at(target.lane, target.model)
    if isinstance(lane, AnthropicLane):
        return name == _TOP_K
    if not isinstance(lane, OpenAILane):
        return name in _BESIDE_LANES.get(target.provider_type, ())
    is_listed = name in OPTIONAL or name in dialect_of(target.base_url or "").extras
    return name not in OURS and (has_own_key or is_listed or name in allowed)


def _tiers(target: Target, has_own_key: bool, allowed: Collection[str]) -> Container[Any]:
    """Return the service tiers that may be asked for: with the operator's key none that is dear."""
    is_free = has_own_key or TIER in allowed
    lane = lane_at(target.lane, target.model)
    if isinstance(lane, AnthropicLane):
        return ("auto", "standard_only") if is_free else ("standard_only",)
    if not isinstance(lane, OpenAILane):
        return ()
    return _EVERY_TIER if is_free else ("default", "flex")


def _why(targets: Collection[Target], has_own_key: bool, name: str) -> str:
    lanes = [lane_at(each.lane, each.model) for each in targets]
    speaks = bool(lanes) and all(isinstance(lane, OpenAILane) for lane in lanes)
    return _NOT_WITH_OUR_KEY if speaks and not has_own_key and name not in OURS else _NOT_HERE
