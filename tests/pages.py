"""The examples of the README and of the site's pages, and what a reader of them has at hand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import orchestify
from orchestify.core.config import parse_config
from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.testing import StubServer
from tests.lanes import ANTHROPIC_TOOL

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KEY = "key-of-the-tests-0123456789"
PORT = "8000"  # what the pages say; a free one here

ELSEWHERE = ("python3 -m venv ", "pip install ", "docker ", "sudo ", "git clone ", "cd orchestify")
"""Beginnings of lines that make a machine ready: the project's own check does that."""

CONFIG = """\
providers:
  claude_main: {type: anthropic, api_key: "${ANTHROPIC_API_KEY}", default_model: claude-sonnet-4-6}
  openai_main: {type: openai, api_key: "${OPENAI_API_KEY}", default_model: gpt-4.1-mini}
  deepseek: {type: deepseek, api_key: "${DEEPSEEK_API_KEY}"}
  local: {type: ollama, price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}}
agents:
  planner: {provider: claude_main, fallback: [deepseek]}
  reviewer: {provider: openai_main, max_tokens: 500}
  assistant: {provider: openai_main}
"""

AT_HAND = frozenset({"registry", "provider", "agent", "messages", "tools"})

_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.ya?ml)\b")
_OURS = ("providers.yaml", "agents.yaml", "policies.yaml", "orchestify.yaml")
_SERVE = re.compile(r"^(orchestify serve .*?)(?:\s+#.*)?$", re.MULTILINE)
_IN_BACKGROUND = r"""\1 >> serve.log 2>&1 &
echo $! >> .pids
for _ in $(seq 600); do
  curl -s -o /dev/null http://127.0.0.1:PORT/healthz && break
  sleep 0.1
done"""


class Block(NamedTuple):
    """One example: its language, its first line in the page, its text."""

    language: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    """Return a page's examples in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], text.count("\n", 0, found.start()) + 2, found[2])
        for found in _FENCE.finditer(text)
    ]


def base_url(kind: str, server: StubServer) -> dict[str, str]:
    """Return what makes a provider of a type lead to the stub server."""
    lane = PROVIDER_TYPES[kind].lane if kind in PROVIDER_TYPES else kind
    urls = {"anthropic": server.anthropic_url, "openai": server.openai_url}
    return {"base_url": urls[lane]} if lane in urls else {"engine": "mock"}


def at_stub(text: str, server: StubServer) -> str:
    """Return a configuration's text whose providers lead to the stub server."""
    document = yaml.safe_load(text) or {}
    for provider in (document.get("providers") or {}).values():
        if provider["type"] not in ("mock", "external"):
            provider.update(base_url(provider["type"], server))
    return json.dumps(document, default=str)


@dataclass
class Reader:
    """Runs a page's examples in order, in a folder with a `config` and a stub server.

    Python that calls `asyncio.run` runs as a script. Other blocks share their names, find those of
    `AT_HAND` that the page has not made before, and may `await` outside a function.
    """

    folder: Path
    server: StubServer
    port: int
    names: dict[str, Any]

    @classmethod
    def at(cls, folder: Path, server: StubServer, port: int) -> Reader:
        """Return a reader who has a key for each provider and the configuration `CONFIG`."""
        (folder / "config").mkdir()
        (folder / "config" / "providers.yaml").write_text(at_stub(CONFIG, server))
        return cls(folder, server, port, {"__name__": "__main__"})

    async def run(self, block: Block, page: Path) -> None:
        """Run one example; what it raises names its place."""
        text = block.text.replace(PORT, str(self.port))
        if block.language == "yaml":
            self._keep(text)
        elif block.language == "bash":
            await asyncio.to_thread(self._shell, text)
        elif "\nasyncio.run(" in text:
            (self.folder / "script.py").write_text(text)
            await asyncio.to_thread(self._shell, "python script.py")
        else:
            await self._python("\n" * (block.line - 1) + text, str(page))

    async def close(self) -> None:
        """End the servers that were started and close the registries that were made."""
        pids = self.folder / ".pids"
        for pid in pids.read_text().split() if pids.exists() else []:
            os.kill(int(pid), 15)
        for value in list(self.names.values()):
            if isinstance(value, orchestify.ProviderRegistry | orchestify.LLMProvider):
                await value.aclose()

    def _keep(self, text: str) -> None:
        """Write a file that names itself in its first line; load any other as a piece of one."""
        name = _FILE.match(text)
        if not name:
            keys = {name: f"{KEY}-{name}" for name in _variables(text)}
            parse_config(merged(CONFIG, text), environ=keys)
            return
        path = self.folder / name[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        ours = path.name in _OURS or "providers:" in text
        path.write_text(at_stub(text, self.server) if ours else text)
        if path.name == "providers.yaml":  # the folder's own agents name other providers
            for other in ("agents.yaml", "policies.yaml"):
                (path.parent / other).unlink(missing_ok=True)

    def _shell(self, text: str) -> None:
        if "orchestify init" in text:
            shutil.rmtree(self.folder / "config")
        lines = [line for line in text.splitlines() if not line.startswith(ELSEWHERE)]
        script = _SERVE.sub(_IN_BACKGROUND.replace("PORT", str(self.port)), "\n".join(lines))
        done = subprocess.run(  # noqa: S603 - the pages' own
            ["bash", "-euo", "pipefail", "-c", f". ./.env\n{script}\nexport -p > .env"],  # noqa: S607
            cwd=self.folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    async def _python(self, text: str, page: str) -> None:
        code = compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if AT_HAND.intersection(code.co_names) - self.names.keys():
            self.names = {**self._at_hand(), **self.names}
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, self.names)  # noqa: S307 - the pages' own
        else:
            await asyncio.to_thread(exec, code, self.names)

    def _at_hand(self) -> dict[str, Any]:
        registry = self.names.get("registry") or orchestify.ProviderRegistry.from_config(
            orchestify.load_config(self.folder / "config")
        )
        return {
            "registry": registry,
            "provider": registry.get(next(iter(registry))),
            "agent": registry.get_for_agent("planner"),
            "messages": [orchestify.LLMMessage("user", "What is the weather in Paris?")],
            "tools": [ANTHROPIC_TOOL],
        }


def merged(base: str, more: str) -> str:
    """Return a configuration with the keys of a piece of one on top, mappings by their keys."""
    document = yaml.safe_load(base)
    for key, value in (yaml.safe_load(more) or {}).items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    return json.dumps(document, default=str)


def _variables(text: str) -> list[str]:
    known = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "DEEPSEEK_API_KEY"]
    return known + re.findall(r"(?:\$\{|\$<|env:|environ/)(\w+)", text)


def environment(server: StubServer) -> Mapping[str, str]:
    """Return a key of each company, and the stub's address."""
    keys = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "DEEPSEEK_API_KEY")
    return {**dict.fromkeys(keys, KEY), "OPENAI_BASE_URL": server.openai_url}
