"""The gateway beside the LiteLLM proxy: CPU a request, and latency, over the same stub server.

    python benchmarks/gateway.py --litellm PATH/TO/litellm [--rounds 5] [--json results.json]

Three processes: the stub server that stands in for the provider, `orchestify serve` with its ledger
in SQLite, and the proxy with one worker and no database; without `--litellm` only ours is measured.
`messages` in the tables is asked in Anthropic's protocol, over a provider that speaks it, and
`translated` the same over one that speaks OpenAI's; `embeddings` asks for two vectors of 1,536
numbers, as base64, whole only. They take turns, round by round, at 1 and at 64
requests at once, whole answers and streams of 100
chunks, sent by one aiohttp client. CPU is that of the server's process and its children, from
`/proc`; latency is until the last byte. `stub` in the tables is the stub server asked directly:
the latency without a gateway. Medians over rounds; machines differ, so read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

KEY = "sk-benchmark"
MESSAGES = [{"role": "user", "content": "Say something about the weather in three cities."}]
CHUNKS = 100
EMBEDDINGS = "/v1/embeddings"
VECTORS = {"input": ["one text", "another"], "dimensions": 1536, "encoding_format": "base64"}
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
WAIT_S = 120

OURS = """
providers:
  stub: {{type: openai, api_key: {key}, base_url: "{url}/v1", default_model: gpt-4o,
         price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 2}}}}
  claude: {{type: anthropic, api_key: {key}, base_url: "{url}", default_model: claude-sonnet-4-5,
           price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 2}}}}
agents:
  embed: {{provider: stub, model: text-embedding-3-small}}
  claude_whole: {{provider: claude}}
  claude_stream: {{provider: claude, model: "stub;chunks={chunks}"}}
  whole: {{provider: stub}}
  stream: {{provider: stub, model: "stub;chunks={chunks}"}}
"""
THEIRS = """
model_list:
  - model_name: agent:whole
    litellm_params: {{model: openai/gpt-4o, api_key: {key}, api_base: "{url}/v1"}}
  - model_name: agent:stream
    litellm_params: {{model: "openai/stub;chunks={chunks}", api_key: {key}, api_base: "{url}/v1"}}
  - model_name: agent:claude_whole
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: {key}, api_base: "{url}"}}
  - model_name: agent:claude_stream
    litellm_params: {{model: "anthropic/stub;chunks={chunks}", api_key: {key}, api_base: "{url}"}}
  - model_name: agent:embed
    litellm_params:
      {{model: openai/text-embedding-3-small, api_key: {key}, api_base: "{url}/v1"}}
litellm_settings: {{num_retries: 0, telemetry: false}}
general_settings: {{master_key: {key}}}
"""


@dataclass
class Server:
    """A process to measure: where it listens, and what its two models are called."""

    name: str
    url: str
    process: subprocess.Popen[Any]
    log: Path
    key: str = KEY
    models: tuple[str, str] = ("agent:whole", "agent:stream")
    path: str = "/v1/chat/completions"

    @property
    def is_messages(self) -> bool:
        """Whether it is asked in Anthropic's protocol."""
        return self.path == "/v1/messages"

    @property
    def is_embeddings(self) -> bool:
        """Whether it is asked for vectors."""
        return self.path == EMBEDDINGS

    def cpu_s(self) -> float:
        """CPU seconds of the process and all its children until now."""
        return sum(ticks for session, ticks in _processes() if session == self.process.pid) / (
            TICKS_A_SECOND
        )


@dataclass
class Measured:
    """What one server did in one setting, by round."""

    cpu_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Medians over rounds."""
        return {
            "cpu_ms": statistics.median(self.cpu_ms),
            "latency_ms": statistics.median(self.latency_ms),
            "p99_ms": statistics.median(self.p99_ms),
        }


def _processes() -> Iterator[tuple[int, int]]:
    """Session and CPU ticks of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        yield int(fields[3]), sum(map(int, fields[11:15]))


@contextmanager
def started(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[Any]]:
    """Run a command in a session of its own until the block is left; its output goes to a file."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def stub(folder: Path, stack: ExitStack) -> Server:
    """The provider's stand-in, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "orchestify.testing", "--port", str(port)]
    log = folder / "stub.log"
    process = stack.enter_context(started(command, log))
    models = ("gpt-4o", f"stub;chunks={CHUNKS}")
    return Server("stub", f"http://127.0.0.1:{port}", process, log, models=models)


def ours(folder: Path, url: str, stack: ExitStack) -> Server:
    """`orchestify serve` with a token that may make as many requests as it likes."""
    (folder / "orchestify.yaml").write_text(OURS.format(key=KEY, url=url, chunks=CHUNKS))
    port = free_port()
    command = [sys.executable, "-m", "orchestify"]
    given = {"ORCHESTIFY_DATABASE": f"sqlite:///{folder}/service.db"}
    given |= {"ORCHESTIFY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
    made = subprocess.run(
        [*command, "tokens", "create", "--tenant", "benchmark", "--scope", "call"],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **given},
    )
    serve = [*command, "serve", "orchestify.yaml", "--port", str(port)]
    serve += ["--requests-per-minute", "100000000"]
    log = folder / "orchestify.log"
    process = stack.enter_context(started(serve, log, **given))
    token = made.stdout.split()[-1]
    return Server("orchestify", f"http://127.0.0.1:{port}", process, log, token)


def theirs(litellm: str, folder: Path, url: str, stack: ExitStack) -> Server:
    """The LiteLLM proxy as its documentation starts it, with one worker."""
    (folder / "proxy.yaml").write_text(THEIRS.format(key=KEY, url=url, chunks=CHUNKS))
    port = free_port()
    command = [litellm, "--config", "proxy.yaml", "--host", "127.0.0.1", "--port", str(port)]
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    log = folder / "proxy.log"
    process = stack.enter_context(started(command, log, **offline))
    return Server("litellm proxy", f"http://127.0.0.1:{port}", process, log)


class Load:
    """The client: whole answers and streams, so many at once."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ready(self, server: Server) -> None:
        """Wait until the server answers."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                await self.request(server, is_stream=False)
                return
            except (aiohttp.ClientError, AssertionError):
                if server.process.poll() is not None or time.monotonic() > end:
                    print(server.log.read_text()[-2000:], file=sys.stderr)
                    raise
            await asyncio.sleep(0.5)

    async def request(self, server: Server, *, is_stream: bool) -> float:
        """Send a request and read its answer to the end; return the seconds that took."""
        body: dict[str, Any] = {"model": server.models[is_stream], "messages": MESSAGES}
        if server.is_embeddings:
            body = {"model": server.models[0], **VECTORS}
        elif server.is_messages:
            body |= {"max_tokens": 1024, "stream": is_stream}
        elif is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        begun = time.perf_counter()
        async with self._session.post(
            f"{server.url}{server.path}",
            json=body,
            headers={"authorization": f"Bearer {server.key}"},
        ) as answer:
            text = await answer.read()
        took = time.perf_counter() - begun
        assert answer.status == 200, f"{server.name}: {answer.status} {text[:300]!r}"
        piece, end = b'"content":', b"[DONE]"
        if server.is_messages:
            piece, end = b"text_delta", b'{"type": "message_stop"}'
        assert not is_stream or text.count(piece) >= CHUNKS
        assert not is_stream or text.rstrip().endswith(end)
        return took

    async def round(
        self, server: Server, into: Measured, count: int, at_once: int, *, is_stream: bool
    ) -> None:
        """Send so many requests and note the CPU each took and their latencies."""
        turns = iter(range(count))
        times: list[float] = []

        async def worker() -> None:
            times.extend([await self.request(server, is_stream=is_stream) for _ in turns])

        before = server.cpu_s()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        into.cpu_ms.append((server.cpu_s() - before) / count * 1e3)
        times.sort()
        into.latency_ms.append(statistics.median(times) * 1e3)
        into.p99_ms.append(times[int(len(times) * 0.99)] * 1e3)


async def run(servers: list[Server], rounds: int, scale: float) -> list[dict[str, Any]]:
    """Measure every setting, print it and return it."""
    tables = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # below the servers'
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = Load(session)
        for server in servers:
            await load.ready(server)
        for is_stream in (False, True):
            for at_once in (1, 64):
                count = int((200 if is_stream else 600) * scale)
                asked = [each for each in servers if not (is_stream and each.is_embeddings)]
                found = {server.name: Measured() for server in asked}
                for number in range(rounds + 1):
                    for server in asked:
                        warm_up = number == 0  # connections, caches
                        into = Measured() if warm_up else found[server.name]
                        size = max(at_once, count // 4 if warm_up else count)
                        await load.round(server, into, size, at_once, is_stream=is_stream)
                tables.append(show(is_stream, at_once, found))
    return tables


def show(is_stream: bool, at_once: int, found: dict[str, Measured]) -> dict[str, Any]:
    """Print a table with each one's CPU to ours at the endpoint, and return it as data."""
    what = f"streams of {CHUNKS} chunks" if is_stream else "whole answers"
    print(f"\n{what}, {at_once} at once (ms)")
    print(f"  {'':28}{'CPU':>10}{'latency':>10}{'p99':>10}{'CPU / orchestify':>20}")
    rows = {name: measured.row() for name, measured in found.items()}
    for name, row in rows.items():
        endpoint = name.partition(":")[1] + name.partition(":")[2]
        ratio = row["cpu_ms"] / rows[f"orchestify{endpoint}"]["cpu_ms"]
        print(
            f"  {name:28}{row['cpu_ms']:10.3f}{row['latency_ms']:10.2f}{row['p99_ms']:10.2f}"
            f"{ratio:20.2f}"
        )
    return {"what": what, "at_once": at_once, "rows": rows}


def endpoints(chat: Server) -> list[Server]:
    """Return a gateway asked in every way."""
    claudes = ("agent:claude_whole", "agent:claude_stream")
    messages = replace(chat, name=f"{chat.name}: messages", path="/v1/messages")
    embed = ("agent:embed", "")
    return [
        chat,
        replace(messages, models=claudes),
        replace(messages, name=f"{chat.name}: translated"),
        replace(chat, name=f"{chat.name}: embeddings", path=EMBEDDINGS, models=embed),
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", help="the proxy's command, of an environment of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="requests a round, times this")
    parser.add_argument("--json")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        provider = stub(Path(folder), stack)
        chat = ours(Path(folder), provider.url, stack)
        servers = [provider, *endpoints(chat)]
        if options.litellm:
            servers += endpoints(theirs(options.litellm, Path(folder), provider.url, stack))
        tables = asyncio.run(run(servers, options.rounds, options.scale))
    if options.json:
        Path(options.json).write_text(json.dumps(tables, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
