"""pytest's plugin: `--recordings`, and a fixture with the recording of the test that runs.

It stands beside the package, and imports it in fixtures only: pytest loads plugins in every run,
also where nothing of it is used, or where a host's own package has the same name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orchestify.testing.recordings import Mode, Recordings

MODES = ("once", "none", "all")


@dataclass(slots=True)
class RunningTest:
    """The test that runs in this process; `opened` holds its recordings by their files."""

    path: Path
    name: str
    mode: Mode
    opened: dict[Path, Recordings] = field(default_factory=dict)


RUNNING: RunningTest | None = None
"""Read by `orchestify.testing.recordings.opening`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--recordings`."""
    parser.getgroup("orchestify").addoption(
        "--recordings",
        choices=MODES,
        default="once",
        help="Calls of orchestify in tests with recordings: once: record where the file is absent; "
        "none: never, as in CI; all: record anew (default: once).",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say which test runs."""
    global RUNNING  # noqa: PLW0603 - one test runs in a process at a time
    name = item.nodeid.partition("::")[2].replace("::", ".")
    RUNNING = RunningTest(item.path, name or item.name, item.config.getoption("--recordings"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Say that no test runs any more, once its fixtures are gone."""
    global RUNNING  # noqa: PLW0603 - as above
    RUNNING = None


@pytest.fixture
def recordings_folder(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the recordings: `recordings` beside the test's file.

    Define a fixture of this name for another one.
    """
    return request.path.parent / "recordings"


@pytest.fixture
def recordings(recordings_folder: Path) -> Recordings:
    """Return the recording of this test: `ProviderRegistry.from_config(config, recordings=...)`."""
    from orchestify.testing.recordings import opened  # noqa: PLC0415 - where it is used

    return opened(recordings_folder)
