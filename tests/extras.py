"""Tests that need more than the extra `test` brings."""

from __future__ import annotations

import os
from importlib.metadata import distributions

import pytest


def needs(package: str, extra: str) -> None:
    """Skip what needs a package that is not installed; where `CI=true` all are, or it fails.

    At the head of a test module it skips the whole of it.
    """
    if package in {each.name for each in distributions()}:
        return
    reason = f'needs {package}: pip install ".[{extra}]"'
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
