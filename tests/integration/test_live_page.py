"""The live view's page, in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.ledger.record import utc_now
from tests.browser import Tab, chromium, tab
from tests.ledgers import answered, opened
from tests.reports import HOSTILE
from tests.servers import Served, serving

LIVE = "document.getElementById('status').textContent === 'live'"
FIGURES = "[...document.querySelectorAll('#sums dd:first-of-type')].map(each => each.textContent)"
NAMES = "[...document.querySelectorAll('#by-agent tbody th')].map(each => each.textContent)"
OVERFLOW = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium(tmp_path_factory.mktemp("profile")) as address:
        yield address


@dataclass(frozen=True)
class Watched:
    """A service with a tenant whose live view is looked at, and its token."""

    served: Served
    token: str

    async def book(self, days_ago: int = 0, usd: str = "1", **given: Any) -> None:
        ledger = self.served.service.ledger.for_tenant("acme")
        record = opened(started_at=utc_now() - timedelta(days=days_ago), **given)
        await ledger.open(record)
        ledger.complete(answered(record, cost_usd=Decimal(usd)))

    async def look(self, shown: Tab) -> None:
        """Open the page, and give it the token."""
        await shown.visit(f"{self.served.url}/")
        await shown.holds("!document.getElementById('entry').hidden")
        await shown.run("Input.insertText", text=self.token)
        await shown.press("Enter", 13, "\r")
        await shown.holds(LIVE)


@pytest_asyncio.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with serving(tmp_path) as served:
        made = Watched(served, served.token("acme", "read"))
        for days_ago in range(30, 0, -1):
            await made.book(days_ago, "10", agent="planner")
        await made.book(0, "2.5", agent=HOSTILE, model=HOSTILE, provider=HOSTILE)
        yield made


async def test_the_token_is_typed_and_the_figures_come(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await watched.look(shown)
        assert await shown.value(FIGURES) == ["$2.50", "120", "1", "0"]
        own = [each for each in shown.requests if not each.startswith("data:")]
        # a 401 is how it learns that a token is needed
        complaints = [each for each in shown.complaints if "401" not in each]
    assert {each.removeprefix(watched.served.url) for each in own} == {"/", "/api/v1/live"}
    assert complaints == []


async def test_the_token_is_in_no_address_and_leaves_with_the_tab(
    browser: str, watched: Watched
) -> None:
    async with tab(browser) as shown:
        await shown.visit(f"{watched.served.url}/#token={watched.token}")
        await shown.holds(LIVE)
        assert await shown.value("location.href") == f"{watched.served.url}/"
        assert await shown.value("localStorage.length") == 0
        assert await shown.value("document.cookie") == ""
        assert not any(watched.token in each for each in shown.requests)
        await shown.value("document.getElementById('forget').click()")
        await shown.holds("!document.getElementById('entry').hidden")
        assert await shown.value("sessionStorage.length") == 0


async def test_a_token_that_does_not_hold_is_told(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await shown.visit(f"{watched.served.url}/#token={watched.token[:-3]}abc")
        refused = "document.getElementById('refused').textContent"
        await shown.holds(f"{refused} === 'This token does not hold.'")
        assert await shown.value("document.getElementById('view').hidden") is True
        assert await shown.value("document.activeElement.id") == "token"


async def test_what_is_booked_is_shown_as_it_comes(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await watched.look(shown)
        await watched.book(0, "7.5", agent="writer")
        await shown.holds(f"{FIGURES}[0] === '$10.00'")
        assert (await shown.value(NAMES))[0] == "writer"


async def test_names_with_markup_are_shown_as_text(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await watched.look(shown)
        assert await shown.value(NAMES) == [HOSTILE]
        assert await shown.value("document.scripts.length") == 1
        assert not any("a dialog" in each for each in shown.complaints)


async def test_a_keyboard_is_enough(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await watched.look(shown)  # typed, and entered
        await shown.value("document.activeElement.blur()")
        focused = []
        for _ in range(40):
            await shown.press("Tab", 9)
            name = "document.activeElement"
            focused.append(await shown.value(f"{name}.id || {name}.value || {name}.className"))
        assert {"skip", "today", "forget", "by-provider", "by-agent", "by-model"} <= set(focused)
        await shown.value("document.querySelector('input[name=period]').focus()")
        await shown.press("ArrowRight", 39)
        await shown.holds(f"{FIGURES}[0] !== '$2.50'")
        assert "planner" in await shown.value(NAMES)
        outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
        assert await shown.value(outline) == "solid"


async def test_it_is_as_wide_as_a_phone(browser: str, watched: Watched) -> None:
    await watched.book(0, "1", agent="a" * 120, model="m" * 120)
    async with tab(browser) as shown:
        await shown.on_phone()
        await watched.look(shown)
        assert await shown.value(OVERFLOW) == 360
        await shown.value("document.querySelector('input[value=month]').click()")
        assert await shown.value(OVERFLOW) == 360
        least = "Math.min(...[...document.querySelectorAll('button, fieldset span')]"
        least += ".filter(each => each.offsetParent).map(each => each.offsetHeight))"
        assert await shown.value(least) >= 36  # a thumb's


@pytest.mark.parametrize(
    ("scheme", "colour"), [("dark", "rgb(17, 20, 24)"), ("light", "rgb(246, 247, 249)")]
)
async def test_it_follows_the_scheme(
    browser: str, watched: Watched, scheme: str, colour: str
) -> None:
    async with tab(browser) as shown:
        await shown.run(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        await watched.look(shown)
        assert await shown.value("getComputedStyle(document.body).backgroundColor") == colour


async def test_the_forecast_is_drawn(browser: str, watched: Watched) -> None:
    async with tab(browser) as shown:
        await watched.look(shown)
        drawn = "document.querySelector('#forecast-chart svg .expected')"
        assert await shown.value(f"{drawn}.getBoundingClientRect().width > 10") is True
        assert "expected from" in await shown.value(
            "document.getElementById('forecast-words').textContent"
        )


async def test_while_the_service_is_away_it_says_so(browser: str, tmp_path: Path) -> None:
    async with tab(browser) as shown:
        async with serving(tmp_path) as served:
            token = served.token("acme", "read")
            await shown.visit(f"{served.url}/#token={token}")
            await shown.holds(LIVE)
        await shown.holds("document.getElementById('status').textContent.startsWith('lost;')")
        assert await shown.value("document.getElementById('view').hidden") is False
