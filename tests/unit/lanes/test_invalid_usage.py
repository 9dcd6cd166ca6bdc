"""Counts that cannot be true: left out, named in the record, said once."""

from __future__ import annotations

import logging

import pytest

from orchestify import LLMProvider, LLMResponse, ProviderRegistry
from orchestify.lanes.answers import checked_usage, openai_usage
from orchestify.providers.external import ExternalLane
from orchestify.values import CompletionRequest, LLMMessage, Usage
from tests.calls import Bench, Scripted, answer

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m")
CACHED_TOO_MUCH = openai_usage(
    {
        "prompt_tokens": 29,
        "completion_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 157},
    }
)


class Hosts(LLMProvider):
    """A host's own provider, as the seed has it."""

    provider_type = "hosts"

    def __init__(self, tokens_input: int, usage: Usage | None = None) -> None:
        self.counts = tokens_input, usage

    async def complete(self, messages, model=None, **more) -> LLMResponse:
        return LLMResponse("yes", "m", self.counts[0], 2, "stop", usage=self.counts[1])


async def test_a_part_above_its_whole_is_named_in_the_record():
    bench = Bench()
    await bench.route(Scripted("one", answer(usage=CACHED_TOO_MUCH))).complete("hi")
    (record,) = bench.ledger.completed
    assert record.usage.invalid == ("cache_read",)
    assert (record.usage.input_tokens, record.usage.cache_read) == (29, 0)


async def test_what_cannot_be_true_is_said_once_a_provider_and_count(
    caplog: pytest.LogCaptureFixture,
):
    bench = Bench()
    one = bench.route(Scripted("one", answer(usage=CACHED_TOO_MUCH)))
    two = bench.route(Scripted("two", answer(usage=CACHED_TOO_MUCH)))
    with caplog.at_level(logging.WARNING, "orchestify.usage"):
        await one.complete("hi")
        await one.complete("hi")
        await two.complete("hi")
    assert [each.getMessage() for each in caplog.records] == [
        "one reports a cache_read that cannot be true",
        "two reports a cache_read that cannot be true",
    ]


@pytest.mark.parametrize(
    ("given", "invalid"),
    [
        (Usage(-5, 2), "input_tokens"),
        (Usage(5, 2.5), "output_tokens"),  # type: ignore[arg-type]
        (Usage(5, 2, cache_read=6), "cache_read"),
        (Usage(5, 2, cache_read=3, cache_write=3), "cache_write"),
        (Usage(5, 2, cache_write=2, cache_write_1h=3), "cache_write_1h"),
        (Usage(5, 2, reasoning=3), "reasoning"),
        (Usage(5, 2, searches=-1), "searches"),
        (Usage(10**13, 2), "input_tokens"),
    ],
)
def test_a_count_that_cannot_be_true_is_left_out_and_named(given: Usage, invalid: str):
    checked = checked_usage(given)
    assert checked.invalid == (invalid,)
    assert getattr(checked, invalid) == 0


def test_counts_that_can_be_true_are_kept():
    usage = Usage(9, 5, 3, 2, 1, 4, 1, service_tier="flex", source="estimated", invalid=("x",))
    assert checked_usage(usage) == usage


async def test_a_hosts_own_usage_is_checked():
    response = await ExternalLane("e", Hosts(0, Usage(5, 2, reasoning=3))).send(REQUEST)
    assert response.usage == Usage(5, 2, invalid=("reasoning",))


async def test_a_hosts_two_counts_are_checked():
    response = await ExternalLane("e", Hosts(-5)).send(REQUEST)
    assert response.usage == Usage(0, 2, invalid=("input_tokens",))


async def test_invalid_usage_is_counted_in_the_report():
    registry = ProviderRegistry()
    registry.register("hosts", Hosts(-5))
    await registry.get("hosts").complete("hi")
    report = await registry.usage()
    assert report.total.invalid_usage == 1
    assert report.total.input_tokens == 8
    assert report.total.estimated_calls == 1
