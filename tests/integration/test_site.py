"""The site builds without a warning, and nothing is fetched to read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras import needs
from tests.pages import ROOT
from tools import module_map
from tools.config_keys import PAGE, page

_FETCHED = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("zensical", "docs")
    needs("mkdocstrings-python", "docs")
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "orchestify").symlink_to(ROOT / "orchestify")
    done = subprocess.run(  # noqa: S603 - our own pages
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_is_built_and_the_reference_has_the_public_names(site: Path) -> None:
    built = {each.stem for each in site.glob("*.html")}
    assert {each.stem for each in (ROOT / "docs").glob("*.md")} <= built
    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert 'id="orchestify.ProviderRegistry.get_for_agent"' in reference
    assert 'id="orchestify.errors.BudgetExceededError"' in reference


def test_nothing_is_fetched_to_read_it(site: Path) -> None:
    fetched = {
        found for each in site.glob("*.html") for found in _FETCHED.findall(each.read_text())
    }
    assert fetched == set()


def test_the_table_of_keys_is_the_schemas() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_map_is_the_modules() -> None:
    assert module_map.PAGE.read_text(encoding="utf-8") == module_map.page()


def test_the_map_shows_every_room() -> None:
    rooms = {each.parent.name for each in module_map.PACKAGE.glob("*/__init__.py")}
    assert rooms == set(module_map.ROOMS)
