"""The HTML report, opened in a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestify.cli import cli
from tests.browser import chromium, tab
from tests.reports import HOSTILE, write_ledger

FIGURES = """
Object.fromEntries(
  [...document.querySelectorAll('.tiles data')].map(each => [each.className, each.value])
)"""
ROWS = """
[...document.querySelectorAll('#usage tbody tr')].map(row => [
  row.querySelector('th').textContent,
  ...['cost_usd', 'calls', 'input_tokens', 'output_tokens', 'unpriced_calls'].map(
    name => row.querySelector('data.' + name).value)
])"""
BARS = """
[...document.querySelectorAll('%s svg .bar rect')].map(each => each.getBoundingClientRect())
  .filter(box => box.width > 1 && box.height > 1).length"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return asyncio.run(write_ledger(tmp_path_factory.mktemp("ledger") / "usage.db"))


@pytest.fixture(scope="module")
def page(url: str) -> Path:
    return _report(url, "html")


@pytest.fixture(scope="module")
def told(url: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_report(url, "json").read_text())
    return report


def _report(url: str, kind: str) -> Path:
    """What `orchestify usage` writes about the ledger, by agent."""
    path = Path(url.removeprefix("sqlite:///")).with_name(f"report.{kind}")
    arguments = ["usage", "--ledger", url, "--by", "agent", "--format", kind]
    result = CliRunner().invoke(cli, [*arguments, "--output", str(path)])
    assert result.exit_code == 0, result.output
    return path


async def test_page_opens_without_a_request_or_a_complaint(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        assert await shown.value("document.title") == "Usage"
        assert [each for each in shown.requests if not each.startswith("data:")] == [page.as_uri()]
        assert shown.complaints == []


async def test_page_has_no_script(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        assert await shown.value("document.scripts.length") == 0


async def test_name_with_markup_is_shown_as_text(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        assert HOSTILE in await shown.value("document.querySelector('#usage').innerText")
        assert HOSTILE in await shown.value(
            "document.querySelector('#tokens-by-agent table').textContent"
        )


@pytest.mark.parametrize(
    ("chart", "bars"), [("#cost-by-day", 2), ("#tokens-by-agent", 7), ("#cache-hits", 1)]
)
async def test_charts_are_visible(browser: str, page: Path, chart: str, bars: int) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        assert await shown.value(BARS % chart) == bars
        assert await shown.value(f"document.querySelector('{chart} svg').clientHeight") > 50


async def test_figures_equal_the_json(browser: str, page: Path, told: dict[str, Any]) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        figures = await shown.value(FIGURES)
        rows = await shown.value(ROWS)
    assert figures == {
        "cost_usd": "1.875004200001",
        "possible_usd": "0.5",
        "calls": "4",
        "total_tokens": "3120",
        "cache_hit_share": "0.307692",
        "unpriced_calls": "1",
        "estimated_cost_share": "0.000002",
    }
    assert figures["possible_usd"] == told["total"]["possible_usd"]
    assert figures["cost_usd"] == told["total"]["cost_usd"]
    assert float(figures["cache_hit_share"]) == told["cache_hit_share"]
    assert float(figures["estimated_cost_share"]) == told["estimated_cost_share"]
    names = ("agent", "cost_usd", "calls", "input_tokens", "output_tokens", "unpriced_calls")
    expected = [[_shown(row[name]) for name in names] for row in told["rows"]]
    assert sorted(rows) == sorted(expected)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return str(value) or "(none)"


async def test_page_says_what_stands_behind_its_sums(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.open(page)
        assert await shown.value("document.querySelector('.remarks').innerText") == (
            "1 call has no known price and is not in the cost: local/ollama/llama3 (1); possibly "
            "billed beside the cost, at most $0.50: attempts that ended without the provider's "
            "word on what they used\n"
            "<0.1% of the cost ($0.0000042) is estimated: the provider reported no tokens\n"
            "beside the answered calls, 1 attempt was not ok: 1 failed"
        )


async def test_page_is_as_wide_as_a_phone(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.run(
            "Emulation.setDeviceMetricsOverride",
            width=360,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        await shown.open(page)
        assert await shown.value("document.documentElement.scrollWidth") == 360


async def test_on_a_phone_what_scrolls_says_so(browser: str, page: Path) -> None:
    hidden = """[...document.querySelectorAll('.scroll')].filter(each =>
        each.scrollWidth > each.clientWidth &&
        getComputedStyle(each.previousElementSibling).display === 'none').length"""
    async with tab(browser) as shown:
        await shown.open(page)
        at_desk = await shown.value(hidden)
        await shown.run(
            "Emulation.setDeviceMetricsOverride",
            width=360,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        scrolled = (
            "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > "
            "each.clientWidth).length"
        )
        assert await shown.value(scrolled) >= 4
        assert (at_desk, await shown.value(hidden)) == (0, 0)


async def test_page_follows_a_dark_scheme(browser: str, page: Path) -> None:
    async with tab(browser) as shown:
        await shown.run(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark"}],
        )
        await shown.open(page)
        colour = "getComputedStyle(document.body).backgroundColor"
        assert await shown.value(colour) == "rgb(17, 20, 24)"
