"""A host whose own package is named `orchestify`: its modules and ours under one name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
EXTENDS = """
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
"""
USES = """
import asyncio

from orchestify.core.config import parse_config
from orchestify.core.engine import NAME
from orchestify.engine import Engine
from orchestify.providers import LLMMessage, ProviderRegistry


async def main():
    config = parse_config("providers: {p: {type: mock}}")
    async with ProviderRegistry.from_config(config.providers) as registry:
        response = await registry.get("p").complete([LLMMessage("user", "hi")])
        print(NAME, Engine.__module__, bool(response.content), registry.list_providers())


asyncio.run(main())
"""
TOLD = "host orchestify.engine True ['p']\n"


def host(folder: Path, init: str) -> Path:
    """Write a host's package `orchestify`, with a room `core` of its own, and a script."""
    package = folder / "orchestify"
    (package / "core").mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "core" / "__init__.py").write_text(init)
    (package / "engine.py").write_text("class Engine: ...\n")
    (package / "core" / "engine.py").write_text("NAME = 'host'\n")
    (folder / "main.py").write_text(USES)
    return folder


def run(folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run the host's script with these places first, in that order."""
    return subprocess.run(
        [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv[1])", "main.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("ours_first", [False, True], ids=["host-first", "ours-first"])
def test_a_host_that_extends_its_path_has_both(tmp_path: Path, ours_first: bool) -> None:
    own = host(tmp_path, EXTENDS)
    done = run(own, *((PROJECT, own) if ours_first else (own, PROJECT)))
    assert (done.stdout, done.stderr) == (TOLD, "")


def test_a_folder_that_does_not_extend_its_path_is_none_of_ours(tmp_path: Path) -> None:
    done = run(host(tmp_path, ""), PROJECT, tmp_path)
    assert "No module named 'orchestify.core.engine'" in done.stderr
