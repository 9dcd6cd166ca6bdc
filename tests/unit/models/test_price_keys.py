"""Every key that has to do with money, in both sources of prices, is read or left out for a reason.

The reasons are held against the data of the declared floor; of newer data only a report is made.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from orchestify.models.model_map import ModelMap

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

# What may follow a rate's name: a threshold of the context, a service tier.
SUFFIXES = re.compile(
    r"(_above_\d+k_tokens)?(_batches|_priority|_flex|_ultrafast|_balanced|_decisions)?$"
)
CALLED = {"chat", "completion", "responses", None}  # the modes of what a call can reach

READ_FROM_LITELLM = {
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_read_input_audio_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "output_cost_per_reasoning_token",
    "input_cost_per_audio_token",
    "input_cost_per_image_token",
    "output_cost_per_audio_token",
    "output_cost_per_image_token",
    "input_cost_per_request",
    "search_context_cost_per_query",
    "regional_endpoint_uplift_multiplier",
    "regional_processing_uplift_multiplier_eu",
    "regional_processing_uplift_multiplier_us",
    "tiered_pricing",
    "provider_specific_entry",
}
LEFT_OUT_OF_LITELLM = {
    "citation_cost_per_token": "Perplexity's; it reports the whole cost itself",
    "code_interpreter_cost_per_session": "a container that is made beside calls, not by one",
    "cost_per_second": "capacity that is rented by the hour; no call's",
    "explicit_cache_read_input_token_cost": "cheaper than what is booked, and not told apart",
    "google_maps_grounding_cost_per_query": "no answer says how many such queries it made",
    "input_cost_per_audio_per_second": "all 0, beside rates by token",
    "input_cost_per_audio_per_second_above_128k_tokens": "all 0, beside rates by token",
    "input_cost_per_character": "all 0, or beside rates by token",
    "input_cost_per_character_above_128k_tokens": "all 0, beside rates by token",
    "input_cost_per_image": "images that are read are reported, and priced, by token",
    "input_cost_per_image_above_128k_tokens": "all 0, beside rates by token",
    "input_cost_per_second": "capacity that is rented by the hour; no call's",
    "input_cost_per_token_cache_hit": "`cache_read_input_token_cost` under an older name",
    "input_cost_per_video_per_second": "reported by token, at the rate of text",
    "input_cost_per_video_per_second_above_128k_tokens": "all 0, beside rates by token",
    "input_dbu_cost_per_token": "the same money in Databricks' units",
    "off_peak_pricing": "cheaper hours: what is booked is then too high, never low",
    "output_cost_per_character": "all 0, beside rates by token",
    "output_cost_per_character_above_128k_tokens": "all 0, beside rates by token",
    "output_cost_per_image": "images that are made are reported, and priced, by token",
    "output_cost_per_video_token": "no answer of Chat Completions holds a video",
    "output_dbu_cost_per_token": "the same money in Databricks' units",
}

READ_FROM_GENAI = {
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_audio_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "output_reasoning_mtok",
    "input_audio_mtok",
    "input_image_mtok",
    "output_audio_mtok",
    "output_image_mtok",
    "requests_kcount",
    "web_searches_kcount",
}
LEFT_OUT_OF_GENAI = {
    "audio_hours": "speech by the hour: no chat",
    "cache_image_read_mtok": "models that make images alone: no chat",
    "input_annotated_document_kpages": "reading of documents by the page: no chat",
    "input_audio_hours": "transcription: no chat",
    "input_document_kpages": "reading of documents by the page: no chat",
    "input_mchars": "speech by the character: no chat",
    "input_text_messages_kcount": "conversations by voice: no chat",
    "input_video_mtok": "reported as text, and at the same rate",
    "output_citation_mtok": "Perplexity's; it reports the whole cost itself",
    "output_video_mtok": "no answer of Chat Completions holds a video",
    "storage_searches_kcount": "no answer says how many such searches it made",
}
MONEY = re.compile(r"cost|price|pricing|multiplier|provider_specific_entry")


def test_every_price_key_of_litellms_map_is_read_or_left_out_for_a_reason() -> None:
    found = {name for entry in _called() for name in entry if MONEY.search(name)}
    names = {name if name in LEFT_OUT_OF_LITELLM else SUFFIXES.sub("", name) for name in found}
    unknown = names - READ_FROM_LITELLM - LEFT_OUT_OF_LITELLM.keys()
    _hold("litellm", unknown)


def test_every_price_key_of_genai_prices_is_read_or_left_out_for_a_reason() -> None:
    found = {name for prices in _genai_prices() for name, value in vars(prices).items() if value}
    _hold("genai-prices", found - READ_FROM_GENAI - LEFT_OUT_OF_GENAI.keys())


def _called() -> Iterator[dict[str, Any]]:
    for entry in ModelMap.load()._entries.values():
        if entry.get("mode") in CALLED:
            yield dict(entry)


def _genai_prices() -> Iterator[Any]:
    for provider in get_snapshot().providers:
        for model in provider.models:
            listed = model.prices if isinstance(model.prices, list) else [model.prices]
            yield from (getattr(each, "prices", each) for each in listed)
            yield from (each.prices for each in model.price_variants or ())


def _hold(package: str, unknown: set[str]) -> None:
    """Fail on unknown keys where the floor is installed; report them where newer data is."""
    pattern = rf"{package}>=([\d.]+)"
    listed = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    floor = next(found[1] for each in listed if (found := re.match(pattern, each)))
    if version(package) == floor:
        assert unknown == set()
    elif unknown:
        report = f"{package} {version(package)} has prices that are not read: {sorted(unknown)}"
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(report, stacklevel=1)
        pytest.skip(report)
