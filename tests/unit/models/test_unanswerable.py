"""Agents that can never be answered, and those that may be."""

from __future__ import annotations

import pytest

from orchestify.core.config import Config, parse_config
from orchestify.models.unanswerable import unanswerable

PROVIDERS = """
providers:
  keyless: {type: openai, default_model: gpt-4.1}
  off: {type: openai, default_model: gpt-4.1, enabled: auto, api_key: "${NOT_SET}"}
  old: {type: anthropic, default_model: claude-3-haiku-20240307, api_key: k}
  own: {type: openai, default_model: m, base_url: "http://localhost:8000/v1"}
  host: {type: external}
  fake: {type: deepseek, engine: mock}
agents:
  a:
"""


def of(agent: str, more: str = "") -> tuple[str, ...]:
    return unanswerable(config(agent, more))


def config(agent: str, more: str = "") -> Config:
    return parse_config(f"{PROVIDERS}    {agent}\n{more}", name="c.yaml", environ={})


BLOCKS = "budgets: [{name: day, limit_usd: 1, period: day}]"
NOTHING_LEFT = """budgets:
  - {name: none, match: {provider: old}, limit_usd: 0, period: ever}
"""


@pytest.mark.parametrize(
    ("agent", "more", "why"),
    [
        ("{provider: keyless}", "", "keyless: it has no api_key"),
        (
            "{provider: keyless, fallback: [off]}",
            "",
            "keyless: it has no api_key; off: it is off (NOT_SET is not set)",
        ),
        (
            "{provider: old, thinking: true}",
            "",
            "old: claude-3-haiku-20240307 has no extended thinking",
        ),
        ("{provider: own}", BLOCKS, "own: budget day blocks m, whose price nobody knows"),
        (
            "{provider: old}",
            NOTHING_LEFT,
            "old: budget none is smaller than any call of claude-3-haiku-20240307",
        ),
    ],
)
def test_it_is_told_with_the_reason_of_each_target(agent: str, more: str, why: str) -> None:
    assert of(agent, more) == (f"c.yaml:10:3: agents.a: no call can be answered: {why}",)


@pytest.mark.parametrize(
    ("agent", "more"),
    [
        ("{provider: keyless, fallback: [own]}", ""),
        ("{provider: keyless, api_key: k}", ""),
        ("{provider: keyless, enabled: false}", ""),
        ("{provider: host}", ""),
        ("{provider: fake}", ""),
        ("{provider: old}", ""),
        ("{provider: old, thinking: false}", ""),
        ("{provider: own}", BLOCKS.replace("day}", "day, mode: warn}")),
        ("{provider: own}", BLOCKS.replace("day}", "day, on_unpriced: allow}")),
        ("{provider: own}", BLOCKS.replace("day}", "day, match: {label: {run: r}}}")),
        ("{provider: own}", BLOCKS.replace("day}", "day, match: {agent: a2}}") + "\n"),
    ],
)
def test_one_that_may_be_answered_is_not_told(agent: str, more: str) -> None:
    more = more.replace("a2", "b")
    extra = "  b: {provider: host}\n" if "agent: b" in more else ""
    assert of(f"{agent}\n{extra}".rstrip("\n"), more) == ()
