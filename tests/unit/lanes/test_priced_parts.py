"""Parts of a report that have a price of their own: audio, images, speed, place, other models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestify.lanes.answers import anthropic_usage, checked_usage, openai_usage
from orchestify.values import Usage


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {
                "prompt_tokens": 81,
                "completion_tokens": 72,
                "prompt_tokens_details": {"audio_tokens": 69},
            },
            Usage(81, 72, input_audio=69),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 1_304,
                "completion_tokens_details": {"image_tokens": 1_290},
            },
            Usage(10, 1_304, output_image=1_290),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {
                    "cached_tokens": 40,
                    "audio_tokens": 80,
                    "cached_tokens_details": {"audio_tokens": 30},
                },
            },
            Usage(100, 5, cache_read=40, cache_read_audio=30, input_audio=50),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 201,
                "total_tokens": 585,
                "prompt_tokens_details": {"audio_tokens": 375},
            },
            Usage(384, 201, input_audio=375),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "completion_tokens_details": {"audio_tokens": 99, "image_tokens": 99},
            },
            Usage(9, 4, output_audio=4),
        ),
    ],
)
def test_audio_and_images_are_counted_beside_text(raw: dict[str, Any], usage: Usage) -> None:
    assert openai_usage(raw) == usage


@pytest.mark.parametrize(
    ("fields", "modifiers"),
    [
        ({"speed": "fast", "inference_geo": "us"}, ("fast", "us")),
        ({"speed": "standard", "inference_geo": "global"}, ()),
        ({"speed": None, "inference_geo": "not_available"}, ()),
        ({"speed": 5, "inference_geo": ["us"]}, ()),
        ({"speed": "x" * 1_000}, ("x" * 40,)),
    ],
)
def test_unusual_speed_and_place_are_told(fields: dict[str, Any], modifiers: Any) -> None:
    raw = {"input_tokens": 10, "output_tokens": 4, **fields}
    assert anthropic_usage(raw) == Usage(10, 4, modifiers=modifiers)


def test_iterations_are_told_with_the_model_of_each() -> None:
    raw = {
        "input_tokens": 1_354,
        "output_tokens": 11,
        "speed": "fast",
        "iterations": [
            {"type": "message", "input_tokens": 1_128, "output_tokens": 155},
            {
                "type": "advisor_message",
                "model": "claude-fable-5",
                "input_tokens": 2_564,
                "output_tokens": 99,
            },
            {"type": "message", "model": 5, "input_tokens": 1_354, "output_tokens": 11},
        ],
    }
    parts = (Usage(1_128, 155), Usage(2_564, 99), Usage(1_354, 11))
    each = tuple(replace(part, modifiers=("fast",)) for part in parts)
    names = ("", "claude-fable-5", "")
    assert anthropic_usage(raw) == Usage(
        5_046, 265, modifiers=("fast",), iterations=tuple(zip(names, each, strict=True))
    )


def test_one_iteration_is_the_report_itself() -> None:
    raw = {"iterations": [{"input_tokens": 7, "output_tokens": 2}], "input_tokens": 7}
    assert anthropic_usage(raw) == Usage(7, 2)


def test_a_hosts_own_parts_are_kept_within_their_whole() -> None:
    given = Usage(10, 5, input_audio=99, output_image=3, modifiers=("fast",))
    assert checked_usage(given) == Usage(10, 5, input_audio=10, output_image=3, modifiers=("fast",))
