"""The models that we name: in what a reader copies, and in what a company's name stands for."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.models.retirement import is_ending

ROOT = Path(__file__).parents[3]
TODAY = date(2026, 11, 29)  # of the last look; raise it with what is named
FILES = [
    ROOT / "README.md",
    *(page for page in (ROOT / "docs").glob("*.md") if page.name != "migration.md"),  # its rows run
    *(ROOT / "config").glob("*.yaml"),
    *(ROOT / "examples").rglob("*.yaml"),
    ROOT / "orchestify" / "cli" / "demo.py",
    *(ROOT / "orchestify" / "server").rglob("*.py"),
]
NAME = re.compile(r"(?<![\w/.-])(?:claude|gpt|deepseek|gemini/gemini)-[\w.-]*\w")

pytestmark = pytest.mark.data_of("litellm")


@pytest.mark.parametrize("name", PROVIDER_TYPES)
def test_what_a_companys_name_stands_for_is_not_about_to_end(name: str) -> None:
    assert not is_ending(PROVIDER_TYPES[name].model or "", name, TODAY)


def test_no_model_that_is_named_to_be_copied_is_about_to_end() -> None:
    named = {found for file in FILES for found in NAME.findall(file.read_text(encoding="utf-8"))}
    assert {"claude-sonnet-4-6", "gpt-4.1-mini", "deepseek-v4-flash"} <= named
    assert [name for name in sorted(named) if is_ending(name, None, TODAY)] == []
