"""Lets clients from npm do a small task with tools through the gateway, against the stub server.

python tools/node_clients.py           installs them into a folder of its own, and runs them

It needs Node 20 or newer, npm, and the extra `server`. The agents think, on Claude's protocol and
on OpenAI's; each client calls a tool twice and answers then. The exit code says whether all did.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from orchestify.server.running import address, listen, server_of
from orchestify.server.service import Service
from orchestify.server.settings import ServiceSettings
from orchestify.server.storage.audit import SYSTEM
from orchestify.testing import Reply, StubServer
from orchestify.testing.account import StubRequest
from orchestify.values import ToolCall

SOURCES = Path(__file__).parent / "node_clients"
CITIES = ("Oslo", "Rome")
ANSWER = "It is warm in both."
AGENTS = {
    "claude": {"provider": "claude", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096},
    "openai": {"provider": "openai", "model": "gpt-5", "thinking": "low"},
}


def main() -> int:
    """Run the clients; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCES, Path(folder), dirs_exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--no-progress", "--silent"]
        subprocess.run(npm, cwd=folder, check=True)
        return asyncio.run(_run(Path(folder)))


async def _run(folder: Path) -> int:
    """Serve, and run the clients beside it."""
    async with StubServer() as stub:
        stub.respond = _reply
        config = folder / "operator.yaml"
        config.write_text(json.dumps(_config(stub)))
        settings = ServiceSettings(base_dir=folder, config_path=config, port=0)
        async with await Service.open(settings, {}) as service:
            _, token = service.tokens.create("node", ("call",), expires_at=None, actor=SYSTEM)
            sockets, started = listen(settings.host, settings.port), asyncio.Event()
            server = server_of(service, started.set)
            task = asyncio.create_task(server.serve(sockets))
            await started.wait()
            told = {
                "GATEWAY_URL": address(settings.host, sockets[0]),
                "GATEWAY_TOKEN": token.get_secret_value(),
                "GATEWAY_MODELS": ",".join(f"agent:{name}" for name in AGENTS),
            }
            node = await asyncio.create_subprocess_exec(
                "node", "clients.mjs", cwd=folder, env={**os.environ, **told}
            )
            try:
                return await node.wait()
            finally:
                server.should_exit = True
                await task


def _config(stub: StubServer) -> dict[str, Any]:
    own = {"api_key": "sk-none"}
    claude = {"type": "anthropic", "base_url": stub.anthropic_url}
    openai = {"type": "openai", "base_url": stub.openai_url}
    return {
        "providers": {
            "claude": {**own, **claude, "default_model": "claude-sonnet-4-5"},
            "openai": {**own, **openai, "default_model": "gpt-5"},
        },
        "agents": AGENTS,
    }


def _reply(request: StubRequest) -> Reply | None:
    """Call the tool for one city after the other, then answer."""
    if not (request.body or {}).get("tools"):
        return None
    results = sum(map(_results_in, request.body["messages"]))
    if results < len(CITIES):
        return Reply(tool_calls=(ToolCall("", "get_weather", {"city": CITIES[results]}),))
    return Reply(text=ANSWER)


def _results_in(message: dict[str, Any]) -> int:
    """Count the results of tools in a message of either protocol."""
    if message["role"] == "tool":
        return 1
    blocks = message["content"] if isinstance(message["content"], list) else ()
    return sum(block.get("type") == "tool_result" for block in blocks)


if __name__ == "__main__":
    sys.exit(main())
