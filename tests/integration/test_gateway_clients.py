"""The `llm` command, which nobody here wrote, against the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import ToolCall, Usage
from tests.extras import needs
from tests.gateways import Gateway, gateway

needs("llm", "peers")


@dataclass(frozen=True, slots=True)
class Command:
    """The client with a folder of its own, that knows the gateway's models."""

    gate: Gateway
    folder: Path

    async def run(self, *arguments: str) -> str:
        """Run `llm` and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "llm", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LLM_USER_PATH": str(self.folder), "OPENAI_API_KEY": "unused"},
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return out.decode()


@pytest_asyncio.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    folder = tmp_path / "llm"
    folder.mkdir()
    async with gateway(tmp_path, {"planner": {"provider": "claude"}}) as gate:
        models: list[dict[str, Any]] = [
            {
                "model_id": name,
                "model_name": model,
                "api_base": f"{gate.served.url}/v1",
                "api_key_name": "gateway",
                "supports_tools": True,
                "supports_schema": True,
            }
            for name, model in (("planner", "agent:planner"), ("gpt", "gpt/gpt-4o"))
        ]
        (folder / "extra-openai-models.yaml").write_text(json.dumps(models))
        (folder / "keys.json").write_text(json.dumps({"gateway": gate.token}))
        yield Command(gate, folder)


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
@pytest.mark.parametrize("model", ["planner", "gpt"])
async def test_the_command_prints_the_answer(command: Command, model: str, how: str) -> None:
    command.gate.stub.script(Reply(text="Salve, munde."))
    flags = ["--no-stream"] if how == "--no-stream" else []
    assert await command.run("-m", model, *flags, "hello") == "Salve, munde.\n"
    assert command.gate.stub.requests[-1].stream is (how == "--stream")


async def test_the_commands_log_has_the_usage(command: Command) -> None:
    command.gate.stub.script(Reply(usage=Usage(input_tokens=100, output_tokens=20)))
    await command.run("-m", "planner", "hello")
    (logged,) = json.loads(await command.run("logs", "--json"))
    assert (logged["input_tokens"], logged["output_tokens"]) == (100, 20)


async def test_the_commands_tools_are_called_through_the_gateway(command: Command) -> None:
    call = ToolCall("call_1", "llm_version", {})
    command.gate.stub.script(Reply(tool_calls=(call,)), Reply(text="It is new."))
    assert await command.run("-m", "gpt", "-T", "llm_version", "which?") == "It is new.\n"
    assert command.gate.sent["messages"][-1]["tool_call_id"] == "call_1"


async def test_the_commands_schema_is_the_answers_form(command: Command) -> None:
    command.gate.stub.script(Reply(text='{"name": "Rome"}'))
    schema = json.dumps({"type": "object", "properties": {"name": {"type": "string"}}})
    answer = await command.run("-m", "gpt", "--schema", schema, "which city?")
    assert json.loads(answer) == {"name": "Rome"}
    assert command.gate.sent["response_format"]["type"] == "json_schema"
