"""What a test's marks mean, for all suites."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from packaging.version import Version

# Neither a busy machine's pauses nor its slow draws are faults.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers a core for `-n auto`: half of the suite's time is waiting for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests of another release's data only report: `data_of(PACKAGE)` is the floor's.

    Prices and models change with every release of these packages; nothing of ours is wrong then.
    """
    for item in items:
        for mark in item.iter_markers("data_of"):
            (package,) = mark.args
            if not _is_at_floor(package):
                reason = f"the data of {package} {version(package)}, not the floor's"
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def _is_at_floor(package: str) -> bool:
    """Whether the installed release is the lowest that is declared."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"].values()
    dependencies = [*project["dependencies"], *(each for extra in optional for each in extra)]
    (floor,) = (
        found[1] for each in dependencies if (found := re.match(rf"{package}>=([\w.]+)", each))
    )
    return Version(version(package)) == Version(floor)
