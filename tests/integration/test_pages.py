"""The README and the site's pages: every example runs, and what they say of the code is so."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestify.testing import StubServer
from tests.extras import needs
from tests.pages import PAGES, ROOT, Reader, blocks, environment

RUN = ("python", "yaml", "bash")
TOLD = ("text", "json", "toml", "http", "promql")
_PAGES = [page for page in PAGES if any(each.language in RUN for each in blocks(page))]


@pytest.fixture
async def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    async with StubServer() as server:
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        reader = Reader.at(tmp_path, server, free_port())
        try:
            yield reader
        finally:
            await reader.close()


_NEEDS = {"frameworks.md": ("openai-agents", "frameworks"), "account.md": ("pyarrow", "parquet")}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("page", _PAGES, ids=[str(page.relative_to(ROOT)) for page in _PAGES])
async def test_every_example_of_a_page_runs(page: Path, reader: Reader) -> None:
    if page.name in _NEEDS:
        needs(*_NEEDS[page.name])
    for block in blocks(page):
        if block.language in RUN:
            await reader.run(block, page)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_example_says_its_language(page: Path) -> None:
    assert page.read_text().count("\n```") == 2 * len(blocks(page))
    assert {each.language for each in blocks(page)} <= {*RUN, *TOLD}


def test_the_readme_is_short_and_has_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 12_000
    assert sum(line.startswith("python3 -m venv ") for line in text.splitlines()) == 2
